"""How a training run shows itself: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from audiopatch.cli.console import rich_console, say
from audiopatch.training.experiment import TrainWatcher

_SHOWN = ("epoch", "train_loss", "valid_accuracy", "valid_map_macro", "valid_roc_auc_macro", "plan", "seconds")
_PROBE = (
    "block",
    "tokens",
    "lr",
    "weight_decay",
    "dropout",
    "epoch",
    "valid_accuracy",
    "valid_map_macro",
    "valid_roc_auc_macro",
)
_LINE_EVERY_S = 30
_LAST = 12  # rows of the live table


class Shown(TrainWatcher):
    """Shows a training run or an evaluation on stderr."""

    exit_code = 128 + signal.SIGINT

    def __init__(self, *, quiet: bool):
        self.quiet = quiet

    def note(self, text: str) -> None:
        if not self.quiet:
            say(text)

    @contextmanager
    def clips(self, what: str) -> Iterator[Callable[[int, int], None]]:
        with ClipBar(what, quiet=self.quiet) as bar:
            yield bar

    @contextmanager
    def epochs(self, *, live: bool = True) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        with EpochTable(quiet=self.quiet, live=live) as table:
            try:
                yield table
            finally:
                self.exit_code = table.exit_code


class EpochTable:
    """A report for the loop and for probes: one row per epoch or fitted probe. Call it with rows of metrics.jsonl.

    ``exit_code`` is what a run that was told to stop ends with: 130 after Ctrl-C, 143 after SIGTERM.
    """

    exit_code = 128 + signal.SIGINT

    def __init__(self, *, quiet: bool, live: bool = True):
        self.quiet = quiet
        self.wants_live = live and not quiet and sys.stderr.isatty()
        self.live: Any = None
        self.rows: list[Mapping[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, row: Mapping[str, Any]) -> None:
        if row["kind"] == "stopping":
            self.exit_code = 128 + row["signal"]
        if self.quiet:
            return
        if self.wants_live and not self.live:
            from rich.live import Live

            self.live = Live(console=rich_console(), refresh_per_second=4)
            self.live.start()
        if row["kind"] == "stopping":
            say("stopping after the batch in flight; once more to leave at once")
            return
        if row["kind"] == "step":
            if self.live:
                self.live.update(self._table(f"step {row['step']}, loss {row['loss']:.4f}, lr {row['lr']:.2e}"))
            return
        if row["kind"] != "swa":  # that one comes after the last
            row = {**row, "epoch": row["epoch"] + 1}  # people count from 1
        self.rows.append(row)
        if self.live:
            self.live.update(self._table(""))
        else:
            columns = _PROBE if row["kind"] == "probe" else _SHOWN
            say(f"{row['kind']}: " + ", ".join(f"{name} {_short(row[name])}" for name in columns if name in row))

    def _table(self, caption: str) -> Any:
        from rich.table import Table

        columns = _PROBE if self.rows and self.rows[-1]["kind"] == "probe" else _SHOWN
        present = [name for name in columns if not self.rows or name in self.rows[-1]]
        table = Table(caption=caption)
        for name in present:
            table.add_column(name.removeprefix("valid_"), justify="right")
        for row in self.rows[-_LAST:]:
            table.add_row(*(_short(row.get(name, "")) for name in present))
        return table


class ClipBar:
    """How many clips are done: a bar on a terminal, elsewhere a line every half minute; nothing where it is quick."""

    def __init__(self, what: str, *, quiet: bool):
        self.what, self.quiet = what, quiet
        self.on_terminal = sys.stderr.isatty()
        self.said_at = time.monotonic()
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def __call__(self, done: int, total: int) -> None:
        if self.quiet:
            return
        if self.on_terminal:
            self._draw(done, total)
        elif time.monotonic() - self.said_at >= _LINE_EVERY_S:
            self.said_at = time.monotonic()
            say(f"{self.what}: {done} of {total} clips")

    def _draw(self, done: int, total: int) -> None:
        if self.bar is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn(self.what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=rich_console())
            self.bar.start()
            self.task = self.bar.add_task(self.what, total=total)
        self.bar.update(self.task, completed=done)
        if done == total:
            self.bar.stop()


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2g}" if 0 < abs(value) < 1e-3 else f"{value:.4g}"
    return str(value)


class DistillProgress:
    """A bar of the share done on a terminal, with time left, losses and the last held-out figures; else plain lines."""

    def __init__(self, *, quiet: bool):
        self.quiet = quiet
        self.decoding = ClipBar("decoding", quiet=quiet)
        self.bar: Any = None
        self.task: Any = None
        self.held_out: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.decoding.__exit__()
        if self.bar:
            self.bar.stop()

    def prepared(self, done: int, total: int) -> None:
        self.decoding(done, total)

    def row(self, row: Mapping[str, Any]) -> None:
        if self.quiet:
            return
        if row["kind"] == "held-out":
            self.held_out[row["plan"]] = f"{row['plan']}: top-1 {row['top1']:.3f}, mAP {row['map_macro']:.3f}"
            if not sys.stderr.isatty():
                say(f"held out, {self.held_out[row['plan']]}")
        elif sys.stderr.isatty():
            self._show(row["progress"], "; ".join([f"loss {row['loss']:.3f}", *self.held_out.values()]))
        else:
            say(f"{row['progress']:.1%} done, {row['segments']} crops, loss {row['loss']:.3f}")

    def _show(self, share: float, words: str) -> None:
        if self.bar is None:
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            self.decoding.__exit__()
            columns = (TextColumn("distilling"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, TextColumn("{task.description}"), console=rich_console())
            self.bar.start()
            self.task = self.bar.add_task("", total=1.0)
        self.bar.update(self.task, completed=share, description=words)
