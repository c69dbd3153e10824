"""What every network gives, with tokens or without."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from audiopatch.tokens import TokenGrid


@dataclass(frozen=True)
class Features:
    """What a backbone gives.

    pooled  (B, E)                     the clip's features, which the head classifies
    tokens  TokenGrid or None          after the last block that ran and, if that was the very last, the final norm
    stacks  block -> (B, P + 1, D)     CLS, DIST, mean of patch tokens of the raw residual stream (MAEST, section 3.3)
    map     (B, E', rows, cols)        what a convolutional tail pools, where there is one and all blocks ran
    """

    pooled: Tensor
    tokens: TokenGrid | None
    stacks: dict[int, Tensor]
    map: Tensor | None = None
