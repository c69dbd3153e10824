"""From a folder of music and a teacher to a model folder: what ``audiopatch train distill`` does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch

from audiopatch.amounts import audio
from audiopatch.audio.inputs import Inputs
from audiopatch.audio.survey import survey
from audiopatch.distill.agreement import Agreement, HeldOut, as_scores, as_table
from audiopatch.distill.calibrate import calibrate, samples
from audiopatch.distill.config import DistillConfig
from audiopatch.distill.distill import Distillation
from audiopatch.distill.kept import KEPT_BYTES
from audiopatch.distill.library import Library, piece_bytes
from audiopatch.distill.pieces import Pieces
from audiopatch.distill.stopping import StopAsked, never, until
from audiopatch.distill.student import classes_of, learnt, new_student, ranked_of, starts_heads_anew
from audiopatch.distill.teacher import Teachers
from audiopatch.distill.vocabulary import Mixing, Together, in_vocabulary, names_in, tags_of
from audiopatch.errors import EnvironmentProblem
from audiopatch.evaluation.run import require_training_extra
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.models.card import ModelCard
from audiopatch.models.engines.eager import fast_float32
from audiopatch.models.heads import JointHead
from audiopatch.models.tagger import Tagger
from audiopatch.models.thresholds import Thresholds
from audiopatch.reducers.plan import parse_plan
from audiopatch.training.config import with_overrides
from audiopatch.training.plots import plot_distillation
from audiopatch.training.run_folder import RunFolder
from audiopatch.types import CutSpec, Track
from audiopatch.zoo import native
from audiopatch.zoo.load import find_device, load_model

QUICK_PLANS = ("F0T0", "F3T2")  # what is measured on the way
THRESHOLD_PLANS = ("F0T0", "F0T2", "F3T2", "F4T10")
SEGMENTS_PER_TRACK = 3  # that thresholds are measured on: twenty seconds of its middle
TOGETHER = "its teachers together"
PIECES = "pieces"
PIECE_RATE = 32_000  # the most that a teacher of the zoo listens to


@dataclass(frozen=True)
class DistillRun:
    """Everything that decides the result. ``student`` as ``new_student`` takes it, "" for its default."""

    library: str
    teachers: tuple[str, ...]
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


@fast_float32()
def distil(
    run: DistillRun,
    tracks: Iterable[Track],
    folder: Path,
    *,
    device: str = "auto",
    workers: int = 0,
    resume: bool = False,
    force: bool = False,
    stop: Callable[[], bool] = never,
    watch: Watch = Watch(),
) -> bool:
    """Train, calibrate and measure; the model is in ``folder``/model. False where it was stopped, and saved, before."""
    library = Library.of(tracks, run.held_out)
    taggers = [load_model(name, device=device, dtype="float32") for name in run.teachers]
    student = new_student(run.student or None, taggers, run.distill, name=folder.resolve().name)
    theirs = [label for tagger in taggers for label in tagger.labels]
    teachers = Teachers(taggers, classes_of(student.labels, theirs))
    files = RunFolder(folder)
    files.start(run, resume=resume, force=force)
    rate = max(teachers.sample_rate, student.frontend.sample_rate)
    how = {"workers": workers, "on_skip": watch.left_out, "report": watch.prepared, "stop": stop}
    if not library.prepare(folder / PIECES, rate, **how):
        return False
    _tell_copies(library.copies(folder / PIECES), watch.note)
    held, train = library.pieces(folder / PIECES)
    watch.note(f"{audio(train.duration_s)} of audio to learn from, {audio(held.duration_s)} held out")
    try:
        return _learn(run, teachers, student, files, (train, held), stop, watch)
    except StopAsked:
        return False


def _learn(
    run: DistillRun,
    teachers: Teachers,
    student: Tagger,
    files: RunFolder,
    music: tuple[Pieces, Pieces],
    stop: Callable[[], bool],
    watch: Watch,
) -> bool:
    """What follows the decoding; ``music`` is what is learnt from, and what is held out. StopAsked, or False, where it
    did not come to its end."""
    train, held = music
    few = held_out_views(teachers, held, student, per_track=1, stop=stop)

    def evaluate(averaged: Tagger) -> list[dict[str, Any]]:
        native.save(averaged, files.path / "last")
        return [
            {"teacher": name, **row.rounded()}
            for name, view in few.items()
            for row in view.compare(averaged, QUICK_PLANS)
        ]

    work = Distillation(
        teachers, student, train, files, run.distill,
        evaluate=evaluate, report=watch.row, stop=stop,
        fresh_heads=starts_heads_anew(run.student or None, teachers.taggers[0]),
    )  # fmt: skip
    finished = work.run()
    plot_distillation(files.rows(), files.path / "curves.png")
    if finished:
        watch.note("calibrating and measuring")
        _finish(work, run, files, train, held)
        shutil.rmtree(files.kept, ignore_errors=True)
    return finished


def _tell_copies(copies: Mapping[str, str], tell: Callable[[str], None]) -> None:
    """Nothing where there are none."""
    if copies:
        originals = sorted(set(copies.values()))
        named = ", ".join(originals[:3]) + (f" and {len(originals) - 3} more" if len(originals) > 3 else "")
        tell(f"copies of held-out music that are left out of training: {len(copies)} (of {named})")


def held_out_views(
    teachers: Teachers, held: Pieces, student: Tagger, *, per_track: int, stop: Callable[[], bool] = never
) -> dict[str, HeldOut]:
    """For each teacher by its name the held-out clips with its answers, for a ``student`` with the logits of all."""
    found = {}
    for tagger, columns in zip(teachers.taggers, learnt(teachers), strict=True):
        theirs = [teachers.labels[teachers.classes[column]] for column in columns]
        found[tagger.card.name] = HeldOut(
            Teachers([tagger], [tagger.labels.index(label) for label in theirs]),
            held,
            clip_s=student.card.segment_s,
            per_track=per_track,
            columns=columns,
            ranked=ranked_of(student, theirs),
            stop=stop,
        )
    return found


def views_of_labels(
    teachers: Teachers, mixing: Mixing, held: Pieces, *, clip_s: float, stop: Callable[[], bool] = never
) -> dict[str, HeldOut]:
    """The same for a finished model: against its teachers together, and against each by the labels that it knows."""
    together = Together(teachers, mixing)
    found = {TOGETHER: HeldOut(together, held, clip_s=clip_s, ranked=tags_of(mixing.labels), stop=stop)}
    for tagger in teachers.taggers:
        pairs = [
            (column, tagger.labels.index(tags[0]))
            for column, label in enumerate(mixing.labels)
            if (tags := names_in(tagger, label))
        ]
        columns, classes = zip(*pairs, strict=True)
        tags = set(tags_of(mixing.labels))
        ranked = [place for place, column in enumerate(columns) if column in tags]
        found[tagger.card.name] = HeldOut(
            Teachers([tagger], classes), held, clip_s=clip_s, columns=columns, ranked=ranked, stop=stop
        )
    return found


def _finish(work: Distillation, run: DistillRun, files: RunFolder, train: Pieces, held: Pieces) -> None:
    """The model folder: calibrated weights first, then the figures, which take minutes."""
    tagger, teachers = work.result(), work.lessons.teachers
    sizes = {"n_clips": run.distill.n_calibration_clips, "clip_s": tagger.card.segment_s}
    if isinstance(tagger.head, JointHead):
        tagger, views = finish_joint(tagger, teachers, train, held, stop=work.stop, **sizes)
        view = views[TOGETHER]
    else:
        calibrate(tagger, teachers, train, stop=work.stop, **sizes)
        ranked = ranked_of(tagger, tagger.labels)
        view = HeldOut(teachers, held, clip_s=tagger.card.segment_s, ranked=ranked, stop=work.stop)
    native.save(tagger, files.model, dtype=torch.float16)
    rows = view.compare(tagger)
    tagger.card = replace(tagger.card, scores=as_scores(rows))
    native.save_card(tagger.card, files.model)
    told = {"teacher": ", ".join(run.teachers), "learnt_s": train.duration_s, "segments": work.segments}
    write_readme(files.model, tagger.card, view, rows, **told)


def finish_joint(
    student: Tagger,
    teachers: Teachers,
    train: Pieces,
    held: Pieces,
    *,
    n_clips: int,
    clip_s: float,
    plans: Sequence[str] = THRESHOLD_PLANS,
    stop: Callable[[], bool] = never,
) -> tuple[Tagger, dict[str, HeldOut]]:
    """From the logits of all teachers to one vocabulary: mixed, calibrated, with thresholds for ``plans``.

    Also what the held-out music says of it: against the teachers together, and against each.
    """
    waves = samples(train, n_clips, clip_s, teachers.device, seed=1)
    said = [teachers(wave, train.sample_rate).logits for wave in until(stop, waves)]
    mixing = Mixing.measure(teachers, torch.cat(said))
    tagger = in_vocabulary(student, mixing)
    calibrate(tagger, Together(teachers, mixing), train, n_clips=n_clips, clip_s=clip_s, stop=stop)
    views = views_of_labels(teachers, mixing, held, clip_s=clip_s, stop=stop)
    card = replace(
        tagger.card,
        summary=f"{len(mixing.labels)} labels of music, learnt from unlabelled music",
        domain="music",
        code_licence="Apache-2.0",
        page="",
    )
    as_tagged = Analysis(model=card.name)
    tracks = HeldOut(
        Together(teachers, mixing), held,
        clip_s=clip_s, per_track=SEGMENTS_PER_TRACK, overlap=as_tagged.overlap, stop=stop,
    )  # fmt: skip
    for plan in plans:
        made = (str(parse_plan(plan)), as_tagged.pool, as_tagged.overlap)
        values = tracks.thresholds(tagger, plan)
        card = card.with_thresholds(Thresholds(values, *made, "music without labels", "held out", str(date.today())))
    tagger.card = card
    return tagger, views


def write_readme(
    folder: Path,
    card: ModelCard,
    held: HeldOut,
    rows: Sequence[Agreement],
    *,
    teacher: str,
    learnt_s: float,
    segments: int,
) -> None:
    """README.md into a native model folder."""
    lines = [
        f"# {card.name}",
        "",
        f"{card.summary[:1].upper()}{card.summary[1:]}; {card.paper}.",
        "",
        f"- **Teacher:** {teacher}; its licence, and that of the music, say what may be done with this model",
        f"- **Training:** {segments:,} crops of {audio(learnt_s)} of music without labels",
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
    teachers: Sequence[str],
    student: str | None,
    held_out: Sequence[str],
    config: DistillConfig,
    settings: Mapping[str, str],
    device: str,
    resume: bool,
    force: bool,
    stop: Callable[[], bool] = never,
    watch: Watch | None = None,
) -> bool:
    """Distil from ``inputs`` into ``folder``/model. False where it was stopped, and saved, before the end."""
    watch = watch or Watch()
    require_training_extra()  # the report at the end needs it: say so before a night of training
    tracks = list(inputs.tracks())
    config = with_overrides(config, settings)
    place = find_device(device)
    n_kept = config.kept_steps_on(place) * config.batch_on(place)
    _state_disk_use(tracks, folder, watch.note, kept_bytes=n_kept * KEPT_BYTES)
    run = DistillRun(" ".join(inputs.paths), tuple(teachers), student or "", tuple(held_out), config)
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


def _state_disk_use(tracks: Sequence[Track], folder: Path, tell: Callable[[str], None], *, kept_bytes: int) -> None:
    """What decoding everything, and kept crops, will take, before it is begun; too little is an EnvironmentProblem."""
    if (folder / "pieces").exists():
        return
    found = survey(tracks, CutSpec(PIECE_RATE, segment_s=10.0))
    needed = piece_bytes(found.audio_s, PIECE_RATE) + kept_bytes
    place = next(parent for parent in [folder, *folder.resolve().parents] if parent.exists())
    free = shutil.disk_usage(place).free
    length, gigabytes = audio(found.audio_s), needed / 1e9
    music = f"{found.n_tracks} tracks, {length} of audio"
    tell(f"{music}; they, and crops of them, take up to {gigabytes:.2f} GB in {folder}")
    if needed > 0.95 * free:
        raise EnvironmentProblem(
            f"{folder} has {free / 1e9:.1f} GB free; {needed / 1e9:.1f} GB are needed; choose another -o"
        )
