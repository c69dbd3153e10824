"""Distillation by function matching: a student transformer learns to answer as a teacher does, on unlabelled music.

Teacher and student hear the same augmented crops (Beyer et al. 2022); nothing is labelled or cached. Regression
to the teacher's standardised logits and features, not cross-entropy on its scores: nearly all of those are near zero
and teach nothing. A run is a folder (checkpoint, metrics, configuration); calling it again goes on where it stopped, on
a CPU or a GPU. Every batch is a function of (seed, step), so that a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from audiopatch.models.config import TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.fixed import FixedPatchout
from audiopatch.reducers.plan import Plan
from audiopatch.training.augment_wave import WaveAugment
from audiopatch.training.calibrate import last_linear
from audiopatch.training.distill_config import DistillConfig
from audiopatch.training.optimizers import build_optimizers
from audiopatch.training.pieces import Pieces
from audiopatch.training.resample_fft import resample_fft
from audiopatch.training.student import Student, start_well
from audiopatch.training.teacher import Answer, Standards, Teacher

CHECKPOINT, METRICS, CONFIG = "checkpoint.pt", "metrics.jsonl", "config.json"
_CALIBRATION_STEP = 1 << 40  # batches of their own, far from any that is trained on


class Distillation:
    """A run in ``folder``: make it, then ``run()``. ``student`` is any transformer Tagger with one logit per class.

    ``classes`` are the numbers of the student's classes among the teacher's. ``evaluate`` gets the averaged Tagger now
    and then, and at the end; its figures go into ``metrics.jsonl``.
    """

    def __init__(
        self,
        teacher: Tagger,
        student: Tagger,
        pieces: Pieces,
        folder: Path,
        *,
        classes: Sequence[int],
        config: DistillConfig,
        augment: WaveAugment | None = None,
        evaluate: Callable[[Tagger], dict[str, Any]] | None = None,
    ):
        self.config, self.folder, self.pieces = config, Path(folder), pieces
        self.device = teacher.device
        self.teacher = Teacher(teacher, classes)
        self.augment = augment or WaveAugment(pieces.sample_rate)
        self.student = Student(student.requires_grad_(True), self.teacher.n_features).to(self.device)
        self.evaluate = evaluate
        self.step = self.segments = 0
        self.elapsed_s = 0.0
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = self._load()
        if saved is None:
            self.standards = self._calibrate()
        self.averaged = AveragedModel(self.student.tagger, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        self.optimizers = build_optimizers(self.student, config)
        if saved is not None:
            self._restore(saved)

    @property
    def progress(self) -> float:
        """The share of the run that is done, 0..1."""
        if self.config.max_segments is not None:
            return self.segments / self.config.max_segments
        return self.elapsed_s / (self.config.max_s or math.inf)

    def run(self) -> Tagger:
        """Train to the end, saving now and then; the averaged Tagger, giving logits in the teacher's own units."""
        (self.folder / CONFIG).write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")
        losses: list[dict[str, float]] = []
        saved_s = evaluated_s = self.elapsed_s
        while self.progress < 1:
            start_s = time.monotonic()
            losses.append(self.train_step())
            self.elapsed_s += time.monotonic() - start_s
            if self.step % self.config.log_every == 0:
                self._log({name: float(np.mean([loss[name] for loss in losses])) for name in losses[0]})
                losses.clear()
            if self.elapsed_s - saved_s >= self.config.save_every_s:
                self.save()
                saved_s = self.elapsed_s
            if self.elapsed_s - evaluated_s >= self.config.evaluate_every_s:
                self._evaluate()
                evaluated_s = self.elapsed_s
        self.save()
        self._evaluate()
        return self.result()

    def train_step(self) -> dict[str, float]:
        """One batch: heard, answered, learnt. The losses by name."""
        wave, mel, plan = self.lesson(self.step)
        answer = self.standards(self.teacher(resample_fft(wave, self.pieces.sample_rate, self.teacher.sample_rate)))
        torch.manual_seed(self.config.seed + self.step)  # the random run of time positions (PaSST)
        self.student.train()
        with torch.autocast(self.device.type, torch.bfloat16):
            losses = self.student.losses(mel, plan, answer)
        torch.stack([weight * losses[name] for name, weight in self.config.weights]).sum().backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        factor = self.config.lr_factor(self.progress)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.averaged.update_parameters(self.student.tagger)
        self.step += 1
        self.segments += len(mel)
        return {name: loss.item() for name, loss in losses.items()}

    def lesson(self, step: int) -> tuple[Tensor, Tensor, Plan]:
        """wave (B, S) at the pieces' rate, the student's mel of it, and this batch's patchout: a function of step."""
        rng = np.random.default_rng((self.config.seed, step))
        n_samples = round(self.config.crop_s_at(self.progress) * self.pieces.sample_rate)
        crops = self.pieces.random(rng, self.config.batch_size, self.augment.n_source(n_samples))
        wave = torch.from_numpy(crops).to(self.device).float() / 32768
        wave = self.augment(wave, n_samples, seed=int(rng.integers(1 << 62)))
        frontend = self.student.tagger.frontend
        mel = frontend(resample_fft(wave, self.pieces.sample_rate, frontend.sample_rate))
        return wave, mel, Plan({0: self._patchout(rng, mel.shape[2])})

    def _patchout(self, rng: np.random.Generator, n_frames: int) -> FixedPatchout:
        """A random crossing of rows and columns, of random size: so the student works at every FxTy."""
        backbone = self.student.tagger.card.backbone
        assert isinstance(backbone, TransformerConfig)  # start_well refused everything else
        n_rows, n_cols = backbone.patch_grid(n_frames)
        fewest, most = (min(n, n_rows) for n in self.config.rows)
        rows = int(rng.integers(fewest, most + 1))
        most_cols = max(1, min(n_cols, self.config.max_tokens // rows))
        low, high = math.log(min(self.config.min_cols, most_cols)), math.log(most_cols)
        cols = round(math.exp(rng.uniform(low, high)))
        drop_rows = rng.permutation(n_rows)[rows:].tolist()
        return FixedPatchout(rows=tuple(drop_rows), cols=tuple(rng.permutation(n_cols)[cols:].tolist()))

    def result(self) -> Tagger:
        """A copy of the averaged Tagger whose head has the standardisation folded in."""
        tagger = cast(Tagger, copy.deepcopy(self.averaged.module)).eval().requires_grad_(False)
        self.standards.logits.undo_in(last_linear(tagger.head))
        return tagger

    @torch.no_grad()
    def _calibrate(self) -> Standards:
        """The scale of the teacher's answers, and the student's first weights, from batches that are not trained on."""
        answers: list[Answer] = []
        mels: list[Tensor] = []
        for number in range(self.config.n_calibration):
            wave, mel, _ = self.lesson(_CALIBRATION_STEP + number)
            answers.append(self.teacher(resample_fft(wave, self.pieces.sample_rate, self.teacher.sample_rate)))
            mels.append(mel)
        start_well(self.student.tagger, torch.cat(mels[:4]))
        return Standards.measure(answers)

    def save(self) -> None:
        state = {
            "step": self.step,
            "segments": self.segments,
            "elapsed_s": self.elapsed_s,
            "standards": self.standards.to_lists(),
            "student": self.student.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        partial = self.folder / (CHECKPOINT + ".part")
        torch.save(state, partial)
        partial.replace(self.folder / CHECKPOINT)

    def _evaluate(self) -> None:
        if self.evaluate is not None:
            start_s = time.monotonic()
            self._write_metrics({"held_out": self.evaluate(self.result())})
            self.elapsed_s += time.monotonic() - start_s

    def _load(self) -> dict[str, Any] | None:
        path = self.folder / CHECKPOINT
        return torch.load(path, map_location=self.device, weights_only=True) if path.exists() else None

    def _restore(self, saved: dict[str, Any]) -> None:
        self.step, self.segments, self.elapsed_s = saved["step"], saved["segments"], saved["elapsed_s"]
        self.standards = Standards.from_lists(saved["standards"], self.device)
        self.student.load_state_dict(saved["student"])
        self.averaged.load_state_dict(saved["averaged"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)

    def _log(self, losses: dict[str, float]) -> None:
        self._write_metrics({"losses": {name: round(value, 4) for name, value in losses.items()}})

    def _write_metrics(self, values: dict[str, Any]) -> None:
        line = {"step": self.step, "segments": self.segments, "elapsed_s": round(self.elapsed_s, 1), **values}
        with open(self.folder / METRICS, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
