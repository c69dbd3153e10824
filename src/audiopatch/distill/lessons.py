"""What a batch of distillation teaches: augmented crops, what the teacher says about them, what the student may see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from audiopatch.distill.agreement import plans_for
from audiopatch.distill.augment_wave import WaveAugment, resample_fft
from audiopatch.distill.config import RANDOM, DistillConfig
from audiopatch.distill.pieces import Pieces
from audiopatch.distill.teacher import Answer, Teachers
from audiopatch.errors import UsageError
from audiopatch.models.config import TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.fixed import FixedPatchout
from audiopatch.reducers.plan import Plan, parse_plan


@dataclass(frozen=True)
class Lesson:
    """The student's mel (B, n_mels, frames), the patchouts it is heard under, the teachers' Answer to that audio, and
    what a stem that does not learn makes of all of the mel, where that is known."""

    mel: Tensor
    plans: tuple[Plan, ...]
    answer: Answer
    stem_map: Tensor | None = None


@dataclass(frozen=True)
class Lessons:
    """``lessons(step, progress)`` is a function of its arguments, so that they can be made ahead or once more."""

    pieces: Pieces
    augment: WaveAugment
    teachers: Teachers
    student: Tagger
    config: DistillConfig

    @torch.no_grad()
    def __call__(self, step: int, progress: float) -> Lesson:
        """A batch, under as many different plans as ``plans_per_step`` says."""
        rng = np.random.default_rng((self.config.seed, step))
        crop_s = self.config.crop_share(progress) * self.student.card.segment_s
        wave = self.hear(rng, round(crop_s * self.pieces.sample_rate))
        rate = self.pieces.sample_rate
        mel = self.student.frontend(resample_fft(wave, rate, self.student.frontend.sample_rate))
        return Lesson(mel, self.patchouts(rng, mel.shape[2]), self.teachers(wave, rate))

    def hear(self, rng: np.random.Generator, n_samples: int) -> Tensor:
        """wave (B, n_samples) at the pieces' rate: random crops, augmented."""
        crops = self.pieces.random(rng, self.config.batch_on(self.teachers.device), self.augment.n_source(n_samples))
        wave = torch.as_tensor(crops, device=self.teachers.device).float() / 32768
        return self.augment(wave, n_samples, seed=int(rng.integers(1 << 62)))

    def patchouts(self, rng: np.random.Generator, n_frames: int) -> tuple[Plan, ...]:
        """Some of the plans that the student is to be good at; one of them may be a random crossing."""
        names, weights = zip(*self._plans, strict=True)
        n = min(self.config.plans_per_step, len(names))
        drawn = rng.choice(len(names), n, replace=False, p=np.array(weights) / sum(weights))
        return tuple(
            Plan({0: self._crossing(rng, n_frames)}) if names[number] == RANDOM else parse_plan(names[number])
            for number in drawn
        )

    @cached_property
    def _plans(self) -> list[tuple[str, float]]:
        """Those of the configured plans that have a chance, and leave something of the student's grid."""
        left = set(plans_for(self.student, [name for name, _ in self.config.plans if name != RANDOM])) | {RANDOM}
        found = [(name, weight) for name, weight in self.config.plans if weight > 0 and name in left]
        if not found:
            raise UsageError(f"none of the plans of `plans` leaves a patch of {self.student.card.name}")
        return found

    def _crossing(self, rng: np.random.Generator, n_frames: int) -> FixedPatchout:
        backbone = self.student.card.backbone
        assert isinstance(backbone, TransformerConfig)  # start_well refused everything else
        n_rows, n_cols = backbone.patch_grid(n_frames)
        fewest, most = (min(n, n_rows) for n in self.config.rows)
        rows = int(rng.integers(fewest, most + 1))
        most_cols = max(1, min(n_cols, self.config.max_tokens // rows))
        low, high = math.log(min(self.config.min_cols, most_cols)), math.log(most_cols)
        cols = round(math.exp(rng.uniform(low, high)))
        drop_rows = rng.permutation(n_rows)[rows:].tolist()
        drop_cols = (_between_runs if rng.random() < 0.5 else _anywhere)(rng, n_cols, cols)
        return FixedPatchout(rows=tuple(drop_rows), cols=tuple(drop_cols))


def _anywhere(rng: np.random.Generator, n_cols: int, n_kept: int) -> list[int]:
    """All columns but ``n_kept``."""
    return rng.permutation(n_cols)[n_kept:].tolist()


def _between_runs(rng: np.random.Generator, n_cols: int, n_kept: int) -> list[int]:
    """The same, what is kept in runs of up to 16 columns: only what lies near them need be computed."""
    run = min(int(rng.integers(4, 17)), n_kept)
    period = max(run, round(run * n_cols / n_kept))
    first = int(rng.integers(min(period, n_cols) - run + 1))
    kept = np.flatnonzero((np.arange(n_cols) - first) % period < run)[:n_kept]
    return sorted({*range(n_cols)} - {*kept.tolist()})
