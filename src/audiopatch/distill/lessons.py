"""What a batch of distillation teaches: augmented crops, what the teacher says about them, what the student may see."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audiopatch.distill.augment_wave import WaveAugment, resample_fft
from audiopatch.distill.config import RANDOM, DistillConfig
from audiopatch.distill.pieces import Pieces
from audiopatch.distill.teacher import Answer, Teacher
from audiopatch.models.card import TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.fixed import FixedPatchout
from audiopatch.reducers.plan import Plan, parse_plan


@dataclass(frozen=True)
class Lesson:
    """The student's mel (B, n_mels, frames), its patchout, and the teacher's Answer for the same audio."""

    mel: Tensor
    plan: Plan
    answer: Answer


@dataclass(frozen=True)
class Lessons:
    """``lessons(step, progress)`` is a function of its arguments, so that they can be made ahead or once more."""

    pieces: Pieces
    augment: WaveAugment
    teacher: Teacher
    student: Tagger
    config: DistillConfig

    @torch.no_grad()
    def __call__(self, step: int, progress: float) -> Lesson:
        rng = np.random.default_rng((self.config.seed, step))
        crop_s = self.config.crop_share(progress) * self.student.card.segment_s
        wave = self.hear(rng, round(crop_s * self.pieces.sample_rate))
        mel = self.student.frontend(self._at(wave, self.student.frontend.sample_rate))
        answer = self.teacher(self._at(wave, self.teacher.sample_rate))
        return Lesson(mel, self.patchout(rng, mel.shape[2]), answer)

    def hear(self, rng: np.random.Generator, n_samples: int) -> Tensor:
        """wave (B, n_samples) at the pieces' rate: random crops, augmented."""
        crops = self.pieces.random(rng, self.config.batch_size, self.augment.n_source(n_samples))
        wave = torch.from_numpy(crops).to(self.teacher.tagger.device).float() / 32768
        return self.augment(wave, n_samples, seed=int(rng.integers(1 << 62)))

    def patchout(self, rng: np.random.Generator, n_frames: int) -> Plan:
        """One of the plans that the student is to be good at, or a random crossing of rows and columns."""
        names, weights = zip(*self.config.plans, strict=True)
        name = names[rng.choice(len(names), p=np.array(weights) / sum(weights))]
        return Plan({0: self._crossing(rng, n_frames)}) if name == RANDOM else parse_plan(name)

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
        return FixedPatchout(rows=tuple(drop_rows), cols=tuple(rng.permutation(n_cols)[cols:].tolist()))

    def _at(self, wave: Tensor, sample_rate: int) -> Tensor:
        return resample_fft(wave, self.pieces.sample_rate, sample_rate)
