"""From a folder of music and a teacher to a model folder: what ``audiopatch train distill`` does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from audiopatch.audio.inputs import Inputs
from audiopatch.audio.survey import survey
from audiopatch.distill.agreement import Agreement, HeldOut, as_scores, as_table
from audiopatch.distill.calibrate import calibrate
from audiopatch.distill.config import DistillConfig
from audiopatch.distill.distill import Distillation
from audiopatch.distill.library import Library, piece_bytes
from audiopatch.distill.pieces import Pieces
from audiopatch.distill.student import classes_of, new_student, ranked_of
from audiopatch.distill.teacher import Teacher
from audiopatch.errors import EnvironmentProblem
from audiopatch.evaluation.run import require_training_extra
from audiopatch.inference.settings import Runtime
from audiopatch.models.card import ModelCard
from audiopatch.training.config_toml import with_overrides
from audiopatch.training.plots import plot_distillation
from audiopatch.training.run_folder import RunFolder
from audiopatch.types import CutSpec, Track
from audiopatch.zoo import native
from audiopatch.zoo.load import load_model

QUICK_PLANS = ("F0T0", "F3T2")  # what is measured on the way
PIECES = "pieces"
PIECE_RATE = 32_000  # the most that a teacher of the zoo listens to


@dataclass(frozen=True)
class DistillRun:
    """Everything that decides the result. ``student`` as ``new_student`` takes it."""

    library: str
    teacher: str
    student: str
    held_out: tuple[str, ...]
    distill: DistillConfig


@dataclass(frozen=True)
class Watch:
    """Who is told what: notes in words, tracks left out, tracks prepared so far, rows of metrics.jsonl."""

    note: Callable[[str], None] = lambda text: None
    left_out: Callable[[Track, str], None] = lambda track, reason: None
    prepared: Callable[[int, int], None] = lambda done, total: None
    row: Callable[[Mapping[str, Any]], None] = lambda row: None


def distil(
    run: DistillRun,
    tracks: Iterable[Track],
    folder: Path,
    *,
    device: str = "auto",
    workers: int = 0,
    resume: bool = False,
    force: bool = False,
    stop: Callable[[], bool] = lambda: False,
    watch: Watch = Watch(),
) -> bool:
    """Train, calibrate and measure; the model is in ``folder``/model. False where it was stopped, and saved, before."""
    library = Library.of(tracks, run.held_out)
    tagger = load_model(run.teacher, device=device)
    student = new_student(run.student, tagger, name=folder.resolve().name)
    teacher = Teacher(tagger, classes_of(student.labels, tagger.labels))
    files = RunFolder(folder)
    files.start(run, resume=resume, force=force)
    rate = max(teacher.sample_rate, student.frontend.sample_rate)
    how = {"workers": workers, "on_skip": watch.left_out, "report": watch.prepared, "stop": stop}
    if not library.prepare(folder / PIECES, rate, **how):
        return False
    held, train = library.pieces(folder / PIECES)
    watch.note(f"{train.duration_s / 3600:.2f} h to learn from, {held.duration_s / 3600:.2f} h held out")
    few, many = (
        HeldOut(teacher, held, clip_s=student.card.segment_s, per_track=n, ranked=ranked_of(student)) for n in (1, 3)
    )
    work = Distillation(
        teacher,
        student,
        train,
        files,
        run.distill,
        evaluate=lambda averaged: [row.rounded() for row in few.compare(averaged, QUICK_PLANS)],
        report=watch.row,
    )
    finished = work.run(stop)
    plot_distillation(files.rows(), folder / "curves.png")
    if finished:
        watch.note("calibrating and measuring")
        _finish(work, run, files, train, many)
    return finished


def _finish(work: Distillation, run: DistillRun, files: RunFolder, train: Pieces, held: HeldOut) -> None:
    """The model folder: calibrated weights first, then the figures, which take minutes."""
    tagger = work.result()
    calibrate(
        tagger, work.lessons.teacher, train, n_clips=run.distill.n_calibration_clips, clip_s=tagger.card.segment_s
    )
    native.save(tagger, files.model, dtype=torch.float16)
    rows = held.compare(tagger)
    tagger.card = replace(tagger.card, scores=as_scores(rows))
    native.save_card(tagger.card, files.model)
    write_readme(
        files.model, tagger.card, held, rows, teacher=run.teacher, hours=train.duration_s / 3600, segments=work.segments
    )


def write_readme(
    folder: Path,
    card: ModelCard,
    held: HeldOut,
    rows: Sequence[Agreement],
    *,
    teacher: str,
    hours: float,
    segments: int,
) -> None:
    """README.md into a native model folder."""
    lines = [
        f"# {card.name}",
        "",
        f"{card.summary[:1].upper()}{card.summary[1:]}; {card.paper}.",
        "",
        f"- **Teacher:** {teacher}; its licence, and that of the music, say what may be done with this model",
        f"- **Training:** {segments:,} crops of {hours:.1f} h of music without labels",
        f"- **Input:** {card.segment_s:g} s of audio at a time, front-end `{card.frontend.name}`",
        "",
        "```",
        f"audiopatch tag ~/Music --model {folder}",
        "```",
        "",
        *as_table(rows),
        "",
        f"Agreement with the teacher on {rows[0].n_clips} clips of albums that were held out, with 95 % intervals by a",
        f"bootstrap over tracks; an answer that is always the same agrees in {held.commonest:.3f}. Classes that the",
        "teacher gets wrong, the student learnt wrong.",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def distill_to_folder(
    inputs: Inputs,
    folder: Path,
    *,
    teacher: str,
    student: str,
    held_out: Sequence[str],
    config: DistillConfig,
    settings: Mapping[str, str],
    device: str,
    resume: bool,
    force: bool,
    stop: Callable[[], bool] = lambda: False,
    watch: Watch | None = None,
) -> bool:
    """Distil from ``inputs`` into ``folder``/model. False where it was stopped, and saved, before the end."""
    watch = watch or Watch()
    require_training_extra()  # the report at the end needs it: say so before a night of training
    tracks = list(inputs.tracks())
    _state_disk_use(tracks, folder, watch.note)
    run = DistillRun(" ".join(inputs.paths), teacher, student, tuple(held_out), with_overrides(config, settings))
    left_out: list[str] = []

    def leave_out(track: Track, reason: str) -> None:
        left_out.append(f"{track.path}\t{reason}".encode("unicode_escape").decode())
        watch.left_out(track, reason)

    finished = distil(
        run, tracks, folder,
        device=device, workers=Runtime().n_workers, resume=resume, force=force,
        stop=stop, watch=replace(watch, left_out=leave_out),
    )  # fmt: skip
    if left_out:
        (folder / "left_out.tsv").write_text("".join(f"{line}\n" for line in left_out), encoding="utf-8")
        watch.note(f"{len(left_out)} of {len(tracks)} tracks left out; {folder / 'left_out.tsv'} says why")
    return finished


def _state_disk_use(tracks: Sequence[Track], folder: Path, tell: Callable[[str], None]) -> None:
    """What decoding everything will take, before it is begun; too little room is an EnvironmentProblem."""
    if (folder / "pieces").exists():
        return
    found = survey(tracks, CutSpec(PIECE_RATE, segment_s=10.0))
    needed = piece_bytes(found.audio_s, PIECE_RATE)
    place = next(parent for parent in [folder, *folder.resolve().parents] if parent.exists())
    free = shutil.disk_usage(place).free
    hours, gigabytes = found.audio_s / 3600, needed / 1e9
    tell(f"{found.n_tracks} tracks, {hours:.1f} h; decoded they take up to {gigabytes:.2f} GB in {folder}")
    if needed > 0.95 * free:
        raise EnvironmentProblem(
            f"{folder} has {free / 1e9:.1f} GB free; {needed / 1e9:.1f} GB are needed; choose another -o"
        )
