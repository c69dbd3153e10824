"""What a distillation run is set to: its length, its batches, its schedules."""

from __future__ import annotations

import math
from dataclasses import dataclass

from audiopatch.errors import UsageError

RANDOM = "random"


@dataclass(frozen=True)
class DistillConfig:
    """One of ``max_segments`` and ``max_s`` ends the run; the learning rate falls to zero exactly there.

    ``crop_s``     (share of the run, seconds): from that share on, crops of that length; short ones first learn faster
    ``plans``      (plan, chance): the patchouts of batches; "random" is a crossing of random rows and columns
    ``rows``       how many rows of patches such a crossing keeps, fewest and most
    ``min_cols``   its fewest columns; the most is what ``max_tokens`` allows, and in between small numbers are likelier
    ``weights``    of the losses
    ``lr``         of everything but the blocks' matrices, which Muon moves with ``lr_matrices``
    ``ema_decay``  the exported weights are an exponential moving average of those that are trained
    """

    max_segments: int | None = None
    max_s: float | None = None
    batch_size: int = 32
    crop_s: tuple[tuple[float, float], ...] = ((0.0, 5.0), (0.75, 10.0))
    plans: tuple[tuple[str, float], ...] = (
        (RANDOM, 0.3), ("F0T0", 0.12), ("F0T2", 0.15), ("F3T0", 0.1), ("F3T2", 0.2), ("F3T5", 0.08), ("F4T10", 0.05),
    )  # fmt: skip
    rows: tuple[int, int] = (5, 9)
    min_cols: int = 7
    max_tokens: int = 160
    weights: tuple[tuple[str, float], ...] = (("logits", 1.0), ("ranking", 0.5), ("features", 0.3), ("timeline", 0.3))
    lr: float = 1e-3
    lr_matrices: float = 2e-3
    weight_decay: float = 0.05
    warmup_share: float = 0.03
    ema_decay: float = 0.995
    n_calibration: int = 16
    save_every_s: float = 300.0
    evaluate_every_s: float = 1500.0
    log_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.max_segments is None) == (self.max_s is None):
            raise UsageError("give either max_segments or max_s: one of them ends the training")

    def lr_factor(self, progress: float) -> float:
        """Linear warm-up, then a cosine to zero; progress 0..1."""
        warm = min(1.0, progress / self.warmup_share)
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def crop_s_at(self, progress: float) -> float:
        return [seconds for share, seconds in self.crop_s if progress >= share][-1]
