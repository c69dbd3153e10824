"""``audiopatch shrink``: a model with fewer attention heads and blocks, by what matters on the user's own music."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audiopatch.cli import options as o
from audiopatch.cli.console import print_json, say, stop_on_signals
from audiopatch.cli.durations import timed
from audiopatch.errors import UsageError
from audiopatch.option import TIME_FORMS
from audiopatch.zoo import DEFAULT_MODEL


def shrink(
    gmacs: Annotated[
        float, typer.Option("--gmacs", help="Billion multiply-adds that one segment may take.", rich_help_panel=o.MODEL)
    ],
    inputs: o.Inputs = None,
    include: o.Include = None,
    exclude: o.Exclude = None,
    model: o.Model = DEFAULT_MODEL,
    repair_s: Annotated[
        float | None,
        timed(
            "--repair",
            help=f"Then let it learn from the whole model on this music, where that helps, for so long ({TIME_FORMS}).",
            rich_help_panel=o.MODEL,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="The model goes to DIR/model.", rich_help_panel=o.OUTPUT),
    ] = Path("runs/shrunk"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a repair that was stopped.", rich_help_panel=o.OUTPUT)
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier model there.", rich_help_panel=o.OUTPUT)
    ] = False,
    device: o.Device = "auto",
    quiet: o.Quiet = False,
    json: o.JsonResult = False,
) -> None:
    """Make a transformer smaller: without the attention heads and blocks that your music needs least.

    [bold]audiopatch shrink ~/Music -m audiopatch-small --gmacs 2.3[/bold]  runs/shrunk
    [bold]audiopatch shrink ~/Music -m MODEL --gmacs 60 --repair 8h[/bold]  and mend it
    [bold]audiopatch shrink best.m3u -m MODEL --gmacs 60 -o less[/bold]     by a playlist

    What it gains and loses: [bold]audiopatch bench ~/Music -m MODEL -m runs/shrunk/model[/bold]
    """
    from audiopatch.audio.inputs import Inputs
    from audiopatch.cli.progress import showing
    from audiopatch.distill.repair import SHRUNK
    from audiopatch.distill.repair import repair as learn_again
    from audiopatch.distill.shrink import shrink_to_folder

    music = Inputs(inputs or [], include=include or [], exclude=exclude or [])
    if resume and not repair_s:
        raise UsageError("--resume goes on with a repair: give its --repair TIME, too")
    place = output / (SHRUNK if repair_s else "model")
    how = {"model": model, "device": device, "resume": resume, "force": force}
    with showing(quiet=quiet) as observer:
        made = shrink_to_folder(music, place, gmacs=gmacs, observer=observer, **how)
    tell = (lambda text: None) if quiet else say
    tell(f"heads of blocks 1 to {len(made.heads)}: {', '.join(map(str, made.heads))}")
    tell(
        f"{made.whole_macs / 1e9:.3g} to {made.macs / 1e9:.3g} G-MACs a segment, "
        f"{made.whole_n_params / 1e6:.3g} to {made.n_params / 1e6:.3g} M parameters"
    )
    if repair_s:
        with stop_on_signals() as stop, showing(quiet=quiet) as observer:
            repaired = learn_again(music, made, output, seconds=repair_s, stop=stop.is_set, observer=observer, **how)
        if repaired is None:
            tell("stopped and saved; go on with the same command and --resume")
            raise typer.Exit(stop.exit_code)
        made = repaired
    tell(f"the model: {made.folder}; use it: audiopatch tag ~/Music --model {made.folder}")
    if json:
        print_json(made)
