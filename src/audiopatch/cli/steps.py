"""How a measurement of some minutes shows itself: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, Self

from audiopatch.cli.console import rich_console, say

_LINE_EVERY_S = 15.0


class Steps:
    """Call it with what is being done, and how many of how many steps are done; a context manager."""

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
                self._what, self._due = what, time.monotonic() + _LINE_EVERY_S
                say(f"{what}: {done} of {total}")
            return
        if what != self._what:
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._what, self._task = what, self._bars.add_task(what, total=total)
        self._bars.update(self._task, completed=done, total=total)
