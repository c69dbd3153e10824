"""What each part of the default model's recipe is worth: short runs of equal length that differ in one thing.

    audiopatch train distill MUSIC --teacher mn04_as --teacher musicnn-msd --teacher musicnn-mtt ... -o RUN
    cp -al RUN/kept KEPT        (while it runs: at its end its kept crops are thrown away)
    python scripts/ablate_default.py RUN KEPT

Every run begins as the first teacher and learns from the crops that RUN kept, with the teachers' answers to them, so
that none costs more than its steps. The table says how often the best tag of mn04, and of MusiCNN-MSD, is met on one
clip of every held-out track.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audiopatch.distill.agreement import HeldOut
from audiopatch.distill.config import DistillConfig
from audiopatch.distill.distill import Distillation
from audiopatch.distill.kept import KeptLessons
from audiopatch.distill.lessons import Lesson
from audiopatch.distill.pieces import Pieces
from audiopatch.distill.run import held_out_views
from audiopatch.distill.student import JOINT, new_student
from audiopatch.distill.teacher import Answer, Teachers
from audiopatch.models.tagger import Tagger
from audiopatch.training.run_folder import RunFolder
from audiopatch.zoo.load import load_model

TEACHERS = ("mn04_as", "musicnn-msd", "musicnn-mtt")
PLANS = ("F0T0", "F0T2", "F3T2", "F4T10")
BATCH = 32


def _without_dropped_rows(student: Tagger) -> None:
    stem: Any = student.backbone.stem
    stem.dropped_rows = None


@dataclass(frozen=True)
class Variant:
    """``settings`` of a DistillConfig, the first ``n_teachers``, and what else is done to the student."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    n_teachers: int = len(TEACHERS)
    change: Callable[[Tagger], None] = lambda student: None


VARIANTS = {
    "the recipe": Variant(),
    "one block": Variant({"n_blocks": 1}),
    "four blocks": Variant({"n_blocks": 4}),
    "blocks after layer 11": Variant({"n_layers": 11}),
    "no context before patchout": Variant({"context": 0}),
    "dropped rows stay away": Variant(change=_without_dropped_rows),
    "no patchout in training": Variant({"plans": (("F0T0", 1.0),)}),
    "mn04 alone teaches": Variant(n_teachers=1),
}


class Again:
    """Called as Lessons are: batches of kept crops only, with what the first ``n_classes`` logits' teachers say."""

    def __init__(self, lessons: Any, kept: Path, n_steps: int, n_classes: int):
        self._kept, self._n_classes = KeptLessons(lessons, kept, n_steps), n_classes
        self.teachers = lessons.teachers

    def __call__(self, step: int, progress: float) -> Lesson:
        lesson = self._kept(step + self._kept.n_steps, progress)
        said = lesson.answer
        answer = Answer(said.logits[:, : self._n_classes], said.features, said.timeline)
        return replace(lesson, answer=answer, stem_map=None)  # where the stem ends, differs


class FromKept(Distillation):
    """A run whose crops are all there."""

    def __init__(self, *arguments: Any, kept: Path, n_steps: int, **options: Any):
        self._where = kept, n_steps
        super().__init__(*arguments, **options)

    def _calibrate(self) -> Any:
        self.lessons: Any = Again(self.lessons, *self._where, len(self.lessons.teachers.classes))
        return super()._calibrate()


def main() -> None:
    arguments = _parser().parse_args()
    train, held = (Pieces(sorted((arguments.run / "pieces" / kind).iterdir())) for kind in ("train", "held"))
    taggers = [load_model(name, device="cpu", dtype="float32") for name in TEACHERS]
    logits = np.load(arguments.kept / "logits.npy", mmap_mode="r")
    n_steps = int(np.any(logits[::BATCH] != 0, axis=1).sum())
    joint = new_student(None, taggers, DistillConfig(max_segments=1), name="joint")
    views = held_out_views(Teachers(taggers), held, joint, per_track=1)
    n_clips = len(views[TEACHERS[0]].clips)
    print(
        f"{arguments.steps} steps of {BATCH} of {n_steps * BATCH} kept crops; {n_clips} held-out clips, one per track"
    )
    print("| | " + " | ".join(f"mn04 at {plan}" for plan in PLANS) + " | MSD at F0T0 | CPU s |")
    print("|---" * (len(PLANS) + 3) + "|")
    for name in arguments.only or VARIANTS:
        began = time.process_time()
        student = learnt(VARIANTS[name], taggers, train, arguments.kept, n_steps, arguments.steps)
        print(f"| {name} | {' | '.join(figures(student, views))} | {time.process_time() - began:.0f} |", flush=True)


def learnt(variant: Variant, taggers: list[Tagger], train: Pieces, kept: Path, n_steps: int, steps: int) -> Tagger:
    """The student after so many steps."""
    config = DistillConfig(max_segments=steps * BATCH, batch_size=BATCH, n_kept=0, n_evaluations=1)
    config = replace(config, **variant.settings)
    known = taggers[: variant.n_teachers]
    student = new_student(None, known, config, name="ablation")
    variant.change(student)
    with tempfile.TemporaryDirectory() as folder:
        files = RunFolder(Path(folder))
        files.start(config)
        work = FromKept(Teachers(known), student, train, files, config, fresh_heads=True, kept=kept, n_steps=n_steps)
        work.run()
        return work.result()


def figures(student: Tagger, views: Mapping[str, HeldOut]) -> list[str]:
    """Top-1 agreement with mn04 under each plan, and with MSD where the student learnt from it."""
    found = [f"{row.top1.value:.2f}" for row in views["mn04_as"].compare(student, PLANS)]
    if student.card.labels != JOINT:  # it has no other teacher's classes
        return [*found, "–"]
    return [*found, f"{views['musicnn-msd'].compare(student, ('F0T0',))[0].top1.value:.2f}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("kept", type=Path)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--only", nargs="*", help="some of the rows")
    return parser


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
