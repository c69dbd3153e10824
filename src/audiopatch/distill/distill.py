"""Distillation by function matching: a student transformer learns to answer as a teacher does, on unlabelled music.

Teacher and student hear the same augmented crops (Beyer et al. 2022); nothing is labelled. Regression
to the teacher's standardised logits and features, not cross-entropy on its scores: nearly all of those are near zero
and teach nothing. A run is a folder; calling it again goes on where it stopped, on a CPU or a GPU. Every batch is
a function of (seed, step), so that a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from audiopatch.distill.augment_wave import augmentation
from audiopatch.distill.calibrate import last_linears
from audiopatch.distill.config import DistillConfig
from audiopatch.distill.kept import KeptLessons
from audiopatch.distill.lessons import Lesson, Lessons
from audiopatch.distill.pieces import Pieces
from audiopatch.distill.stopping import StopAsked, never, until
from audiopatch.distill.student import Student, start_well
from audiopatch.distill.teacher import Standard, Standards, Teachers, native_autocast
from audiopatch.models.heads import JointHead
from audiopatch.models.mobilenet import MobileNet
from audiopatch.models.student import TEACHER_HEAD, towards_teacher
from audiopatch.models.tagger import Tagger
from audiopatch.training.run_folder import RunFolder

_CALIBRATION_STEP = 1 << 40  # batches of their own, far from any that is trained on


class Distillation:
    """A run in ``folder``: make it, then ``run()``. ``student`` is any transformer Tagger with one logit per class, its
    weights random or learnt.

    ``evaluate`` gets the averaged Tagger now and then, and at the end; its rows go into metrics.jsonl, and with the
    losses to ``report``. ``stop`` is asked while it measures its scales, too: StopAsked.
    """

    def __init__(
        self,
        teachers: Teachers,
        student: Tagger,
        pieces: Pieces,
        folder: RunFolder,
        config: DistillConfig,
        *,
        evaluate: Callable[[Tagger], Sequence[Mapping[str, Any]]] = lambda tagger: (),
        report: Callable[[Mapping[str, Any]], None] = lambda row: None,
        fresh_heads: bool = False,
        stop: Callable[[], bool] = never,
    ):
        self.config, self.folder, self.evaluate, self.report = config, folder, evaluate, report
        self.stop = stop
        self.fresh_heads = fresh_heads
        self.device: torch.device = teachers.device
        self.student: Student = Student(student.requires_grad_(True), teachers, others=config.others).to(self.device)
        augment = augmentation(config.augment, pieces.sample_rate)
        self.lessons: Lessons = Lessons(pieces.on(self.device), augment, teachers, student, config)
        self.n_kept_steps: int = config.kept_steps_on(self.device)
        self.step = self.segments = 0
        self.elapsed_s = 0.0
        saved = folder.load_checkpoint()
        if saved is None:
            self.standards = self._calibrate()
        self.averaged: AveragedModel = AveragedModel(
            self.student.tagger, multi_avg_fn=_slower_and_slower(config.ema_decay)
        )
        self.optimizers = build_optimizers(self.student, config)
        if saved is not None:
            self._restore(saved)

    @property
    def progress(self) -> float:
        """The share of the run that is done, 0..1."""
        return self._progress_at(self.segments)

    def _progress_at(self, segments: int) -> float:
        return segments / self.config.max_segments if self.config.max_segments else self.elapsed_s / self.config.max_s

    def run(self) -> bool:
        """Train to the end, or until ``stop``, which is False; a checkpoint is saved now and then, and at the end."""
        losses: list[dict[str, Tensor]] = []
        saved_s, n_threads = self.elapsed_s, torch.get_num_threads()
        lessons = self._lessons()
        with _second_thread(self.device) as ahead:
            lesson = ahead.submit(lessons, self.step, self.progress)
            while self.progress < 1 and not self.stop():
                if 0 < self.n_kept_steps <= self.step:
                    torch.set_num_threads(n_threads)  # lessons cost nothing any more
                began_s, began_at = time.monotonic(), self.progress
                now = lesson.result()
                n_heard = self.segments + len(now.mel)
                lesson = ahead.submit(lessons, self.step + 1, self._progress_at(n_heard))
                losses.append(self.learn(now))
                self.elapsed_s += time.monotonic() - began_s
                if self.step % self.config.log_every == 0:
                    self._log(losses)
                    losses.clear()
                if self.elapsed_s - saved_s >= self.config.save_every_s:
                    self.save()
                    saved_s = self.elapsed_s
                if int(began_at * self.config.n_evaluations) < int(self.progress * self.config.n_evaluations):
                    self._evaluate()
        self.save()
        return self.progress >= 1

    def _lessons(self) -> Lessons | KeptLessons:
        if not self.n_kept_steps:
            return self.lessons
        stem = self.student.train().frozen_stem  # it hears a crop before the first step is learnt
        return KeptLessons(self.lessons, self.folder.kept, self.n_kept_steps, stem)

    def learn(self, lesson: Lesson) -> dict[str, Tensor]:
        """One step on one batch. The losses by name, and their weighted sum as "loss"."""
        torch.manual_seed(self.config.seed + self.step)  # the random run of time positions (PaSST)
        self.student.train()
        with native_autocast(self.device):
            losses = self.student.losses(lesson, self.standards)
        loss = torch.stack([weight * losses[name] for name, weight in self.config.weights if name in losses]).sum()
        loss.backward()
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
        return {name: value.detach() for name, value in (*losses.items(), ("loss", loss))}

    def result(self) -> Tagger:
        """A copy of the averaged Tagger, its head giving logits in the teacher's own units."""
        tagger = cast(Tagger, copy.deepcopy(self.averaged.module)).eval().requires_grad_(False)
        _in_layers(Standard.undo_in, self.standards.logits, last_linears(tagger.head))
        teacher = self.lessons.teachers.taggers[0]
        if self.student.keeps_layers and isinstance(teacher.backbone, MobileNet):
            return towards_teacher(tagger, teacher, ends=self.config.kept_in_ends, head=self.config.kept_in_head)
        return tagger

    @torch.no_grad()
    def _calibrate(self) -> Standards:
        """The scale of the teacher's answers, and the student's first weights, from batches that are not trained on."""
        steps = range(self.config.n_calibration)
        lessons = [self.lessons(_CALIBRATION_STEP + step, 0.0) for step in until(self.stop, steps)]
        standards = Standards.measure([lesson.answer for lesson in lessons])
        tagger = self.student.tagger
        if tagger.weights_sha256 == "random" and not self.student.keeps_layers:
            start_well(tagger, torch.cat([lesson.mel for lesson in lessons[:4]]))
        else:  # heads that a student was given beside its teacher's start at random, hence near the mean
            known = last_linears(tagger.head)[: 1 if self.fresh_heads else None]
            _in_layers(Standard.do_in, standards.logits, known)
        if tagger.card.shrunk_from and not self.student.keeps_layers:
            self.student.start_as_part(standards)
        return standards

    def save(self) -> None:
        self.folder.save_checkpoint(
            {
                "step": self.step,
                "segments": self.segments,
                "elapsed_s": self.elapsed_s,
                "standards": self.standards.to_lists(),
                "student": self.student.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            }
        )

    def _restore(self, saved: dict[str, Any]) -> None:
        self.step, self.segments, self.elapsed_s = saved["step"], saved["segments"], saved["elapsed_s"]
        self.standards: Standards = Standards.from_lists(saved["standards"], self.device)
        self.student.load_state_dict(saved["student"])
        self.averaged.load_state_dict(saved["averaged"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.folder.forget_after(self.step)

    def _evaluate(self) -> None:
        began_s = time.monotonic()
        with suppress(StopAsked):  # whoever called it asks, too
            for row in self.evaluate(self.result()):
                self._write({"kind": "held-out", **row})
        self.elapsed_s += time.monotonic() - began_s

    def _log(self, losses: Sequence[Mapping[str, Tensor]]) -> None:
        seen = {name: [float(loss[name]) for loss in losses if name in loss] for name in sorted({*chain(*losses)})}
        means = {name: round(float(np.mean(values)), 4) for name, values in seen.items()}
        self._write({"kind": "step", "progress": round(self.progress, 4), **means})

    def _write(self, row: Mapping[str, Any]) -> None:
        row = {"step": self.step, "segments": self.segments, "elapsed_s": round(self.elapsed_s, 1), **row}
        self.folder.write(row)
        self.report(row)


def _slower_and_slower(decay: float) -> Callable[[Any, Any, Any], None]:
    """A moving average that forgets the start of a run: (1 + n) / (10 + n) after n steps, up to ``decay``."""

    @torch.no_grad()
    def average(averages: list[Tensor], values: list[Tensor], n_averaged: Tensor) -> None:
        n = int(n_averaged)
        torch._foreach_lerp_(averages, values, 1 - min(decay, (1 + n) / (10 + n)))

    return average


@contextmanager
def _second_thread(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """A thread that makes the next lesson during this step; on a CPU the two share the cores, half each.

    Lesson and step cost about the same, and each is small: one after the other on two cores they keep waiting.
    """
    n_threads = torch.get_num_threads()
    share = max(1, n_threads // 2) if device.type == "cpu" else n_threads
    torch.set_num_threads(share)
    try:
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(share,)) as thread:
            yield thread
    finally:
        torch.set_num_threads(n_threads)


def build_optimizers(student: Student, config: DistillConfig) -> list[torch.optim.Optimizer]:
    """Two optimizers over all parameters of ``student``; each group keeps its unscheduled rate as ``full_lr``.

    Muon (Jordan et al. 2024) orthogonalises the update of a matrix; scaled to AdamW's step size (Liu et al. 2025,
    "Muon is scalable for LLM training", section 2.2) it takes the same learning rates and learns from fewer segments.
    """
    backbone: Any = student.tagger.backbone
    matrices = [p for block in backbone.blocks for p in block.parameters() if p.ndim == 2]
    before, behind = _kept_layers(student.tagger)
    before.requires_grad_(config.lr_stem > 0)
    behind.requires_grad_(config.lr_kept > 0)
    kept = [
        {"params": list(module.parameters()), "lr": lr, "weight_decay": 0.0}
        for module, lr in ((before, config.lr_stem), (behind, config.lr_kept))
        if any(parameter.requires_grad for parameter in module.parameters())
    ]
    taken = {id(p) for p in (*matrices, *before.parameters(), *behind.parameters())}
    rest = [parameter for parameter in student.parameters() if id(parameter) not in taken]
    muon = torch.optim.Muon(
        matrices, lr=config.lr_matrices, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(
        [*kept, {"params": rest}], lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.98)
    )
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return [muon, adamw]


def _kept_layers(tagger: Tagger) -> tuple[nn.Module, nn.Module]:
    """What a student took over from its teacher: before its blocks, and behind them with the head; else nothing."""
    if not isinstance(tagger.head, JointHead):
        return nn.ModuleList(), nn.ModuleList()
    stem: Any = tagger.backbone.stem
    return stem.layers, nn.ModuleList([stem.tail, tagger.head.heads[TEACHER_HEAD]])


def _in_layers(change: Callable[[Standard, nn.Linear], None], standard: Standard, layers: Sequence[nn.Linear]) -> None:
    """``Standard.do_in`` or ``undo_in`` for a head whose logits come from several layers, one after the other."""
    start = 0
    for layer in layers:
        change(standard.part(slice(start, start + layer.out_features)), layer)
        start += layer.out_features
