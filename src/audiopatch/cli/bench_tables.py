"""A benchmark's report as tables on a terminal: as many columns as fit, the most telling ones first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from audiopatch.cli.console import rich_console

if TYPE_CHECKING:
    from audiopatch.bench.report import Report
    from audiopatch.bench.sweep import Row

_SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


class _Column(NamedTuple):
    """``width`` is the terminal it takes to show it."""

    name: str
    cell: Callable[[Row], str]
    width: int = 0


def print_report(report: Report, output: str) -> None:
    """Rows by model from slow to fast, what the figures mean, and the stages of whole runs, on stdout."""
    console = rich_console(stderr=False, width=None if sys.stdout.isatty() else 120)
    console.print(machine(report), style="bold")
    for title, rows in _groups(report.rows):
        console.print(_table(title, rows, console.width))
    for skipped in report.skipped:
        console.print(f"skipped {skipped.model}: {skipped.why}")
    for sentence in _legend(report):
        console.print(sentence, style="dim")
    if report.whole_runs:
        console.print(_whole_runs(report))
    console.print(f"figures and plot: {output}/")


def machine(report: Report) -> str:
    """What it was measured on, in one line."""
    about = report.machine
    where = about["gpu"] or f"{about['cpu']}, {about['threads']} threads"
    return f"{where}, torch {about['torch']}" + (", CPU time" if report.clock == "cpu" else "")


def engine(row: Any) -> str:
    """``torch fp32``."""
    return f"{row.engine} {_SHORT.get(row.dtype, row.dtype)}"


def _groups(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    zoo = [row for row in rows if row.quality is not None]
    for name, found in groupby(zoo, key=lambda row: row.model):
        found = sorted(found, key=lambda row: row.minutes_per_s)
        yield f"{name}, {found[0].mparams:.3g} M parameters", found
    if others := [row for row in rows if row.quality is None]:
        yield "other people's networks", sorted(others, key=lambda row: row.minutes_per_s)


def _table(title: str, rows: Sequence[Row], width: int) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False)
    columns = [column for column in _columns(rows) if column.width <= width]
    for number, column in enumerate(columns):
        table.add_column(column.name, justify="left" if number < 2 else "right", no_wrap=number > 1)
    for row in rows:
        table.add_row(*(column.cell(row) for column in columns))
    return table


def _columns(rows: Sequence[Row]) -> Iterator[_Column]:
    ours = rows[0].quality is not None
    yield _Column("patchout" if ours else "network", lambda row: row.patchout if ours else row.model)
    yield _Column("engine", engine)
    if any(row.block for row in rows):
        yield _Column("block", lambda row: "" if row.block is None else str(row.block))
    if len({row.batch for row in rows}) > 1:
        yield _Column("batch", lambda row: str(row.batch))
    yield _Column("min/s", lambda row: f"{row.minutes_per_s:.2f}")
    yield _Column("±%", lambda row: f"{row.spread * 100:.0f}", 110)
    if any(row.baseline for row in rows):
        yield _Column("× peer", lambda row: _maybe(row.times_baseline, ".1f"))
    yield _Column("ms", lambda row: f"{row.latency_ms:.1f}")
    yield _Column("GMACs", lambda row: f"{row.gmacs:.3g}", 72)
    yield _Column("% peak", lambda row: _maybe(row.peak_share and row.peak_share * 100, ".0f"), 88)
    if any(row.mfu for row in rows):
        yield _Column("% MFU", lambda row: _maybe(row.mfu and row.mfu * 100, ".0f"))
    if not ours:
        yield _Column("M params", lambda row: f"{row.mparams:.3g}")
    yield _Column("MB", lambda row: _maybe(row.memory_mb, ".0f"), 100)
    if ours:
        yield _Column("error", lambda row: _maybe(row.error, ".0e"), 96)
        yield _Column("quality", lambda row: _maybe(row.quality, ".3f"))


def _legend(report: Report) -> Iterator[str]:
    yield (
        "min/s: minutes of audio that front-end and network analyse per second, segments without overlap; "
        "ms: one segment alone; % peak: of this machine's own matrix products"
    )
    if kinds := sorted({row.quality_name for row in report.rows if row.quality_name}):
        yield f"quality: {'; '.join(kinds)}. error: of the outputs, against the unreduced model in float32"
    if peers := sorted({row.baseline for row in report.rows if row.baseline}):
        yield f"× peer: times as fast as {', '.join(peers)}, in float32, for the same segment and result"


def _whole_runs(report: Report) -> Any:
    from rich import box
    from rich.table import Table

    title = "tagging whole tracks, × real time"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("model" if len({run.model for run in report.whole_runs}) > 1 else "patchout")
    table.add_column("engine")
    for name in ("decode, a core", "front-end", "network", "whole run", "start-up, s"):
        table.add_column(name, justify="right")
    for run in report.whole_runs:
        name = run.model if table.columns[0].header == "model" else run.patchout
        rates = (run.decode, run.frontend, run.network, run.whole)
        table.add_row(name, engine(run), *(f"{rate:.0f}" for rate in rates), f"{run.startup_s:.1f}")
    return table


def _maybe(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
