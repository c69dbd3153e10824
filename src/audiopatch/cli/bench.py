"""``audiopatch bench``: which model, patchout and engine to choose on this machine."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiopatch.cli import options as o
from audiopatch.cli.bench_tables import machine, print_report
from audiopatch.cli.console import say
from audiopatch.cli.steps import Steps
from audiopatch.zoo import DEFAULT_MODEL

if TYPE_CHECKING:
    from audiopatch.bench.report import Report

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False)

_EXAMPLES = "examples/music"
_SWEEP, _HOW = "What to compare", "How to measure"


@app.command()
def bench(
    music: Annotated[
        str | None, typer.Argument(help="A folder of real music to measure on.", show_default=_EXAMPLES)
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="Compare these (repeat).", show_default=DEFAULT_MODEL, rich_help_panel=_SWEEP
        ),
    ] = None,
    patchouts: Annotated[
        list[str] | None,
        typer.Option("--patchout", help="Compare these (repeat).", show_default="a selection", rich_help_panel=_SWEEP),
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
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="Judge quality by this dataset's test split.", rich_help_panel=_HOW),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Where it lies.", rich_help_panel=_HOW)
    ] = None,
    n_tracks: Annotated[
        int, typer.Option("--tracks", min=1, help="Take at most so many tracks.", rich_help_panel=_HOW)
    ] = 12,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Rounds that count.", rich_help_panel=_HOW)] = 7,
    budget_s: Annotated[
        float, typer.Option("--budget", help="Start no round after so many seconds.", rich_help_panel=_HOW)
    ] = 20.0,
    clock: Annotated[
        str,
        typer.Option(
            "--clock", help="wall, or cpu seconds for a machine busy with other things.", rich_help_panel=_HOW
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

    [bold]audiopatch bench[/bold]                                     on examples/music
    [bold]audiopatch bench ~/Music -m mn04_as[/bold]                  another model, your music
    [bold]audiopatch bench --dataset gtzan --data-dir ~/gtzan[/bold]  quality by labels
    """
    import torch

    from audiopatch.bench.baselines import BASELINES
    from audiopatch.bench.measure import CLOCKS
    from audiopatch.bench.quality import Labelled
    from audiopatch.bench.run import Wanted, run_bench
    from audiopatch.bench.sweep import Settings
    from audiopatch.catalog import unknown_name
    from audiopatch.cli.evaluate_run import require_training_extra
    from audiopatch.errors import UsageError
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
    wanted = Wanted(
        models=models or [DEFAULT_MODEL],
        patchouts=patchouts,
        engines=engines or available_engines(find_device(device).type),
        batches=batches,
        blocks=blocks or [],
        baselines=chosen,
    )
    if dataset:
        require_training_extra()
    judge = Labelled(dataset, data_dir) if dataset and data_dir else None
    settings = Settings(judge=judge, device=device, repeats=repeats, budget_s=budget_s, clock=clock)
    with Steps() as steps:
        report = run_bench(
            wanted,
            music or _EXAMPLES,
            settings,
            n_tracks=n_tracks,
            with_whole_runs=whole_runs,
            note=steps.note,
            progress=steps,
        )
    report.write(Path(output))
    _draw(report, Path(output))
    if json:
        typer.echo(json_text.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        print_report(report, output)


def _draw(report: Report, folder: Path) -> None:
    try:
        from audiopatch.bench.plots import plot
    except ImportError:
        say("no plot: matplotlib is missing; pip install 'audiopatch[plots]'")
        return
    plot(report.rows, folder, title=machine(report))
