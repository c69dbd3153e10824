"""What ``audiopatch train distill`` does around a run: the library, the disk, the progress, the last words."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import typer

from audiopatch.audio.inputs import Inputs
from audiopatch.bench.survey import survey
from audiopatch.cli.console import printable, say, stop_on_signals
from audiopatch.cli.estimate import parse_duration
from audiopatch.cli.evaluate_run import require_training_extra
from audiopatch.cli.train_progress import DistillProgress
from audiopatch.distill.config import DistillConfig
from audiopatch.distill.library import piece_bytes
from audiopatch.distill.run import DistillRun, Watch, distil
from audiopatch.errors import EnvironmentProblem, UsageError
from audiopatch.inference.settings import Runtime
from audiopatch.training.config_toml import with_overrides
from audiopatch.types import CutSpec, Track

PIECE_RATE = 32_000  # the most that a teacher of the zoo listens to


def run_distill(
    inputs: Inputs,
    folder: Path,
    *,
    teacher: str,
    student: str,
    held_out: Sequence[str],
    segments: int | None,
    finish_in: str | None,
    settings: Mapping[str, str],
    device: str,
    resume: bool,
    force: bool,
    quiet: bool,
) -> None:
    require_training_extra()  # the report at the end needs it: say so before a night of training
    tell = (lambda text: None) if quiet else say
    config = with_overrides(_length(segments, finish_in), settings)
    tracks = list(inputs.tracks())
    _state_disk_use(tracks, folder, tell)
    run = DistillRun(" ".join(inputs.paths), teacher, student, tuple(held_out), config)
    left_out: list[str] = []

    def leave_out(track: Track, reason: str) -> None:
        left_out.append(f"{track.path}\t{reason}")

    with stop_on_signals() as stop, DistillProgress(quiet=quiet) as progress:
        finished = distil(
            run, tracks, folder,
            device=device, workers=Runtime().n_workers, resume=resume, force=force,
            stop=stop.is_set, watch=Watch(tell, leave_out, progress.prepared, progress.row),
        )  # fmt: skip
    if left_out:
        (folder / "left_out.tsv").write_text("".join(f"{printable(line)}\n" for line in left_out), encoding="utf-8")
        tell(f"{len(left_out)} of {len(tracks)} tracks left out; {folder / 'left_out.tsv'} says why")
    if not finished:
        tell("stopped and saved; go on with the same command and --resume")
        raise typer.Exit(stop.exit_code)
    tell(f"the model and its report: {folder / 'model'}; use it: audiopatch tag ~/Music --model {folder / 'model'}")


def _length(segments: int | None, finish_in: str | None) -> DistillConfig:
    if segments is not None and finish_in is not None:
        raise UsageError("--segments and --finish-in both end the training; give one of them")
    if segments is not None:
        return DistillConfig(max_segments=segments)
    return DistillConfig(max_s=parse_duration(finish_in or "8h"))


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
