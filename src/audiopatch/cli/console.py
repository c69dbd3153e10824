"""Words for people: errors with their exit codes, the last line of a run, colours."""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import typer

from audiopatch.amounts import audio, duration, number
from audiopatch.catalog import nearest
from audiopatch.documents import document
from audiopatch.errors import AudioPatchError
from audiopatch.events import GPU_LANES, Counts, Current


def current_line(current: Current) -> str:
    """What a watch has just done, and how many tracks the tables hold now."""
    one = current.n_tracks == 1
    n_tracks = f"{number(current.n_tracks)} {'track' if one else 'tracks'}"
    if current.is_first:
        return f"{n_tracks} {'is' if one else 'are'} current; watching for changes until Ctrl-C"
    counts = current.counts
    parts = [
        (counts.n_ok, "done"),
        (counts.n_up_to_date, "kept, moved or retagged"),
        (counts.n_failed, "failed"),
        (current.n_removed, "removed"),
    ]
    return f"{', '.join(f'{number(n)} {what}' for n, what in parts if n)}; {n_tracks}"


def spent_line(counts: Counts) -> str:
    """``CPU time: decode 13 %, front-end 6 %, network 74 %, write 1 %, other 2 %, idle 4 %``."""
    shares = (
        f"{name.replace('frontend', 'front-end')} {100 * share:.0f} %" for name, share in counts.spent.shares.items()
    )
    busy = counts.spent.gpu_s / (GPU_LANES * counts.elapsed_s)
    return f"CPU time: {', '.join(shares)}" + (f"; the GPU had work for {100 * busy:.0f} % of the time" if busy else "")


def watched_line(verb: str, counts: Counts, place: str) -> str:
    """The last line of a watch that nobody interrupted at work."""
    failed = counts.n_failed + counts.n_failed_before
    rest = f", {number(failed)} failed" if failed else ""
    elapsed = duration(time.monotonic() - counts.started)
    return f"Watched for {elapsed}: {verb.lower()} {number(counts.n_ok)} tracks{rest} → {place}/"


def last_line(verb: str, counts: Counts, place: str, *, interrupted: bool = False) -> str:
    """The most important line of a run: what was done, what was not, and where it is.

    ``23 tagged (1 copy, 2 damaged), 5 current, 2 failed; 1.4 h of audio in 2 m 05 s, 40× real time → audiopatch.out/``
    """
    of_them = [_counted(counts.n_repeats, "copy", "copies"), _counted(counts.n_damaged, "damaged", "damaged")]
    inside = ", ".join(filter(None, of_them))
    parts = [f"{number(counts.n_ok)} {verb.lower()}{f' ({inside})' if inside else ''}"] if counts.n_ok else []
    parts += [f"{number(counts.n_up_to_date)} current"] if counts.n_up_to_date else []
    parts += [f"{number(counts.n_failed)} failed"] if counts.n_failed else []
    parts += [f"{number(counts.n_failed_before)} failed earlier"] if counts.n_failed_before else []
    if counts.n_left_out:
        parts.append(f"{number(counts.n_left_out)} left out as hidden or no recording (-v lists them)")
    if interrupted:
        left = f"{number(counts.n_left)} left" if counts.n_found else "stopped before the first track"
        parts.append(f"{left}: run the same command to resume")
    where = f"{place}/" if place else "stdout"
    done = ", ".join(parts)
    if not counts.n_ok and not counts.n_failed and not interrupted:
        return f"Nothing to do{': ' if done else ''}{done} → {where}"
    speed = f", {counts.times_real_time:.0f}× real time" if counts.n_ok else ""
    audio_done = f"; {audio(counts.audio_s)} of audio in {duration(counts.elapsed_s)}{speed}" if counts.n_ok else ""
    return f"{done}{audio_done} → {where}"


def after_words(counts: Counts, place: str, *, tags: bool) -> list[str]:
    """What to do next: rows of missing files, tracks that failed, tags to look at."""
    lines = []
    if counts.n_removed:
        lines.append(f"removed the rows of {_tracks(counts.n_removed)} that no longer exist")
    if counts.n_missing:
        rows = "its rows" if counts.n_missing == 1 else "their rows"
        exist = "exists" if counts.n_missing == 1 else "exist"
        lines.append(f"{_tracks(counts.n_missing)} no longer {exist}; --prune removes {rows}")
    if place and (counts.n_failed or counts.n_failed_before):
        lines.append(f"why tracks failed: {place}/errors/")
    if place and tags and (counts.n_ok or counts.n_up_to_date):
        lines.append(f"see them: audiopatch show{'' if place == 'audiopatch.out' else f' --in {shlex.quote(place)}'}")
    return lines


def _tracks(n: int) -> str:
    return f"{number(n)} {'track' if n == 1 else 'tracks'}"


def _counted(n: int, one: str, several: str) -> str:
    return f"{number(n)} {one if n == 1 else several}" if n else ""


SOME_FAILED = 3
_BOUNDS = {"ge": "least", "le": "most"}  # as the values' checker calls them
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
_FULL = {errno.ENOSPC, errno.EDQUOT}
BROKEN_PIPE = 128 + signal.SIGPIPE if hasattr(signal, "SIGPIPE") else 1


def printable(text: str) -> str:
    """A name that is safe on a terminal: control characters and undecodable bytes written out."""
    escaped = (char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return "".join(escaped).encode(errors="backslashreplace").decode()


def as_typed(text: str) -> str:
    """A message of the library, which calls a parameter `min_score`, as whoever types says it: --min-score."""
    return re.sub(r"`([a-z_]+)`", lambda found: f"--{found[1].replace('_', '-')}", text)


def say(text: str) -> None:
    """A sentence on stderr, perhaps of several lines; stdout belongs to data."""
    with suppress(OSError, ValueError):  # nobody is there to be told
        sys.stderr.write("\n".join(map(printable, text.split("\n"))) + "\n")
        sys.stderr.flush()


def prepare_streams() -> None:
    """Print any name on any terminal: what its encoding lacks is escaped, not an error.

    Streams that a daemon or a launcher has closed lead nowhere: or the next file opened would be taken for one.
    """
    for stream_number in range(3):
        try:
            os.fstat(stream_number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdout, sys.stderr = sys.stdout or open(1, "w"), sys.stderr or open(2, "w")  # noqa: SIM115 (for good)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def errors_to_words() -> Iterator[None]:
    """Runs a command; what it raises ends as one sentence on stderr and the exit code of the error's kind."""
    try:
        with _interrupts_remembered():
            yield
            sys.stdout.flush()
    except AudioPatchError as error:
        say(f"audiopatch: {as_typed(str(error))}")
        raise typer.Exit(error.exit_code) from None
    except BrokenPipeError:
        _silence_stdout()
        raise typer.Exit(BROKEN_PIPE) from None
    except KeyboardInterrupt:
        say("stopped")
        raise typer.Exit(128 + signal.SIGINT) from None
    except MemoryError:
        say("audiopatch: out of memory; try --batch 1 or fewer --workers")
        raise typer.Exit(6) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (_DENIED | _FULL if error.filename else _FULL):
            # a disk is rarely full when a file is opened, and who writes to one that is open names none
            what = f"use {os.fsdecode(error.filename)}" if error.filename else "write"
            say(f"audiopatch: cannot {what}: {error.strerror}")
            raise typer.Exit(6) from None
        if isinstance(error, FileNotFoundError) and error.filename is None:  # of os.getcwd and tempfile
            say(f"audiopatch: {_surroundings(error)}")
            raise typer.Exit(6) from None
        if type(error).__module__.startswith(("typer.", "click.")):
            if type(error).__name__ == "NoArgsIsHelpError":
                raise
            _say_origin(error)
            context, words = getattr(error, "ctx", None), _usage(error)
            cure = "" if context is None or words.endswith(("?", "...")) else f"; see: {context.command_path} --help"
            say(f"audiopatch: {words}{cure}")
            raise typer.Exit(2) from None
        say(traceback.format_exc().rstrip())
        say("audiopatch: internal error; please report it with the lines above")
        raise typer.Exit(1) from None


@contextmanager
def _interrupts_remembered() -> Iterator[None]:
    """Ctrl-C stays Ctrl-C where a library swallows it while it is imported, and fails later for what it then lacks."""
    came = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.default_int_handler(number, frame)

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if came:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _surroundings(error: FileNotFoundError) -> str:
    """What is missing around the process, and what to do."""
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return "the folder this was started in is gone; change to another one"
    return f"{error.strerror or error}; set TMPDIR to a folder that can be written"


def _usage(error: Any) -> str:
    """What is wrong with what was typed, in our words."""
    if type(error).__name__ == "NoSuchOption":
        option, of_program = error.option_name, error.ctx.find_root().command.params if error.ctx else ()
        if any(option in param.opts for param in of_program):
            return f"{option} stands before the command: audiopatch {option} ... {error.ctx.info_name} ..."
        known = nearest(option, error.possibilities or (), otherwise="")
        return f"unknown option '{option}'" + (f"; {known}" if known else "")
    option = getattr(error, "param", None)
    name = option.opts[0] if option is not None else ""
    found = getattr(error.__cause__, "errors", list)()
    if not (found and name):
        words = error.format_message().rstrip(".").removeprefix("Value error, ")
        return words[:1].lower() + words[1:]
    kind, given, about = found[0]["type"], found[0]["input"], found[0].get("ctx", {})
    if kind.startswith("int_"):
        return f"{name} takes a whole number, not '{given}'"
    if kind.startswith("float_"):
        return f"{name} takes a number, not '{given}'"
    if kind.startswith("bool_"):
        return f"{name} is on or off: true or false, not '{given}'"
    if bound := next((f"at {side} {about[key]:g}" for key, side in _BOUNDS.items() if key in about), None):
        return f"{name} {given} cannot work; it is {bound}"
    words = found[0]["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{name}: {words}"


def _say_origin(error: Any) -> None:
    """Where a value stands that is wrong and was not typed."""
    context, option = getattr(error, "ctx", None), getattr(error, "param", None)
    if context is None or option is None:
        return
    source = context.get_parameter_source(option.name)
    if source is not None and source.name == "ENVIRONMENT":
        say(f"audiopatch: {option.envvar} in the environment sets {option.opts[0]}")
    elif source is not None and source.name == "DEFAULT_MAP":
        say(f"audiopatch: a configuration file sets {option.opts[0]}")


class Stop(threading.Event):
    """Set by the first Ctrl-C or SIGTERM; ``exit_code`` is 130 or 143 accordingly."""

    exit_code: int = 128 + signal.SIGINT


@contextmanager
def stop_on_signals(tell: Callable[[str], None] = say) -> Iterator[Stop]:
    """The first signal asks the run to finish the batch in flight; the second leaves at once."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)  # decoders leave by themselves, committed work is safe
        stop.exit_code = 128 + number
        stop.set()
        tell("stopping after the batch in flight; once more to leave at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _silence_stdout() -> None:
    """Whoever read our output has gone: let the interpreter's last flush go nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(result: Any, key: str = "") -> None:
    """A result as one of ``DOCUMENTS`` on stdout; what is no object, such as a list, stands under ``key``."""
    import json

    print(json.dumps(document(result, key), indent=2))


def grid(title: str, *columns: str) -> Any:
    """A Rich table whose long cells fold; names in it must be ``printable``."""
    from rich import box
    from rich.table import Table

    table = Table(title=printable(title) or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def rich_console(*, stderr: bool = True, **options: Any) -> Any:
    """A Rich console that takes [brackets] in names for what they are; NO_COLOR is honoured by Rich itself."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, **options)
