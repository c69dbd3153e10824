"""The one spectrogram transformer behind PaSST, MAEST, AST, AudioMAE, CED, EAT and Dasheng."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.errors import UsageError
from audiopatch.models.config import TransformerConfig
from audiopatch.models.features import Features
from audiopatch.models.linear import Linear
from audiopatch.models.processor import processor
from audiopatch.models.stem import ConvolutionalStem, Window, window_of
from audiopatch.reducers.plan import NO_REDUCTION, Plan
from audiopatch.reducers.reducer import Reducer
from audiopatch.tokens import MelPatches, Signals, TokenGrid

_LONG = 1024  # tokens from which the fused kernel wins in float32 on any CPU


class SpectrogramTransformer(nn.Module):
    """mel (B, n_mels, frames) -> Features. Blocks are numbered from 1; 0 is the token grid before block 1."""

    cls_token: nn.Parameter
    dist_token: nn.Parameter

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        dim, (rows, cols) = config.dim, config.grid
        if config.stem:
            self.stem: ConvolutionalStem = ConvolutionalStem(config.stem, dim, config.grid[0])
        else:
            self.patch_embed: PatchEmbed = PatchEmbed(dim, config.patch_size, config.patch_stride)
        if config.mel_affine:
            self.mel_scale: nn.Parameter = nn.Parameter(torch.ones(config.n_mels))
            self.mel_shift: nn.Parameter = nn.Parameter(torch.zeros(config.n_mels))
        for name in ("cls_token", "dist_token")[: config.prefix]:
            self.register_parameter(name, nn.Parameter(torch.zeros(1, 1, dim)))
        if config.positions == "split":
            if config.prefix:
                self.new_pos_embed: nn.Parameter = nn.Parameter(torch.zeros(1, config.prefix, dim))
            self.freq_new_pos_embed: nn.Parameter = nn.Parameter(torch.zeros(1, dim, rows, 1))
            self.time_new_pos_embed: nn.Parameter = nn.Parameter(torch.zeros(1, dim, 1, cols))
        else:
            self.pos_embed: nn.Parameter = nn.Parameter(torch.zeros(1, config.prefix + rows * cols, dim))
        if config.norm_order == "post":
            self.pre_norm: Norm = Norm(dim, eps=config.norm_eps)
        block = _BLOCKS[config.norm_order]
        self.blocks: nn.ModuleList = nn.ModuleList(
            block(dim, n_heads, config.head_dim, mlp_ratio=config.mlp_ratio, eps=config.norm_eps)
            for n_heads in config.block_heads[:: config.sharing]
        )
        self.norm = Norm(dim, eps=config.norm_eps) if config.final_norm else nn.Identity()

    def forward(
        self,
        mel: Tensor,
        plan: Plan = NO_REDUCTION,
        taps: Sequence[int] = (),
        *,
        last: int | None = None,
        seeds: Tensor | None = None,
        stem_map: Tensor | None = None,
    ) -> Features:
        """Run blocks 1..``last`` (default: all), keeping the stacks of the blocks in ``taps``.

        ``plan`` maps block numbers to reducers; ``seeds`` (B,) fixes their random choices at inference. ``stem_map``
        is what the stem makes of ``mel``, where it was asked already; a plan for which it reads less asks again.
        More columns or other rows than the position table has are a UsageError.
        """
        depth = self.config.depth
        last = depth if last is None else last
        _check_blocks(plan, taps, last, depth)
        mel = self.scaled(mel)
        places = self._places(mel)
        signals = Signals(mel_patches(mel, self.config), seeds, self.training)
        if 0 in plan:
            places = plan[0](places, signals)
        tokens = self._embed(places, mel, signals.mel, window_of(self.config, plan, mel.shape[2]), stem_map)
        tokens = tokens.with_x(tokens.x.to(cast(Block, self.blocks[0]).norm1.weight.dtype))
        if self.config.norm_order == "post":
            tokens = tokens.with_x(self.pre_norm(tokens.x))
        stacks = {0: tokens.stack()} if 0 in taps else {}
        for number in range(1, last + 1):
            block = self.blocks[(number - 1) // self.config.sharing]
            tokens = block(tokens, plan.get(number), signals)
            if number in taps:
                stacks[number] = tokens.stack()
        if last < depth:
            return Features(self._pool(tokens), tokens, stacks)
        tokens = self.after_blocks(tokens)
        tokens = tokens.with_x(self.norm(tokens.x))
        if self.config.stem is None or not self.config.stem.tail:
            return Features(self._pool(tokens), tokens, stacks)
        feature_map = self.stem.leave(tokens)
        pooled = torch.cat([feature_map.mean(dim=(2, 3)), self._pool(tokens)], dim=1)
        return Features(pooled, tokens, stacks, feature_map)

    def after_blocks(self, tokens: TokenGrid) -> TokenGrid:
        """What a hybrid network does between its last block and the final norm."""
        return tokens

    def scaled(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, frames) -> the same by the network's own scale and shift per band, where it has them."""
        return mel * self.mel_scale[:, None] + self.mel_shift[:, None] if self.config.mel_affine else mel

    def embed(self, mel: Tensor) -> TokenGrid:
        """mel (B, n_mels, frames) -> the full token grid with positions added."""
        mel = self.scaled(mel)
        return self._embed(self._places(mel), mel, mel_patches(mel, self.config))

    def _places(self, mel: Tensor) -> TokenGrid:
        """The full grid as tokens of no width, from which patchout can choose before anything is computed."""
        rows, cols = self.config.patch_grid(mel.shape[2])
        if cols < 1:
            raise UsageError(f"{mel.shape[2]} frames are less than one patch ({self.config.patch_size[1]} frames)")
        if mel.shape[1] != self.config.n_mels or rows > self.config.grid[0] or cols > self.config.grid[1]:
            raise UsageError(
                f"an input of {mel.shape[1]} mel bands × {mel.shape[2]} frames gives {rows} × {cols} patches; "
                f"this model takes {self.config.n_mels} bands and at most {self.config.grid[1]} columns: cut it first"
            )
        batch = mel.shape[0]
        return TokenGrid.whole(mel.new_empty(batch, 0, rows, cols), mel.new_empty(batch, self.config.prefix, 0))

    def _embed(
        self,
        places: TokenGrid,
        mel: Tensor,
        patches_of_mel: MelPatches,
        window: Window | None = None,
        stem_map: Tensor | None = None,
    ) -> TokenGrid:
        """The tokens at ``places``, with positions added."""
        prefix_position, patch_position = self._positions(*places.full)
        if self.config.stem:
            places = replace(places, carried=self.stem.enter(mel, places, window, stem_map))
            patches = self.stem.to_token(places.carried)
        else:
            patches = self.patch_embed(places.gather(patches_of_mel.values.flatten(1, 2).flatten(2)))
        patches = patches + places.gather(patch_position.flatten(2).transpose(1, 2))
        if not self.config.prefix:
            return places.with_x(patches)
        prefix = torch.cat([self.cls_token, self.dist_token], 1) if self.config.prefix == 2 else self.cls_token
        prefix = (prefix + prefix_position).expand(places.x.shape[0], -1, -1)
        return places.with_x(torch.cat([prefix, patches], dim=1))

    def _pool(self, tokens: TokenGrid) -> Tensor:
        if self.config.pool == "stack":
            return tokens.stack()[:, self.config.stack_index].flatten(1)
        return _POOLS[self.config.pool](tokens)

    def _positions(self, rows: int, cols: int) -> tuple[Tensor, Tensor]:
        """Encodings of the prefix (1, P, D), without meaning where P is 0, and of the patches (1, D, rows, cols).

        Shorter inputs take the first columns; in training PaSST's split encodings take a random contiguous run.
        """
        prefix = self.config.prefix
        if self.config.positions == "full":
            table = self.pos_embed[:, prefix:].transpose(1, 2).unflatten(2, self.config.grid)
            return self.pos_embed[:, :prefix], table[:, :, :rows, :cols]
        spare = self.config.grid[1] - cols
        first = int(torch.randint(spare + 1, ())) if self.training else 0
        time = self.time_new_pos_embed[..., first : first + cols]
        prefix_position = self.new_pos_embed if prefix else time.new_empty(1, 0, self.config.dim)
        return prefix_position, self.freq_new_pos_embed[:, :, :rows] + time


def mel_patches(mel: Tensor, config: TransformerConfig) -> MelPatches:
    """mel (B, n_mels, frames) -> the part of it behind each token; a stem's last column may reach past the end."""
    return MelPatches(mel, config.patch_size, config.patch_stride, pads=config.stem is not None)


def _check_blocks(plan: Plan, taps: Sequence[int], last: int, depth: int) -> None:
    for number in (*plan, *taps, last):
        if not 0 <= number <= depth:
            raise UsageError(f"block {number} does not exist; this model has blocks 1 to {depth}")
    if any(tap > last for tap in taps):
        raise UsageError(f"block {max(taps)} was asked for, but only blocks up to {last} run")


def _prefix_mean(tokens: TokenGrid) -> Tensor:
    return tokens.x[:, : tokens.prefix].mean(dim=1)


def _both(tokens: TokenGrid) -> Tensor:
    return _prefix_mean(tokens) + tokens.patch_mean()


_POOLS = {"prefix": _prefix_mean, "patch": TokenGrid.patch_mean, "both": _both}


class PatchEmbed(nn.Module):
    """patches (B, N, h * w) -> (B, N, D). A convolution by its weights' shape, which is that of published files."""

    def __init__(self, dim: int, size: tuple[int, int], stride: tuple[int, int]):
        super().__init__()
        self.proj: nn.Conv2d = nn.Conv2d(1, dim, size, stride)

    def forward(self, patches: Tensor) -> Tensor:
        return F.linear(patches.to(self.proj.weight.dtype), self.proj.weight.flatten(1), self.proj.bias)


class Norm(nn.LayerNorm):
    """x (..., D) -> (..., D), in the number format of its weights: a merge may have made x wider."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class Block(nn.Module):
    """Pre-LN attention, then (if given) the reducer, then the MLP on the tokens that are left.

    The drop sits between attention and MLP as in EViT (Liang et al. 2022) and the TopK study (arXiv 2504.01690).
    """

    def __init__(self, dim: int, n_heads: int, head_dim: int, *, mlp_ratio: int, eps: float):
        super().__init__()
        self.norm1: Norm = Norm(dim, eps=eps)
        self.attn: Attention = Attention(dim, n_heads, head_dim)
        self.norm2: Norm = Norm(dim, eps=eps)
        self.mlp: Mlp = Mlp(dim, mlp_ratio)

    def forward(self, tokens: TokenGrid, reducer: Reducer | None, signals: Signals) -> TokenGrid:
        attended, q, k = self.attn(self.norm1(tokens.x), tokens.key_bias())
        tokens = tokens.with_x(tokens.x + attended)
        if reducer is not None:
            tokens = reducer(tokens, signals.at(q, k))
        return tokens.with_x(tokens.x + self.mlp(self.norm2(tokens.x)))


class PostNormBlock(Block):
    """The same with each norm after its residual sum, as EAT has it (data2vec 2.0); the drop sits after the first."""

    def forward(self, tokens: TokenGrid, reducer: Reducer | None, signals: Signals) -> TokenGrid:
        attended, q, k = self.attn(tokens.x, tokens.key_bias())
        tokens = tokens.with_x(self.norm1(tokens.x + attended))
        if reducer is not None:
            tokens = reducer(tokens, signals.at(q, k))
        return tokens.with_x(self.norm2(tokens.x + self.mlp(tokens.x)))


_BLOCKS: dict[str, type[Block]] = {"pre": Block, "post": PostNormBlock}


class Mlp(nn.Module):
    """x (..., D) -> (..., D) through a GELU layer ``ratio`` times as wide."""

    def __init__(self, dim: int, ratio: int):
        super().__init__()
        self.fc1: Linear = Linear(dim, ratio * dim)
        self.fc2: Linear = Linear(ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(x, gelu=True))


class Attention(nn.Module):
    """x (B, L, D) -> (attended (B, L, D), q, k); q and k (B, H, L, d) for reducers that score tokens.

    ``head_dim`` d is the width of one of the ``n_heads`` H; together they are D wide unless heads were removed.
    ``key_bias`` (B, 1, 1, L) is added to the logits: the log sizes of merged tokens.
    """

    def __init__(self, dim: int, n_heads: int, head_dim: int):
        super().__init__()
        self.n_heads = n_heads
        self.qkv: Linear = Linear(dim, 3 * n_heads * head_dim)
        self.proj: Linear = Linear(n_heads * head_dim, dim)

    def forward(self, x: Tensor, key_bias: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        out = attend(q, k, v, key_bias)  # (B, H, L, d)
        return self.proj(out.transpose(1, 2).flatten(2)), q, k


def attend(q: Tensor, k: Tensor, v: Tensor, key_bias: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d + key_bias) v, all (B, H, L, d), by the kernel that is faster here.

    On a CPU torch's fused kernel multiplies bfloat16 no faster than float32; one head at a time, plain products are
    2.5 times as fast, and with AVX-512 1.4 to 1.7 times on short float32 sequences (Zen 4 and 5, 1676 and 560 tokens).
    Held down to AVX2, the same Zen 4 does better with the fused kernel at any length.
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
    return q.dtype == torch.bfloat16 or (q.shape[2] < _LONG and processor().isa.startswith("AVX512"))


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
