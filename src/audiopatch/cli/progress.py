"""How a run looks to people (bars), to logs (a line every 30 s) and to programs (JSON events)."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from audiopatch.cli.console import SPEC_VERSION, current_line, duration, number, printable, rich_console, say
from audiopatch.cli.options import ProgressKind
from audiopatch.inference.progress import Counts, Current, Observer
from audiopatch.types import Failed, TrackRow

_LINE_EVERY_S = 30.0
_STEP_EVERY_S = 15.0
_BAR_WIDTH = 76
_SHOWN_FAILURES = 10


class Talking:
    """Notes, and a line for each of the first failures (all of them, and what is damaged, when verbose)."""

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

    def doing(self, what: str, n: int | None = None) -> None:
        pass

    def planned(self, counts: Counts) -> None:
        self._n_shown = 0

    def advanced(self, counts: Counts, row: TrackRow | Failed) -> None:
        if isinstance(row, Failed):
            self._n_shown += 1
            if self._verbose or self._n_shown <= _SHOWN_FAILURES:
                self.line(f"failed: {printable(row.track.path)}: {printable(row.message)} ({row.code})")
            elif self._n_shown == _SHOWN_FAILURES + 1:
                self.line("more failures follow; each has a row in the errors table (-v shows them here)")
        elif self._verbose and row.decoded.damaged:
            why = printable(row.decoded.message or "some of it cannot be decoded")
            self.line(f"damaged: {printable(row.track.path)}: {why}")

    def finished(self, counts: Counts) -> None:
        pass

    def current(self, current: Current) -> None:
        self.line(f"{time.strftime('%H:%M')}  {current_line(current)}")


class Quiet(Talking):
    """Only what failed, and why."""

    def note(self, text: str) -> None:
        pass

    def current(self, current: Current) -> None:
        pass


class Plain(Talking):
    """What is being done, and one line every 30 seconds."""

    _due = 0.0
    _what: str | None = None

    def doing(self, what: str, n: int | None = None) -> None:
        if what != self._what or time.monotonic() >= self._due:
            self._what, self._due = what, time.monotonic() + _LINE_EVERY_S
            self.line(f"{what}: {number(n)} so far" if n else what)

    def planned(self, counts: Counts) -> None:
        super().planned(counts)
        self._due = time.monotonic() + _LINE_EVERY_S

    def advanced(self, counts: Counts, row: TrackRow | Failed) -> None:
        super().advanced(counts, row)
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _LINE_EVERY_S
            done = counts.n_found - counts.n_left
            self.line(f"{number(done)} of {number(counts.n_found)} tracks, {_rates(counts)}")


class Bar(Talking):
    """A Rich bar with the rates, the time left, and the file that was finished last, from the first second on."""

    def __init__(self, *, verbose: bool = False):
        super().__init__(verbose=verbose)
        from rich.constrain import Constrain
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
        from rich.table import Column

        class Narrow(Progress):
            """A line that a window made smaller rarely breaks in two, which would leave its first half behind."""

            def get_renderable(self) -> Any:
                return Constrain(super().get_renderable(), _BAR_WIDTH)

        words = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))
        self._waiting = Narrow(SpinnerColumn(), words, console=rich_console(), transient=True, expand=True)
        columns = [SpinnerColumn(), BarColumn(bar_width=12), MofNCompleteColumn(), words]
        self._bars = Narrow(*columns, console=rich_console(), transient=True, expand=True)
        self._task: Any = None

    def line(self, text: str) -> None:
        live = self._bars if self._bars.live.is_started else self._waiting
        live.console.print(printable(text), soft_wrap=True)

    def doing(self, what: str, n: int | None = None) -> None:
        words = f"{what}: {number(n)} so far" if n else what
        if not self._waiting.tasks:
            self._waiting.add_task(words, total=None)
            self._waiting.start()
        self._waiting.update(self._waiting.tasks[0].id, description=printable(words))

    def planned(self, counts: Counts) -> None:
        super().planned(counts)
        self._rest()
        if counts.n_left:
            done = counts.n_found - counts.n_left
            self._task = self._bars.add_task("decoding the first tracks", total=counts.n_found, completed=done)
            self._bars.start()

    def advanced(self, counts: Counts, row: TrackRow | Failed) -> None:
        super().advanced(counts, row)
        if self._task is not None:
            words = f"{_rates(counts)}  {printable(Path(row.track.path).name)}"
            self._bars.update(self._task, completed=counts.n_found - counts.n_left, description=words)

    def finished(self, counts: Counts) -> None:
        self._rest()
        self._bars.stop()
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None

    def _rest(self) -> None:
        self._waiting.stop()
        for task in self._waiting.tasks:
            self._waiting.remove_task(task.id)


class Events:
    """A JSON object per line on stderr."""

    def note(self, text: str) -> None:
        self._emit("note", text=text)

    def doing(self, what: str, n: int | None = None) -> None:
        self._emit("doing", what=what, n=n)

    def ended(self, summary: dict[str, Any]) -> None:
        """The last line: how the run ended."""
        self._emit("ended", **summary)

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
        sys.stderr.write(json.dumps({"spec_version": SPEC_VERSION, "event": event, **values}) + "\n")
        sys.stderr.flush()


def find_observer(kind: ProgressKind, *, quiet: bool, verbose: bool) -> Observer:
    """What was asked for; ``auto`` is a bar on a terminal and plain lines elsewhere."""
    if kind is ProgressKind.json:
        return Events()
    if quiet:
        return Quiet(verbose=verbose)
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
