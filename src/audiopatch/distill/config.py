"""What a distillation run is set to: its length, its batches, its schedules. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from audiopatch.errors import UsageError

RANDOM = "random"


@dataclass(frozen=True)
class DistillConfig:
    """One of ``max_segments`` and ``max_s`` (0 is no end) ends the run; the learning rate falls to zero exactly there.

    ``crop``       (share of the run, share of the student's segment): from the first on, crops of the second; short
                   ones first learn faster
    ``augment``    "full" or, for runs of a few epochs, "gentle"
    ``plans``      (plan, chance): the patchouts of batches; "random" is a crossing of random rows and columns
    ``rows``       how many rows of patches such a crossing keeps, fewest and most
    ``min_cols``   its fewest columns; the most is what ``max_tokens`` allows, and in between small numbers are likelier
    ``weights``    of the losses
    ``lr``         of everything but the blocks' matrices, which Muon moves with ``lr_matrices``
    ``n_calibration`` batches measure the scale of the teacher's answers before the run, ``n_calibration_clips`` fit
                   the scores to them after it
    ``ema_decay``  the result is an exponential moving average of the weights, slower and slower up to this
    """

    max_segments: int = 0
    max_s: float = 0.0
    batch_size: int = 32
    crop: tuple[tuple[float, float], ...] = ((0.0, 0.5), (0.75, 1.0))
    augment: str = "full"
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
    ema_decay: float = 0.998
    n_calibration: int = 16
    n_calibration_clips: int = 480
    save_every_s: float = 300.0
    n_evaluations: int = 10
    log_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.max_segments > 0) == (self.max_s > 0):
            raise UsageError("give either max_segments or max_s: one of them ends the training")

    def lr_factor(self, progress: float) -> float:
        """Linear warm-up, then a cosine to zero; progress 0..1."""
        warm = min(1.0, progress / self.warmup_share)
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def crop_share(self, progress: float) -> float:
        """How much of a segment the crops of that part of the run are."""
        return [size for share, size in self.crop if progress >= share][-1]
