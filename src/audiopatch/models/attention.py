"""Multi-head self-attention, by the kernel that is fastest where it runs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.models.linear import Linear

_LONG = 1024  # tokens from which the fused kernel wins in float32 on a CPU


class Attention(nn.Module):
    """x (B, L, D) -> (attended (B, L, D), q, k); q and k (B, H, L, D / H) for reducers that score tokens.

    ``key_bias`` (B, 1, 1, L) is added to the logits: the log sizes of merged tokens.
    """

    def __init__(self, dim: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)

    def forward(self, x: Tensor, key_bias: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        out = attend(q, k, v, key_bias)  # (B, H, L, D / H)
        return self.proj(out.transpose(1, 2).flatten(2)), q, k


def attend(q: Tensor, k: Tensor, v: Tensor, key_bias: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d + key_bias) v, all (B, H, L, d), by the kernel that is faster here.

    On a CPU torch's fused kernel multiplies bfloat16 no faster than float32; one head at a time, plain products are
    2.5 times as fast, and 1.7 times on short float32 sequences (Zen 5, 1676 and 560 tokens).
    """
    bias = None if key_bias is None else key_bias.to(q.dtype)
    if _one_head_pays(q):
        return _head_by_head(q, k, v, bias)
    if _all_heads_pay(q):
        return _all_heads(q, k, v, bias)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def _one_head_pays(q: Tensor) -> bool:
    if q.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return q.dtype == torch.bfloat16 or q.shape[2] < _LONG


def _all_heads_pay(q: Tensor) -> bool:
    """Training in bfloat16 on a CPU: a step of a small student takes 0.65 of the time (Zen 5, 72 to 560 tokens)."""
    on_cpu = q.device.type == "cpu" and not torch.compiler.is_compiling()
    return on_cpu and torch.is_grad_enabled() and q.dtype == torch.bfloat16 and q.shape[2] < _LONG


def _all_heads(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    weights = q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)
    if bias is not None:
        weights = weights + bias
    return weights.softmax(dim=-1).to(v.dtype) @ v


def _head_by_head(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """One (L, L) map at a time, in one buffer that stays in the cache."""
    out = torch.empty_like(q)
    q = q * q.shape[-1] ** -0.5
    weights = q.new_empty(q.shape[2], q.shape[2])
    for clip in range(len(q)):
        for head in range(q.shape[1]):
            torch.matmul(q[clip, head], k[clip, head].T, out=weights)
            if bias is not None:
                weights += bias[clip, 0]
            torch.softmax(weights, dim=-1, out=weights)
            torch.matmul(weights, v[clip, head], out=out[clip, head])
    return out
