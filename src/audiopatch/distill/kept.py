"""Lessons that are kept: where teachers cost more than the student, crops are answered once and learnt many times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from audiopatch.distill.lessons import Lesson, Lessons
from audiopatch.distill.teacher import Answer

KEPT_BYTES = 350_000  # on disk, of a crop of ten seconds


class KeptLessons:
    """Called as ``Lessons`` are: the first ``n_steps`` batches are new, and kept in ``folder``; later ones are drawn
    at random from the crops of those, under plans of their own.

    What a ``stem`` that does not learn makes of a crop is kept beside it. On disk both take half their float32 size.
    A batch is a function of its step here, too.
    """

    def __init__(self, lessons: Lessons, folder: Path, n_steps: int, stem: nn.Module | None = None):
        self.lessons, self.folder, self.n_steps, self.stem = lessons, folder, n_steps, stem
        self._arrays: dict[str, np.memmap] = {}

    def __call__(self, step: int, progress: float) -> Lesson:
        if step < self.n_steps:
            lesson = self.lessons(step, progress)
            if self.stem is not None:
                with torch.no_grad():
                    lesson = replace(lesson, stem_map=self.stem(lesson.mel[:, None]))
            self._keep(step, lesson)
            return lesson
        rng = np.random.default_rng((self.lessons.config.seed, step))
        batch_size = self.lessons.config.batch_on(self.lessons.teachers.device)
        rows = np.sort(rng.choice(self.n_steps * batch_size, batch_size, replace=False))
        heard = self._read(rows)
        mel, stem_map = heard.pop("mel"), heard.pop("stem_map", None)
        return Lesson(mel, self.lessons.patchouts(rng, mel.shape[2]), Answer(**{"timeline": None, **heard}), stem_map)

    def _keep(self, step: int, lesson: Lesson) -> None:
        for name, values in _parts(lesson).items():
            if name not in self._arrays:
                self._arrays[name] = self._open(name, (self.n_steps * len(values), *values.shape[1:]))
            self._arrays[name][step * len(values) : (step + 1) * len(values)] = values.half().cpu().numpy()

    def _open(self, name: str, shape: tuple[int, ...]) -> np.memmap:
        """The file of one part, made where it is not there: a run that is resumed finds what it kept before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.npy"
        if path.exists():
            return np.lib.format.open_memmap(path, mode="r+")
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)

    def _read(self, rows: np.ndarray) -> dict[str, Tensor]:
        for path in self.folder.glob("*.npy"):
            self._arrays.setdefault(path.stem, self._open(path.stem, ()))
        device = self.lessons.teachers.device
        return {name: torch.from_numpy(array[rows]).to(device).float() for name, array in self._arrays.items()}


def _parts(lesson: Lesson) -> Mapping[str, Tensor]:
    answer = lesson.answer
    parts = {"mel": lesson.mel, "logits": answer.logits, "features": answer.features}
    further = {"timeline": answer.timeline, "stem_map": lesson.stem_map}
    return parts | {name: value for name, value in further.items() if value is not None}
