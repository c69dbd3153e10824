"""What ``tag`` and ``embed`` have in common: inputs in, a run, the last line and the exit code out."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import typer

from audiopatch.amounts import audio, duration, number
from audiopatch.audio.inputs import Inputs
from audiopatch.audio.lists import find_reading, read_paths
from audiopatch.audio.names import Area
from audiopatch.cli import console
from audiopatch.cli.console import after_words, last_line, watched_line
from audiopatch.cli.options import FailOn, Format, ProgressKind, Sources, Talk, Target
from audiopatch.cli.progress import showing
from audiopatch.documents import plain
from audiopatch.errors import AudioPatchError, UsageError
from audiopatch.events import Counts, Doing, Ended, Note, Observer, RunResult
from audiopatch.inference.request import run_if_current
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.storage.place import is_remote
from audiopatch.tables import FORMATS
from audiopatch.tables.journal import Journal, list_work
from audiopatch.tables.output import folder_at, read_run, refuse_foreign
from audiopatch.tables.parts import PartStore

STDOUT = "-"
_SHOWN_TRACKS = 20
_COUNTED_TRACKS = 20_000  # reading more would keep the user waiting


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a run ended. Of the tracks found each is ok, up to date, failed (now or earlier), or left for another run.

    Of the ok ones some are damaged, and repeats took the rows of another file with the same audio. ``left_out`` are
    hidden or no recordings, ``missing`` rows of files that are gone, ``removed`` those that --prune took away.
    """

    output: str
    exit_code: int
    interrupted: bool
    found: int
    ok: int
    up_to_date: int
    failed: int
    damaged: int
    repeats: int
    left_out: int
    left: int
    missing: int
    removed: int
    inferences: int
    audio_s: float
    elapsed_s: float
    times_real_time: float


@dataclass(frozen=True)
class RunRefused:
    """A run that did not come to its end, and why."""

    exit_code: int
    error: str


Ending = Summary | RunRefused


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What a run would do: tracks found, to do, current, failed earlier, and about how much audio that is.

    It should take ``takes_s`` seconds once it has started, or null where there is nothing to do.
    """

    found: int
    to_do: int
    current: int
    failed_earlier: int
    audio_s: float
    takes_s: float | None
    output: str
    model: str


def analyse(verb: str, sources: Sources, analysis: Analysis, target: Target, runtime: Runtime, talk: Talk) -> None:
    """Runs to the end or to the first Ctrl-C, and leaves with the exit code that says how it went."""
    if target.output == STDOUT and target.format is not Format.jsonl:
        raise UsageError("-o - writes to stdout, which only --format jsonl can; add it, or name a folder")
    if target.output == STDOUT and target.watch:
        raise UsageError("--watch keeps tables current, and -o - writes none; name a folder")
    if not sources.inputs and sources.files_from is None:
        command = "embed" if verb == "Embedded" else "tag"
        raise UsageError(f"nothing to do: name files, folders or playlists, as in: audiopatch {command} ~/Music")
    if target.output == STDOUT and target.json:
        raise UsageError("stdout cannot carry both the rows (-o -) and the summary (--json); leave one of them out")
    listed = read_listed(sources.files_from, null=sources.null)
    inputs = Inputs(sources.inputs or (), listed, sources.include or (), sources.exclude or ())
    if target.dry_run:
        with showing(talk.progress, quiet=talk.quiet, verbose=talk.verbose) as observer:
            foreseen = _foresee(inputs, analysis, target, runtime, observer)
        _tell_foreseen(foreseen, as_json=target.json)
        return
    for_program = talk.progress is ProgressKind.json
    with showing(talk.progress, quiet=talk.quiet, verbose=talk.verbose) as observer:
        try:
            result, code = _run(inputs, analysis, target, runtime, observer)
        except AudioPatchError as error:
            observer(Ended(plain(RunRefused(error.exit_code, console.as_typed(str(error))))))
            if not for_program:
                raise
            raise typer.Exit(error.exit_code) from error
        summary = _summary(result.counts, target.output, code, result.interrupted)
        observer(Ended(plain(summary)))
    if target.json:
        console.print_json(summary)
    if not (for_program or talk.quiet):
        _tell(verb, result, analysis, target)
    elif talk.quiet and code == console.SOME_FAILED and not result.counts.n_failed:  # or nothing would say why
        console.say(f"{number(result.counts.n_failed_before)} failed earlier; why: {target.output.rstrip('/')}/errors/")
    raise typer.Exit(code)


def _run(
    inputs: Inputs, analysis: Analysis, target: Target, runtime: Runtime, observer: Observer
) -> tuple[RunResult, int]:
    """What came of it, and the exit code that says so."""
    observer(Doing("looking for music"))
    _warn_of_output(inputs, target.output, observer)
    with console.stop_on_signals(lambda text: observer(Note(text))) as stop:
        # what is wrong is refused, and what is current seen, before the seconds that importing torch takes
        if target.watch:
            inputs.check_watchable(force=runtime.force)
        elif target.output != STDOUT:
            where = {"file_format": target.format.value, "observer": observer}
            if result := run_if_current(inputs, target.output, analysis, runtime, **where):
                return result, exit_code(result.counts, target.fail_on)
        if not target.watch:
            inputs.tracks()
        observer(Doing(f"loading {analysis.model}"))
        from audiopatch.inference.pipeline import run_to_folder, run_to_stream
        from audiopatch.inference.watching import watch_folders

        if target.output == STDOUT:
            result = run_to_stream(inputs, sys.stdout, analysis, runtime, observer=observer, stop=stop)
        else:
            result = (watch_folders if target.watch else run_to_folder)(
                inputs,
                target.output,
                analysis,
                runtime,
                file_format=target.format.value,
                observer=observer,
                stop=stop,
            )
    if result.interrupted:
        return result, stop.exit_code
    return result, 0 if target.watch else exit_code(result.counts, target.fail_on)


def _foresee(inputs: Inputs, analysis: Analysis, target: Target, runtime: Runtime, observer: Observer) -> Foreseen:
    """What a run would analyse, and how long that should take; nothing is written."""
    from audiopatch.bench.estimate import foresee

    observer(Doing("looking for music"))
    folder = None if target.output == STDOUT or runtime.force else folder_at(target.output)
    before = None if folder is None else read_run(folder)
    known = Journal.empty()
    if folder is not None and before is not None:
        known = Journal.of(PartStore(folder, FORMATS.load(before["parameters"]["format"])()))
    tracks = inputs.tracks(root=before["root"] if before else None)
    with list_work(tracks, known, folder=None, retry_failed=runtime.retry_failed) as work:
        observer(Doing("trying a few tracks"))
        found, takes_s = foresee(list(work), analysis, runtime)
        return Foreseen(
            found=work.n_found,
            to_do=work.n_todo,
            current=work.n_up_to_date,
            failed_earlier=work.n_failed_before,
            audio_s=round(found.audio_s, 1),
            takes_s=None if takes_s is None else round(takes_s, 1),
            output=target.output,
            model=analysis.model,
        )


def _tell_foreseen(foreseen: Foreseen, *, as_json: bool) -> None:
    if as_json:
        console.print_json(foreseen)
        return
    rest = f"; {number(foreseen.current)} current" if foreseen.current else ""
    rest += f", {number(foreseen.failed_earlier)} failed earlier" if foreseen.failed_earlier else ""
    tracks = f"{number(foreseen.to_do)} of {number(foreseen.found)} tracks to do"
    console.say(f"{tracks}, about {audio(foreseen.audio_s)} of audio{rest}")
    if foreseen.takes_s is not None:
        console.say(f"that takes about {duration(foreseen.takes_s)} here, judged by a trial of a few seconds")
    console.say("nothing was written; for a deadline or another speed: audiopatch estimate FOLDER")


def _warn_of_output(inputs: Inputs, output: str, observer: Observer) -> None:
    """Tables among the music are in the way of whoever copies or plays it."""
    if output == STDOUT or is_remote(output):
        return
    refuse_foreign(output)
    here = os.path.abspath(output)  # noqa: PTH100
    if not Path(here, "run.json").exists() and Area(inputs.folders).holds(here):
        observer(Note(f"the tables go into {here}, which is inside your music; -o names another place"))


def _tell(verb: str, result: RunResult, analysis: Analysis, target: Target) -> None:
    """The table of tags, if there is to be one, and the last lines."""
    if not result.interrupted:
        _show(target, result.counts, analysis)
    for note in result.notes:
        console.say(note)
    place = "" if target.output == STDOUT else target.output.rstrip("/")
    if target.watch and not result.interrupted:
        console.say(watched_line(verb, result.counts, place))
        return
    console.say(last_line(verb, result.counts, place, interrupted=result.interrupted))
    for line in after_words(result.counts, place, tags=analysis.tags):
        console.say(line)


def read_listed(source: str | None, *, null: bool) -> list[str]:
    """One path per line, or NUL-separated; names need not be UTF-8. Nothing without a source."""
    if source is None:
        if null:
            raise UsageError("-0 says how --files-from is separated; add --files-from FILE")
        return []
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"--files-from {source} cannot be read: {error.strerror}") from error
    listed = read_paths(BytesIO(raw), nul=null)
    if null:
        return list(listed)
    here = os.getcwd()  # noqa: PTH109 (paths stay strings, as in walk)
    found = (entry if is_remote(entry) else find_reading(entry, here) for entry in listed)
    return [entry for entry in found if entry is not None]


def exit_code(counts: Counts, fail_on: FailOn) -> int:
    """0, or 3 when more failed than ``fail_on`` puts up with."""
    n_failed = counts.n_failed + counts.n_failed_before
    tolerated = {
        FailOn.new: counts.n_failed == 0,
        FailOn.any: n_failed == 0,
        FailOn.all: counts.n_failed == 0 or counts.n_ok > 0,
        FailOn.never: True,
    }
    return 0 if tolerated[fail_on] else console.SOME_FAILED


def _summary(counts: Counts, output: str, code: int, interrupted: bool) -> Summary:
    return Summary(
        output=output,
        exit_code=code,
        interrupted=interrupted,
        found=counts.n_found,
        ok=counts.n_ok,
        up_to_date=counts.n_up_to_date,
        failed=counts.n_failed + counts.n_failed_before,
        damaged=counts.n_damaged,
        repeats=counts.n_repeats,
        left_out=counts.n_left_out,
        left=counts.n_left,
        missing=counts.n_missing,
        removed=counts.n_removed,
        inferences=counts.n_inferences,
        audio_s=round(counts.audio_s, 3),
        elapsed_s=round(counts.elapsed_s, 3),
        times_real_time=round(counts.times_real_time, 2),
    )


def _show(target: Target, counts: Counts, analysis: Analysis) -> None:
    """The best tags of each track as a table: when asked for, or on a terminal when there are few tracks.

    On a terminal, what most tracks are when there are more, and something new among them.
    """
    if target.show is False or target.output == STDOUT:
        return
    # the tables hold what was found now, and perhaps more: a million tracks are not read only to count them
    if target.show is None and not (sys.stderr.isatty() and counts.n_found <= _COUNTED_TRACKS):
        return
    from audiopatch.cli.show import print_commonest, print_tracks
    from audiopatch.library.show import glance, shown
    from audiopatch.tables.read import read

    tables = read(target.output)
    if target.show or len(tables.tracks) <= _SHOWN_TRACKS:
        tracks = shown(tables, tables.tracks)
        print_tracks(tracks, tables.run["parameters"]["model"], to_stdout=bool(target.show) and not target.json)
    elif counts.n_ok and analysis.tags:
        print_commonest(glance(tables, n_labels=4))
