"""What a distillation run is set to: its length, its batches, its schedules. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audiopatch.errors import UsageError

if TYPE_CHECKING:
    import torch

RANDOM = "random"


@dataclass(frozen=True)
class DistillConfig:
    """One of ``max_segments`` and ``max_s`` (0 is no end) ends the run; the learning rate falls to zero exactly there.

    ``batch_size`` crops a step; 0 is 32 on a CPU and 256 elsewhere
    ``n_kept``     so many crops are new; they are kept on disk (0.35 MB for 10 s), and the run goes on with them, where
                   teachers cost more than the student; 0 makes all new, -1 is 8 000 on a CPU and 0 elsewhere
    ``crop``       (share of the run, share of the student's segment): from the first on, crops of the second; short
                   ones first learn faster
    ``augment``    "full" or, for runs of a few epochs, "gentle"
    ``plans``      (plan, chance): the patchouts of batches; "random" is a crossing of random rows and columns, which a
                   GPU is slow at: every shape that is new to cuDNN costs it seconds (an H100: 1 to 3)
    ``plans_per_step`` every batch is learnt under so many of them: teachers' answers cost more than the student's
    ``rows``       how many rows of patches such a crossing keeps, fewest and most
    ``min_cols``   its fewest columns; the most is what ``max_tokens`` allows, and in between small numbers are likelier
    ``width``, ``n_blocks``, ``n_layers``, ``context``, ``n_hidden`` the student made out of a convolutional teacher
                   (see ``models.student.stem_student``)
    ``kept_in_head``, ``kept_in_ends`` so much the teacher's own weights count in the result, where the student took
                   layers over, in the teacher's head and in the ends for maps of which nothing was dropped: they
                   answer best without patchout, the student's under it (after Wortsman et al. 2022, "WiSE-FT")
    ``weights``    of the losses
    ``others``     weight of what every teacher after the first says
    ``lr``         of everything but the blocks' matrices, which Muon moves with ``lr_matrices``
    ``lr_kept``, ``lr_stem`` of the layers a student took over from its teacher, behind its blocks and before them;
                   0 leaves them as they are
    ``n_calibration`` batches measure the scale of the teacher's answers before the run, ``n_calibration_clips`` fit
                   the scores to them after it
    ``ema_decay``  the result is an exponential moving average of the weights, slower and slower up to this
    """

    max_segments: int = 0
    max_s: float = 0.0
    batch_size: int = 0
    n_kept: int = -1
    crop: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    augment: str = "gentle"
    plans: tuple[tuple[str, float], ...] = (
        ("F0T0", 0.20), ("F0T2", 0.15), ("F0T2R8", 0.05), ("F0T3R8", 0.08), ("F0T4R8", 0.12), ("F3T0", 0.05),
        ("F3T2", 0.22), ("F4T10", 0.13),
    )  # fmt: skip
    plans_per_step: int = 4
    rows: tuple[int, int] = (4, 9)
    min_cols: int = 6
    max_tokens: int = 256
    width: int = 64
    n_blocks: int = 2
    n_layers: int = 13
    context: int = 2
    n_hidden: int = 384
    weights: tuple[tuple[str, float], ...] = (
        ("logits", 1.0), ("ranking", 1.0), ("scores", 0.2), ("features", 0.3), ("timeline", 0.3),
    )  # fmt: skip
    others: float = 0.5
    lr: float = 1e-3
    lr_matrices: float = 2e-3
    lr_kept: float = 4e-4
    lr_stem: float = 0.0
    weight_decay: float = 0.05
    warmup_share: float = 0.05
    ema_decay: float = 0.998
    kept_in_head: float = 0.5
    kept_in_ends: float = 0.75
    n_calibration: int = 16
    n_calibration_clips: int = 480
    save_every_s: float = 300.0
    n_evaluations: int = 3
    log_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.max_segments > 0) == (self.max_s > 0):
            raise UsageError("give either max_segments or max_s: one of them ends the training")

    def batch_on(self, device: torch.device) -> int:
        """Crops a step on ``device``."""
        return self.batch_size or (32 if device.type == "cpu" else 256)

    def kept_steps_on(self, device: torch.device) -> int:
        """How many steps' crops are kept and learnt again; 0 where all are new, as where their length changes."""
        wanted = self.n_kept if self.n_kept >= 0 else 8000 if device.type == "cpu" else 0
        wanted = 0 if len(self.crop) > 1 or 0 < self.max_segments <= wanted else wanted
        return math.ceil(wanted / self.batch_on(device))

    def lr_factor(self, progress: float) -> float:
        """Linear warm-up, then a cosine to zero; progress 0..1."""
        warm = min(1.0, progress / self.warmup_share)
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def crop_share(self, progress: float) -> float:
        """How much of a segment the crops of that part of the run are."""
        return [size for share, size in self.crop if progress >= share][-1]
