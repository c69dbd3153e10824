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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from audiopatch.models.tagger import Tagger
from audiopatch.training.augment_wave import WaveAugment
from audiopatch.training.calibrate import last_linear
from audiopatch.training.distill_config import DistillConfig
from audiopatch.training.lessons import Lesson, Lessons
from audiopatch.training.optimizers import build_optimizers
from audiopatch.training.pieces import Pieces
from audiopatch.training.student import Student, start_well
from audiopatch.training.teacher import Standards, Teacher

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
        self.student = Student(student.requires_grad_(True), self.teacher.n_features).to(self.device)
        self.lessons = Lessons(pieces, augment or WaveAugment(pieces.sample_rate), self.teacher, student, config)
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
        return self._progress_at(self.segments)

    def _progress_at(self, segments: int) -> float:
        if self.config.max_segments is not None:
            return segments / self.config.max_segments
        return self.elapsed_s / (self.config.max_s or math.inf)

    def run(self) -> Tagger:
        """Train to the end, saving now and then; the averaged Tagger, giving logits in the teacher's own units."""
        (self.folder / CONFIG).write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")
        losses: list[dict[str, float]] = []
        saved_s = evaluated_s = self.elapsed_s
        with _second_thread(self.device) as ahead:
            lesson = ahead.submit(self.lessons, self.step, self.progress)
            while self.progress < 1:
                start_s = time.monotonic()
                now = lesson.result()
                lesson = ahead.submit(self.lessons, self.step + 1, self._progress_at(self.segments + len(now.mel)))
                losses.append(self.learn(now))
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

    def learn(self, lesson: Lesson) -> dict[str, float]:
        """One step on one batch. The losses by name."""
        torch.manual_seed(self.config.seed + self.step)  # the random run of time positions (PaSST)
        self.student.train()
        with torch.autocast(self.device.type, torch.bfloat16):
            losses = self.student.losses(lesson.mel, lesson.plan, lesson.answer, self.standards)
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
        self.segments += len(lesson.mel)
        return {name: loss.item() for name, loss in losses.items()}

    def result(self) -> Tagger:
        """A copy of the averaged Tagger whose head has the standardisation folded in."""
        tagger = cast(Tagger, copy.deepcopy(self.averaged.module)).eval().requires_grad_(False)
        self.standards.logits.undo_in(last_linear(tagger.head))
        return tagger

    @torch.no_grad()
    def _calibrate(self) -> Standards:
        """The scale of the teacher's answers, and the student's first weights, from batches that are not trained on."""
        lessons = [self.lessons(_CALIBRATION_STEP + number, 0.0) for number in range(self.config.n_calibration)]
        start_well(self.student.tagger, torch.cat([lesson.mel for lesson in lessons[:4]]))
        return Standards.measure([lesson.answer for lesson in lessons])

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


@contextmanager
def _second_thread(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """A thread that makes the next lesson during this step; on a CPU the two share the cores, half each.

    Two steps side by side on one core each take 60 % of the time of one after the other on two.
    """
    n_threads = torch.get_num_threads()
    share = max(1, n_threads // 2) if device.type == "cpu" else n_threads
    torch.set_num_threads(share)
    try:
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(share,)) as thread:
            yield thread
    finally:
        torch.set_num_threads(n_threads)
