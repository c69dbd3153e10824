"""How a run looks to people (bars), to logs (a line every 30 s) and to programs (JSON events)."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import Any, Self

from audiopatch.cli.console import printable, rich_console, say
from audiopatch.cli.options import ProgressKind
from audiopatch.cli.words import current_line, duration, number
from audiopatch.inference.progress import Counts, Current, Observer, Silent
from audiopatch.types import Failed, TrackRow

_LINE_EVERY_S = 30.0
_STEP_EVERY_S = 15.0
_SHOWN_FAILURES = 10


class Talking:
    """Notes, and a line for each of the first failures (all of them when verbose)."""

    def __init__(self, *, verbose: bool = False):
        self._verbose = verbose
        self._n_shown = 0

    def note(self, text: str) -> None:
        self.line(printable(text))  # one line, whatever names are in it

    def line(self, text: str) -> None:
        say(text)

    def left_out(self, path: str) -> None:
        if self._verbose:
            self.line(f"left out: {printable(path)}")

    def planned(self, counts: Counts) -> None:
        self._n_shown = 0

    def advanced(self, counts: Counts, row: TrackRow | Failed) -> None:
        if not isinstance(row, Failed):
            return
        self._n_shown += 1
        if self._verbose or self._n_shown <= _SHOWN_FAILURES:
            self.line(f"failed: {printable(row.track.path)}: {printable(row.message)} ({row.code})")
        elif self._n_shown == _SHOWN_FAILURES + 1:
            self.line("more failures follow; each has a row in the errors table (-v shows them here)")

    def finished(self, counts: Counts) -> None:
        pass

    def current(self, current: Current) -> None:
        self.line(f"{time.strftime('%H:%M')}  {current_line(current)}")


class Plain(Talking):
    """One line every 30 seconds."""

    _due = 0.0

    def planned(self, counts: Counts) -> None:
        super().planned(counts)
        self._due = time.monotonic() + _LINE_EVERY_S

    def advanced(self, counts: Counts, row: TrackRow | Failed) -> None:
        super().advanced(counts, row)
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _LINE_EVERY_S
            done = counts.n_ok + counts.n_failed
            self.line(f"{number(done)} of {number(done + counts.n_left)} tracks, {_rates(counts)}")


class Bar(Talking):
    """A Rich bar with the rates and the time left."""

    def __init__(self, *, verbose: bool = False):
        super().__init__(verbose=verbose)
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

        columns = [SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}")]
        self._bars = Progress(*columns, console=rich_console(), transient=True)
        self._task: Any = None

    def line(self, text: str) -> None:
        self._bars.console.print(printable(text), soft_wrap=True)

    def planned(self, counts: Counts) -> None:
        super().planned(counts)
        if counts.n_left:
            self._task = self._bars.add_task("starting", total=counts.n_left)
            self._bars.start()

    def advanced(self, counts: Counts, row: TrackRow | Failed) -> None:
        super().advanced(counts, row)
        self._bars.update(self._task, completed=counts.n_ok + counts.n_failed, description=_rates(counts))

    def finished(self, counts: Counts) -> None:
        self._bars.stop()
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None


class Events:
    """A JSON object per line on stderr."""

    def note(self, text: str) -> None:
        self._emit("note", text=text)

    def planned(self, counts: Counts) -> None:
        self._emit("planned", counts=_figures(counts))

    def advanced(self, counts: Counts, row: TrackRow | Failed) -> None:
        what = (
            {"code": row.code, "message": row.message}
            if isinstance(row, Failed)
            else {"duration_s": row.decoded.duration_s}
        )
        status = "failed" if isinstance(row, Failed) else "damaged" if row.decoded.damaged else "ok"
        path = row.track.path.encode(errors="surrogateescape").decode(errors="replace")
        self._emit("track", path=path, track_id=row.track.track_id, status=status, **what, counts=_figures(counts))

    def finished(self, counts: Counts) -> None:
        self._emit("finished", counts=_figures(counts))

    def current(self, current: Current) -> None:
        self._emit(
            "current",
            counts=_figures(current.counts),
            n_tracks=current.n_tracks,
            n_removed=current.n_removed,
        )

    def _emit(self, event: str, **values: Any) -> None:
        sys.stderr.write(json.dumps({"event": event, **values}) + "\n")
        sys.stderr.flush()


def find_observer(kind: ProgressKind, *, quiet: bool, verbose: bool) -> Observer:
    """What was asked for; ``auto`` is a bar on a terminal and plain lines elsewhere."""
    if kind is ProgressKind.json:
        return Events()
    if quiet:
        return Silent()
    if kind is ProgressKind.none:
        return Talking(verbose=verbose)
    on_terminal = kind is ProgressKind.bar or (kind is ProgressKind.auto and sys.stderr.isatty())
    return Bar(verbose=verbose) if on_terminal else Plain(verbose=verbose)


def _figures(counts: Counts) -> dict[str, Any]:
    figures = {key: value for key, value in asdict(counts).items() if key != "started"}
    return figures | {"n_left": counts.n_left, "eta_s": counts.eta_s}


def _rates(counts: Counts) -> str:
    left = f", {duration(counts.eta_s)} left" if counts.eta_s is not None else ""
    return f"{counts.tracks_per_s:.1f} tracks/s, {counts.times_real_time:.0f}× real time{left}"


class Steps:
    """A measurement of some minutes: a bar on a terminal, a line now and then elsewhere; a context manager.

    Call it with what is being done, and how many of how many steps are done.
    """

    def __init__(self) -> None:
        self._bars: Any = None
        self._what: str | None = None
        self._task: Any = None
        self._due = 0.0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
            self._bars = Progress(*columns, console=rich_console(), transient=True)
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()

    def note(self, text: str) -> None:
        """A sentence that stays."""
        if self._bars:
            self._bars.console.print(text, soft_wrap=True)
        else:
            say(text)

    def __call__(self, what: str, done: int, total: int) -> None:
        if not self._bars:
            if what != self._what or time.monotonic() >= self._due:
                self._what, self._due = what, time.monotonic() + _STEP_EVERY_S
                say(f"{what}: {done} of {total}")
            return
        if what != self._what:
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._what, self._task = what, self._bars.add_task(what, total=total)
        self._bars.update(self._task, completed=done, total=total)
