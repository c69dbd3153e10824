"""How events look to people (bars), to logs (a line every 30 s) and to programs (JSON): one renderer per form."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audiopatch.amounts import duration, number
from audiopatch.cli.console import current_line, printable, rich_console, say, spent_line
from audiopatch.cli.options import ProgressKind
from audiopatch.events import (
    Counts,
    Current,
    Doing,
    Event,
    Finished,
    Measured,
    Note,
    PassedOver,
    Planned,
    TrackDone,
)
from audiopatch.types import Failed

_LINE_EVERY_S = 30.0
_BAR_WIDTH = 76
_SHOWN_FAILURES = 10
_FIGURES = (
    "block", "tokens", "lr", "weight_decay", "dropout", "train_loss", "valid_accuracy", "valid_map_macro",
    "valid_roc_auc_macro", "top1", "map_macro", "plan", "seconds",
)  # fmt: skip


class Talking:
    """Notes, figures, and a line for each of the first failures (all of them, and what is damaged, when verbose)."""

    def __init__(self, *, verbose: bool = False):
        self._verbose = verbose
        self._n_shown = 0

    def __call__(self, event: Event) -> None:
        """Show it, or not."""
        match event:
            case Note():
                self.line(printable(event.text))  # one line, whatever names are in it
            case PassedOver() if self._verbose:
                self.line(f"left out: {printable(event.path)}")
            case Planned():
                self._n_shown = 0
            case TrackDone():
                self._track(event)
            case Current():
                self.line(f"{time.strftime('%H:%M')}  {current_line(event)}")
            case Measured() if event.row["kind"] != "step":
                self.line(_figures(event.row))
            case Finished(counts) if self._verbose and counts.spent.idle_s:
                self.line(spent_line(counts))
            case _:
                pass

    def line(self, text: str) -> None:
        """One line on stderr."""
        say(text)

    def close(self) -> None:
        """Nothing more will come."""

    def _track(self, event: TrackDone) -> None:
        row = event.row
        if isinstance(row, Failed):
            self._n_shown += 1
            if self._verbose or self._n_shown <= _SHOWN_FAILURES:
                self.line(f"failed: {printable(row.track.path)}: {printable(row.message)} ({row.code})")
            elif self._n_shown == _SHOWN_FAILURES + 1:
                self.line("more failures follow; each has a row in the errors table (-v shows them here)")
        elif self._verbose and row.decoded.damaged:
            why = printable(row.decoded.message or "some of it cannot be decoded")
            self.line(f"damaged: {printable(row.track.path)}: {why}")


class Quiet(Talking):
    """Only what failed, and why."""

    def __call__(self, event: Event) -> None:
        """Show it, or not."""
        if isinstance(event, Planned | TrackDone | PassedOver):
            super().__call__(event)


class Plain(Talking):
    """What is being done, and one line every 30 seconds."""

    _due = 0.0
    _what: str | None = None

    def __call__(self, event: Event) -> None:
        """Show it, or not."""
        super().__call__(event)
        match event:
            case Doing(what, n, of):
                if what != self._what:
                    self._what, self._due = what, time.monotonic() + _LINE_EVERY_S
                    if of is None:  # what can be counted may be over in a moment
                        self.line(_doing(event))
                elif n:
                    self._now_and_then(_doing(event))
            case Planned():
                self._due = time.monotonic() + _LINE_EVERY_S
            case TrackDone(_, counts):
                done = counts.n_found - counts.n_left
                self._now_and_then(f"{number(done)} of {number(counts.n_found)} tracks, {_rates(counts)}")
            case Measured(row) if row["kind"] == "step":
                self._now_and_then(_figures(row))
            case _:
                pass

    def _now_and_then(self, text: str) -> None:
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _LINE_EVERY_S
            self.line(text)


class Bar(Talking):
    """Rich bars: of a run with its rates, the time left and the file finished last; of anything that can be counted."""

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
        self._counting = Narrow(*columns, console=rich_console(), transient=True, expand=True)

    def __call__(self, event: Event) -> None:
        """Show it, or not."""
        super().__call__(event)
        match event:
            case Doing(what, n, of) if of is not None:
                self._count(n or 0, of, what)
            case Doing():
                self._wait(_doing(event))
            case Planned(counts):
                self.close()
                if counts.n_left:
                    self._count(counts.n_found - counts.n_left, counts.n_found, "decoding the first tracks")
            case TrackDone(row, counts):
                done = counts.n_found - counts.n_left
                self._count(done, counts.n_found, f"{_rates(counts)}  {Path(row.track.path).name}")
            case Measured(row) if row["kind"] == "step":
                self._wait(_figures(row))
            case Finished():
                self.close()
            case _:
                pass

    def line(self, text: str) -> None:
        """One line above whatever bar there is."""
        live = self._counting if self._counting.live.is_started else self._waiting
        live.console.print(printable(text), soft_wrap=True)

    def close(self) -> None:
        """Take the bars away."""
        for bars in (self._waiting, self._counting):
            bars.stop()
            for task in bars.tasks:
                bars.remove_task(task.id)

    def _wait(self, words: str) -> None:
        self._show(self._waiting, self._counting, description=printable(words))

    def _count(self, done: int, of: int, words: str) -> None:
        self._show(self._counting, self._waiting, completed=done, total=of, description=printable(words))

    @staticmethod
    def _show(bars: Any, instead_of: Any, **what: Any) -> None:
        """The one bar, which takes the other's place."""
        if not bars.tasks:
            instead_of.stop()
            for task in instead_of.tasks:
                instead_of.remove_task(task.id)
            bars.add_task("", total=None)
        bars.update(bars.tasks[0].id, **what)
        bars.start()


class Json(Talking):
    """A JSON object per event and line on stderr."""

    def __call__(self, event: Event) -> None:
        """Write it, whatever it is."""
        sys.stderr.write(json.dumps(event.to_json()) + "\n")
        sys.stderr.flush()


@contextmanager
def showing(
    kind: ProgressKind = ProgressKind.auto, *, quiet: bool = False, verbose: bool = False
) -> Iterator[Callable[[Event], None]]:
    """An observer of the form asked for; ``auto`` is a bar on a terminal and plain lines elsewhere."""
    if kind is ProgressKind.json:
        form: type[Talking] = Json
    elif quiet:
        form = Quiet
    elif kind is ProgressKind.none:
        form = Talking
    else:
        on_terminal = kind is ProgressKind.bar or (kind is ProgressKind.auto and sys.stderr.isatty())
        form = Bar if on_terminal else Plain
    observer = form(verbose=verbose)
    try:
        yield observer
    finally:
        observer.close()


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Tells a terminal, and nobody else, what is done while the block runs."""
    with showing(quiet=not sys.stderr.isatty()) as observer:
        observer(Doing(what))
        yield


def _doing(event: Doing) -> str:
    if event.of is not None:
        return f"{event.what}: {number(event.n or 0)} of {number(event.of)}"
    return f"{event.what}: {number(event.n)} so far" if event.n else event.what


def _rates(counts: Counts) -> str:
    eta_s = counts.eta_s
    left = "" if eta_s is None else f", about {f'{eta_s:.0f} s' if eta_s < 60 else duration(eta_s)} left"
    return f"{counts.tracks_per_s:.1f} tracks/s, {counts.times_real_time:.0f}× real time{left}"


def _figures(row: Mapping[str, Any]) -> str:
    """``epoch 3: train_loss 0.41, valid_map_macro 0.62``; ``12.5% done: loss 0.31``."""
    if row["kind"] == "step":
        where = f"{row['progress']:.1%} done" if "progress" in row else f"step {row['step']}"
        return f"{where}: loss {row['loss']:.4g}"
    where = f"epoch {row['epoch'] + 1}" if row["kind"] == "epoch" else row["kind"]  # people count from 1
    own = {"block", "tokens"} if row.get("block") == 0 else set()  # of a network's own features there is nothing to say
    found = [f"{name} {_short(row[name])}" for name in _FIGURES if name in row and name not in own]
    return f"{where}: {', '.join(found)}"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2g}" if 0 < abs(value) < 1e-3 else f"{value:.4g}"
    return str(value)
