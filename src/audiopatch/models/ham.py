"""HAM-AST: Conformer blocks and channel attention after an AST ("Hybrid-attention-module-based AST", sections 2 and 3).

Decisions where the paper is silent (there is no public code): all twelve AST blocks stay; the convolution runs along
time within each row of patches, so that it never joins the end of one band to the start of the next; CLS and DIST,
which have no place on the grid, take the mean of what it finds (else the last convolution would reach no classifier).
Every new part starts as the identity before the final norm, so that step 0 equals the AST it starts from.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.models.config import HamConfig
from audiopatch.models.transformer import Attention, SpectrogramTransformer
from audiopatch.tokens import TokenGrid


class HybridTransformer(SpectrogramTransformer):
    """mel (B, n_mels, frames) -> Features; reducers must leave a rectangle of patches, which the convolutions need."""

    def __init__(self, config: HamConfig):
        super().__init__(config)
        eps = config.norm_eps
        self.conformers: nn.ModuleList = nn.ModuleList(
            ConformerBlock(config.dim, config.n_heads, mlp_ratio=config.mlp_ratio, kernel=config.conv_kernel, eps=eps)
            for _ in range(config.n_conformers)
        )
        self.channels: nn.Module = ChannelAttention(config.dim) if config.channel_attention else nn.Identity()

    def after_blocks(self, tokens: TokenGrid) -> TokenGrid:
        for conformer in self.conformers:
            tokens = conformer(tokens)
        return tokens.with_x(self.channels(tokens.x))


class ConformerBlock(nn.Module):
    """Half a feed-forward step, attention, convolution, half a feed-forward step, LayerNorm (Gulati et al. 2020).

    The final norm of the network undoes the closing LayerNorm's effect as long as its scale is 1 and its shift 0.
    """

    def __init__(self, dim: int, n_heads: int, *, mlp_ratio: int, kernel: int, eps: float):
        super().__init__()
        self.feed1: nn.Sequential = _feed_forward(dim, mlp_ratio, eps)
        self.norm: nn.LayerNorm = nn.LayerNorm(dim, eps=eps)
        self.attn: Attention = Attention(dim, n_heads, dim // n_heads)
        self.conv: TimeConvolution = TimeConvolution(dim, kernel, eps)
        self.feed2: nn.Sequential = _feed_forward(dim, mlp_ratio, eps)
        self.closing: nn.LayerNorm = nn.LayerNorm(dim, eps=eps)
        for last in (self.feed1[-1], self.attn.proj, self.conv.out, self.feed2[-1]):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, tokens: TokenGrid) -> TokenGrid:
        x = tokens.x + self.feed1(tokens.x) / 2
        x = x + self.attn(self.norm(x))[0]
        tokens = self.conv(tokens.with_x(x))
        return tokens.with_x(self.closing(tokens.x + self.feed2(tokens.x) / 2))


def _feed_forward(dim: int, ratio: int, eps: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(dim, eps=eps), nn.Linear(dim, ratio * dim), nn.SiLU(), nn.Linear(ratio * dim, dim)
    )


class TimeConvolution(nn.Module):
    """Conformer's convolution module on the patch tokens: gate, depthwise 1 × kernel along time, norm, SiLU, mix."""

    def __init__(self, dim: int, kernel: int, eps: float):
        super().__init__()
        self.norm: nn.LayerNorm = nn.LayerNorm(dim, eps=eps)
        self.gate: nn.Linear = nn.Linear(dim, 2 * dim)
        self.depthwise: nn.Conv2d = nn.Conv2d(dim, dim, (1, kernel), padding=(0, kernel // 2), groups=dim)
        self.batch_norm: nn.BatchNorm2d = nn.BatchNorm2d(dim)
        self.out: nn.Linear = nn.Linear(dim, dim)

    def forward(self, tokens: TokenGrid) -> TokenGrid:
        gated = F.glu(self.gate(self.norm(tokens.x)), dim=-1)
        grid = self.depthwise(tokens.with_x(gated).as_grid())  # (B, D, rows, cols)
        found = self.out(F.silu(self.batch_norm(grid)).flatten(2).transpose(1, 2))  # (B, N, D)
        prefix = found.mean(dim=1, keepdim=True).expand(-1, tokens.prefix, -1)
        return tokens.with_x(tokens.x + torch.cat([prefix, found], dim=1))


class ChannelAttention(nn.Module):
    """x (B, L, D) -> x plus x weighted by channel, from the maximum and the mean over tokens through one MLP."""

    def __init__(self, dim: int, reduction: int = 16):
        super().__init__()
        self.mlp: nn.Sequential = nn.Sequential(
            nn.Linear(dim, dim // reduction), nn.ReLU(), nn.Linear(dim // reduction, dim)
        )
        self.strength: nn.Parameter = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.sigmoid(self.mlp(x.amax(dim=1)) + self.mlp(x.mean(dim=1)))
        return x + self.strength * x * weight[:, None]
