"""``audiopatch bench``: which model, patchout and engine to choose on this machine."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from audiopatch.cli import options as o
from audiopatch.cli.console import print_json, rich_console, say, stop_on_signals
from audiopatch.cli.durations import timed
from audiopatch.cli.progress import busy, showing
from audiopatch.errors import missing_extra
from audiopatch.option import TIME_FORMS
from audiopatch.zoo import DEFAULT_MODEL

if TYPE_CHECKING:
    from audiopatch.bench.run import BenchReport
    from audiopatch.bench.sweep import Row


_EXAMPLES = "examples/music"
_SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_SWEEP, _HOW = "What to compare", "How to measure"


def bench(
    music: Annotated[
        str | None, typer.Argument(help="A folder of real music to measure on.", show_default=_EXAMPLES)
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="Compare these (repeat).",
            show_default=DEFAULT_MODEL,
            rich_help_panel=_SWEEP,
            autocompletion=o.complete_models,
        ),
    ] = None,
    patchouts: Annotated[
        list[str] | None,
        typer.Option(
            "--patchout",
            help="Compare these (repeat).",
            show_default="a selection",
            rich_help_panel=_SWEEP,
            autocompletion=o.complete_plans,
        ),
    ] = None,
    engines: Annotated[
        list[str] | None,
        typer.Option(
            "--engine",
            metavar="NAME[:DTYPE]",
            help="As in openvino:int8 (repeat).",
            show_default="all that are here",
            rich_help_panel=_SWEEP,
        ),
    ] = None,
    batches: Annotated[
        list[int] | None, typer.Option("--batch", min=1, help="Segments per call (repeat).", rich_help_panel=_SWEEP)
    ] = None,
    blocks: Annotated[
        list[int] | None,
        typer.Option("--block", min=1, help="Also embeddings after these blocks (repeat).", rich_help_panel=_SWEEP),
    ] = None,
    baselines: Annotated[
        list[str] | None,
        typer.Option(
            "--baseline", help="Other people's networks, such as resnet-50 (repeat), or all.", rich_help_panel=_SWEEP
        ),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option("--experiment", help="Repeat a published comparison: maest-figure-3.", rich_help_panel=_SWEEP),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            help="Judge quality by this dataset's test split.",
            rich_help_panel=_HOW,
            autocompletion=o.complete_datasets,
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Where it lies.", rich_help_panel=_HOW)
    ] = None,
    n_tracks: Annotated[
        int, typer.Option("--tracks", min=1, help="Take at most so many tracks.", rich_help_panel=_HOW)
    ] = 12,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Rounds that count.", rich_help_panel=_HOW)] = 7,
    budget_s: Annotated[
        float,
        timed(
            "--budget",
            least_s=1,
            help=f"Time for all of it; what none is left for is named ({TIME_FORMS}).",
            show_default="75s",
            rich_help_panel=_HOW,
        ),
    ] = 75.0,
    clock: Annotated[
        str,
        typer.Option(
            "--clock",
            help="wall, or cpu seconds for a machine busy with other things.",
            rich_help_panel=_HOW,
            autocompletion=o.one_of("wall", "cpu"),
        ),
    ] = "wall",
    whole_runs: Annotated[
        bool, typer.Option("--whole/--no-whole", help="Also whole runs, and their stages alone.", rich_help_panel=_HOW)
    ] = True,
    device: o.Device = "auto",
    threads: o.Threads = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR", help="Where figures and plot go.")
    ] = "audiopatch.bench",
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON on stdout.")] = False,
) -> None:
    """Measure models, patchouts and engines against each other, in one run.

    [bold]audiopatch bench ~/Music -m mn04_as[/bold]                  another model, your music
    [bold]audiopatch bench --dataset gtzan --data-dir ~/gtzan[/bold]  quality by labels
    [bold]audiopatch bench --experiment maest-figure-3[/bold]         MAEST beside two CNNs
    """
    with busy("loading"):
        import torch

        from audiopatch.bench.baselines import BASELINES
        from audiopatch.bench.measure import CLOCKS
        from audiopatch.bench.quality import Labelled
        from audiopatch.bench.run import EXPERIMENTS, Wanted, run_bench
        from audiopatch.bench.sweep import Settings
        from audiopatch.catalog import unknown_name
        from audiopatch.errors import UsageError
        from audiopatch.evaluation.run import require_training_extra
        from audiopatch.models.engines import available_engines
        from audiopatch.zoo.load import find_device

    if clock not in CLOCKS:
        raise UsageError(unknown_name("clock", clock, CLOCKS))
    if music is None and not Path(_EXAMPLES).is_dir():
        raise UsageError("which music to measure on? Name a folder: audiopatch bench ~/Music")
    chosen = list(BASELINES) if baselines and "all" in baselines else baselines or []
    for name in chosen:
        BASELINES[name]  # an unknown one is refused at once
    if (dataset is None) != (data_dir is None):
        raise UsageError("--dataset NAME and --data-dir DIR go together")
    if threads:
        torch.set_num_threads(threads)
    if experiment is None:
        wanted = Wanted(models=[DEFAULT_MODEL], engines=available_engines(find_device(device).type))
    elif experiment in EXPERIMENTS:
        wanted = EXPERIMENTS[experiment]
    else:
        raise UsageError(unknown_name("experiment", experiment, EXPERIMENTS))
    asked: dict[str, Any] = {"models": models, "patchouts": patchouts, "engines": engines, "batches": batches}
    asked |= {"blocks": blocks and [None, *blocks], "baselines": chosen}
    wanted = replace(wanted, **{name: value for name, value in asked.items() if value})
    if dataset:
        require_training_extra()
    judge = Labelled(dataset, data_dir) if dataset and data_dir else None
    with stop_on_signals() as stop, showing() as observer:
        settings = Settings(
            judge=judge, device=device, repeats=repeats, budget_s=budget_s, clock=clock, stop=stop.is_set
        )
        report = run_bench(
            wanted,
            music or _EXAMPLES,
            settings,
            n_tracks=n_tracks,
            with_whole_runs=whole_runs,
            observer=observer,
        )
    if report.rows:
        report.write(Path(output))
        _draw(report, Path(output))
    if json:
        print_json(report)
    else:
        print_report(report, output)
    if stop.is_set():
        raise typer.Exit(stop.exit_code)


def _draw(report: BenchReport, folder: Path) -> None:
    try:
        from audiopatch.bench.plots import plot, plot_rates
    except ImportError:
        say(f"no plot: {missing_extra('a picture', 'plots')}")
        return
    if report.compared_with:
        plot_rates(report, folder, title=machine(report))
    else:
        plot(report.rows, folder, title=machine(report))


class _Column(NamedTuple):
    """``width`` is the terminal it takes to show it; ``means`` explains it below the tables."""

    name: str
    cell: Callable[[Row], str]
    width: int = 0
    means: str = ""


def print_report(report: BenchReport, output: str) -> None:
    """Rows by model from slow to fast, what the figures mean, and the stages of whole runs, on stdout."""
    console = rich_console(stderr=False, width=None if sys.stdout.isatty() else 120)
    console.print(machine(report), style="bold")
    meanings: dict[str, str] = {}
    for title, rows in _groups(report.rows):
        columns = [column for column in _columns(rows, report) if column.width <= console.width]
        meanings |= {column.name: f"{column.name}: {column.means}" for column in columns if column.means}
        console.print(f"\n{title}", style="bold")
        console.print(_table(rows, columns))
    for skipped in report.skipped:
        console.print(f"{skipped.model} skipped because: {skipped.why}")
    if not report.rows:
        console.print("nothing was timed")
        return
    console.print("\n" + "; ".join(meanings.values()), style="dim")
    if report.whole_runs:
        console.print("\ntagging whole tracks, × real time: each stage alone, and the run", style="bold")
        console.print(_whole_runs(report))
    console.print(f"figures and plot: {output}/")


def machine(report: BenchReport) -> str:
    """What it was measured on, in one line."""
    about = report.machine
    where = about["gpu"] or f"{about['cpu']}, {about['threads']} thread{'' if about['threads'] == 1 else 's'}"
    return f"{where}, torch {about['torch']}" + (", CPU time" if report.clock == "cpu" else "")


def engine(row: Any) -> str:
    """``torch fp32``."""
    return f"{row.engine} {_SHORT.get(row.dtype, row.dtype)}"


def _groups(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Rows whose quality may be compared, from slow to fast."""
    ours: dict[tuple[str, int | None], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.minutes_per_s):
        if row.quality is not None:
            ours[row.model, row.block].append(row)
    for model in dict.fromkeys(row.model for row in rows):
        for (name, block), found in sorted(ours.items(), key=lambda item: item[0][1] or 0):
            if name == model:
                where = "" if block is None else f", embedding after block {block}"
                stated = f", published {found[0].published}" if found[0].published else ""
                yield f"{name}, {found[0].mparams:.3g} M parameters{stated}{where}: {found[0].quality_name}", found
    if others := [row for row in rows if row.quality is None]:
        yield "other people's networks, fed with mels", sorted(others, key=lambda row: row.minutes_per_s)


def _columns(rows: Sequence[Row], report: BenchReport) -> Iterator[_Column]:
    ours = rows[0].quality is not None
    yield _Column("patchout" if ours else "network", lambda row: row.patchout if ours else row.model)
    yield _Column("engine", engine)
    if len({row.batch for row in rows}) > 1:
        yield _Column("batch", lambda row: str(row.batch))
    rate = "minutes of audio that front-end and network analyse per second, segments without overlap"
    yield _Column("min/s", lambda row: f"{row.minutes_per_s:.2f}", means=rate)
    yield _Column("±%", lambda row: f"{row.spread * 100:.0f}", 110, "its interquartile range")
    if any(row.baseline for row in rows):
        peers = "times as fast as other people's code for the same network, in float32"
        yield _Column("× peer", lambda row: _maybe(row.times_baseline, ".1f"), means=peers)
    if report.compared_with:
        yield _Column(f"× {report.compared_with}", lambda row: _maybe(report.times(row), ".2g"))
    yield _Column("ms", lambda row: f"{row.latency_ms:.1f}", means="one segment alone")
    yield _Column("GMACs", lambda row: f"{row.gmacs:.3g}", 72)
    share = "share of this machine's own matrix products"
    yield _Column("% peak", lambda row: _maybe(row.peak_share and row.peak_share * 100, ".0f"), 88, share)
    if any(row.mfu for row in rows):
        yield _Column("% MFU", lambda row: _maybe(row.mfu and row.mfu * 100, ".0f"))
    if not ours:
        yield _Column("M params", lambda row: f"{row.mparams:.3g}")
    yield _Column("MB", lambda row: _maybe(row.memory_mb, ".0f"), 100, "memory beyond the weights")
    if ours:
        error = "of the scores' log-odds or the embeddings, against the unreduced model in float32"
        yield _Column("error", lambda row: _maybe(row.error, ".0e"), 96, error)
        yield _Column("quality", lambda row: _maybe(row.quality, ".3f"))


def _table(rows: Sequence[Row], columns: Sequence[_Column]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column.name, justify="left" if number < 2 else "right", no_wrap=number > 1)
    for row in rows:
        table.add_row(*(column.cell(row) for column in columns))
    return table


def _whole_runs(report: BenchReport) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("model" if len({run.model for run in report.whole_runs}) > 1 else "patchout")
    table.add_column("engine", no_wrap=True)
    for name in ("decode/core", "mels", "network", "whole run", "start-up s"):
        table.add_column(name, justify="right")
    for run in report.whole_runs:
        name = run.model if table.columns[0].header == "model" else run.patchout
        rates = (run.decode, run.frontend, run.network, run.whole)
        table.add_row(name, engine(run), *(f"{rate:.0f}" for rate in rates), f"{run.startup_s:.1f}")
    return table


def _maybe(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
