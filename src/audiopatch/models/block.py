"""One transformer block, with the slot where a token reducer may act."""

from __future__ import annotations

from torch import Tensor, nn

from audiopatch.models.attention import Attention
from audiopatch.models.linear import Linear
from audiopatch.reducers.reducer import Reducer
from audiopatch.tokens import Signals, TokenGrid


class Mlp(nn.Module):
    """x (..., D) -> (..., D) through a GELU layer ``ratio`` times as wide."""

    def __init__(self, dim: int, ratio: int):
        super().__init__()
        self.fc1 = Linear(dim, ratio * dim)
        self.fc2 = Linear(ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(x, gelu=True))


class Block(nn.Module):
    """Pre-LN attention, then (if given) the reducer, then the MLP on the tokens that are left.

    The drop sits between attention and MLP as in EViT (Liang et al. 2022) and the TopK study (arXiv 2504.01690).
    """

    def __init__(self, dim: int, n_heads: int, *, mlp_ratio: int, eps: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, n_heads)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, mlp_ratio)

    def forward(self, tokens: TokenGrid, reducer: Reducer | None, signals: Signals) -> TokenGrid:
        attended, q, k = self.attn(self.norm1(tokens.x), tokens.key_bias())
        tokens = tokens.with_x(tokens.x + attended)
        if reducer is not None:
            tokens = reducer(tokens, signals.at(q, k))
        return tokens.with_x(tokens.x + self.mlp(self.norm2(tokens.x)))
