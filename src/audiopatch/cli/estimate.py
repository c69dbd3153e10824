"""``audiopatch estimate``: how long a library will take, and a command line for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from audiopatch.cli import options as o
from audiopatch.cli.bench import engine
from audiopatch.cli.console import print_json, rich_console
from audiopatch.cli.durations import timed
from audiopatch.cli.progress import showing
from audiopatch.events import Doing
from audiopatch.option import TIME_FORMS
from audiopatch.zoo import DEFAULT_MODEL

if TYPE_CHECKING:
    from audiopatch.bench.estimate import Estimate


_WISH = "What you want"


def estimate(
    folder: Annotated[str, typer.Argument(help="The library.", show_default=False)],
    finish_in_s: Annotated[
        float | None, timed("--finish-in", help=f"Be done in this time ({TIME_FORMS}).", rich_help_panel=_WISH)
    ] = None,
    min_quality: Annotated[
        float | None,
        typer.Option(
            "--min-quality",
            min=0,
            max=1,
            help="Keep this share of the full model's top tags.",
            show_default="0.95 without --finish-in",
            rich_help_panel=_WISH,
        ),
    ] = None,
    model: o.Model = DEFAULT_MODEL,
    segments: o.Segments = None,
    engines: Annotated[
        list[str] | None,
        typer.Option(
            "--engine", metavar="NAME[:DTYPE]", help="Consider only these (repeat).", show_default="all that are here"
        ),
    ] = None,
    device: o.Device = "auto",
    budget_s: Annotated[
        float,
        timed(
            "--budget",
            least_s=5,
            help=f"Measure for about so long ({TIME_FORMS}).",
            show_default="60s",
            rich_help_panel=o.MACHINE,
        ),
    ] = 60.0,
    json: Annotated[bool, typer.Option("--json", help="Print the estimate as JSON on stdout.")] = False,
) -> None:
    """Find out how long a library takes, and get the command that tags it in time.

    [bold]audiopatch estimate ~/Music[/bold]                     the fastest that keeps 95 %
    [bold]audiopatch estimate ~/Music --finish-in 2h[/bold]      the best that is done in time
    [bold]audiopatch estimate ~/Music --min-quality 0.98[/bold]  the fastest that keeps 98 %
    """
    if min_quality is None:
        min_quality = 0.95 if finish_in_s is None else 0.0
    with showing() as observer:
        observer(Doing("looking for music"))
        from audiopatch.audio.inputs import Inputs
        from audiopatch.bench.estimate import ToTag, Wish
        from audiopatch.bench.estimate import estimate as run
        from audiopatch.models.engines import available_engines
        from audiopatch.zoo.load import find_device

        library = ToTag(tracks=list(Inputs([folder]).tracks()), folder=folder, model=model, n_segments=segments)
        found = run(
            library,
            Wish(finish_in_s=finish_in_s, min_quality=min_quality),
            engines=engines or available_engines(find_device(device).type),
            device=device,
            budget_s=budget_s,
            observer=observer,
        )
    if json:
        print_json(found)
    else:
        _print(found)


def _print(found: Estimate) -> None:
    from rich import box
    from rich.table import Table

    from audiopatch.amounts import duration

    table = Table("", "patchout", "engine", box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("quality", justify="right")
    table.add_column("takes about", justify="right")
    for option in found.options:
        mark, style = ("→", "bold") if option is found.chosen else ("", None)
        about = f"{duration(option.eta_s)}{'' if option.tried else ' ?'}"
        table.add_row(mark, option.row.patchout, engine(option.row), f"{option.quality:.3f}", about, style=style)
    console = rich_console()
    console.print(table)
    console.print("quality: share of the unreduced model's ten best tags that are kept, on segments of this library")
    if not all(option.tried for option in found.options):
        console.print("?: not tried, judged by its speed beside the one that was")
    typer.echo(found.command)
