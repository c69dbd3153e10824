"""What every network gives, with tokens or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from audiopatch.errors import UsageError
from audiopatch.reducers.plan import NO_REDUCTION, Plan
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


class ConvolutionalBackbone(nn.Module):
    """A network without tokens: mel (B, n_mels, frames) -> Features with ``pooled`` (B, E) alone."""

    def forward(
        self,
        mel: Tensor,
        plan: Plan = NO_REDUCTION,
        taps: Sequence[int] = (),
        *,
        last: int | None = None,
        seeds: Tensor | None = None,
    ) -> Features:
        """A plan, blocks to tap, or a last block are a UsageError: there are no tokens."""
        if plan or taps or last is not None:
            raise UsageError("this model is a convolutional network without tokens: no patchout, no blocks to tap")
        return Features(self.pooled(mel), None, {})

    def pooled(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, frames) -> what the head classifies (B, E)."""
        raise NotImplementedError
