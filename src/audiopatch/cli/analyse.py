"""What ``tag`` and ``embed`` have in common: inputs in, a run, the last line and the exit code out."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from audiopatch.audio.inputs import Inputs
from audiopatch.cli import console, options
from audiopatch.cli.options import FailOn
from audiopatch.cli.progress import find_observer
from audiopatch.cli.words import last_line, watched_line
from audiopatch.errors import UsageError
from audiopatch.inference.progress import Counts
from audiopatch.inference.settings import Analysis, Runtime

STDOUT = "-"
_SHOWN_TRACKS = 20


@dataclass(frozen=True, kw_only=True)
class Request:
    """Where a command reads from and writes to, and how it talks meanwhile."""

    verb: str
    inputs: Sequence[str]
    files_from: str | None
    null: bool
    include: Sequence[str]
    exclude: Sequence[str]
    output: str
    watch: bool
    file_format: options.Format
    fail_on: FailOn
    as_json: bool
    progress: options.ProgressKind
    quiet: bool
    verbose: bool
    show: bool | None = False


def analyse(request: Request, analysis: Analysis, runtime: Runtime) -> None:
    """Runs to the end or to the first Ctrl-C, and leaves with the exit code that says how it went."""
    if request.output == STDOUT and request.file_format is not options.Format.jsonl:
        raise UsageError("-o - writes to stdout, which only --format jsonl can; add it, or name a folder")
    if request.output == STDOUT and request.watch:
        raise UsageError("--watch keeps tables current, and -o - writes none; name a folder")
    if not request.inputs and request.files_from is None:
        raise UsageError("nothing to do: name files, folders or playlists, as in: audiopatch tag ~/Music")
    if request.output == STDOUT and request.as_json:
        raise UsageError("stdout cannot carry both the rows (-o -) and the summary (--json); leave one of them out")
    listed = read_listed(request.files_from, null=request.null)
    inputs = Inputs(request.inputs, listed, request.include, request.exclude)
    # what is wrong is refused before the seconds that importing torch takes
    inputs.check_watchable(force=runtime.force) if request.watch else inputs.tracks()
    from audiopatch.inference.pipeline import run_to_folder, run_to_stream
    from audiopatch.inference.watching import watch_folders

    observer = find_observer(request.progress, quiet=request.quiet, verbose=request.verbose)
    with console.stop_on_signals() as stop:
        if request.output == STDOUT:
            result = run_to_stream(inputs, sys.stdout, analysis, runtime, observer=observer, stop=stop)
        else:
            result = (watch_folders if request.watch else run_to_folder)(
                inputs,
                request.output,
                analysis,
                runtime,
                file_format=request.file_format.value,
                observer=observer,
                stop=stop,
            )
    code = stop.exit_code if result.interrupted else exit_code(result.counts, request.fail_on)
    if request.as_json:
        print(json.dumps(_summary(result.counts, request.output, code, result.interrupted)))
    if not request.quiet:
        _show(request, result.counts)
        for note in result.notes:
            console.say(note)
        place = "" if request.output == STDOUT else request.output.rstrip("/")
        if request.watch and not result.interrupted:
            console.say(watched_line(request.verb, result.counts, place))
        else:
            console.say(last_line(request.verb, result.counts, place, interrupted=result.interrupted))
    raise typer.Exit(code)


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
    return [os.fsdecode(name) for name in (raw.split(b"\0") if null else raw.splitlines()) if name]


def exit_code(counts: Counts, fail_on: FailOn) -> int:
    """0, or 3 when more failed than ``fail_on`` puts up with."""
    n_failed = counts.n_failed + counts.n_failed_before
    n_fine = counts.n_ok + counts.n_up_to_date
    tolerated = {FailOn.any: n_failed == 0, FailOn.all: n_failed == 0 or n_fine > 0, FailOn.never: True}
    return 0 if tolerated[fail_on] else console.SOME_FAILED


def _summary(counts: Counts, output: str, code: int, interrupted: bool) -> dict[str, object]:
    return {
        "output": output,
        "exit_code": code,
        "interrupted": interrupted,
        "found": counts.n_found,
        "ok": counts.n_ok,
        "up_to_date": counts.n_up_to_date,
        "failed": counts.n_failed + counts.n_failed_before,
        "damaged": counts.n_damaged,
        "repeats": counts.n_repeats,
        "left": counts.n_left,
        "inferences": counts.n_inferences,
        "audio_s": round(counts.audio_s, 3),
        "elapsed_s": round(counts.elapsed_s, 3),
        "times_real_time": round(counts.times_real_time, 2),
    }


def _show(request: Request, counts: Counts) -> None:
    """The best tags of each track as a table: when asked for, or on a terminal when there are few tracks."""
    if request.show is False or request.output == STDOUT:
        return
    # the tables hold what was found now, and perhaps more: a million tracks are not read only to count them
    if request.show is None and not (sys.stderr.isatty() and counts.n_found <= _SHOWN_TRACKS):
        return
    from audiopatch.cli.tags_table import print_tags
    from audiopatch.tables.read import read

    tables = read(request.output)
    if request.show or len(tables.tracks) <= _SHOWN_TRACKS:
        print_tags(tables, to_stdout=bool(request.show) and not request.as_json)
