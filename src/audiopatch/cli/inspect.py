"""``audiopatch inspect``: which tokens a plan keeps, for one track as a page, for many as a study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiopatch.audio.inputs import Inputs
from audiopatch.cli import console
from audiopatch.cli import options as o
from audiopatch.cli.progress import showing
from audiopatch.errors import OutputMismatchError, UsageError
from audiopatch.events import Doing
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.zoo import DEFAULT_MODEL

if TYPE_CHECKING:
    from audiopatch.inspection.study import Study


@dataclass(frozen=True)
class Unreadable:
    """A track that could not be decoded, and why."""

    path: str
    message: str


@dataclass(frozen=True)
class Looked:
    """The page that was written (null where no track could be decoded) and the plan it shows."""

    page: Path | None
    plan: str
    failed: tuple[Unreadable, ...]


def inspect(
    inputs: o.Inputs = None,
    include: o.Include = None,
    exclude: o.Exclude = None,
    model: o.Model = DEFAULT_MODEL,
    patchout: o.Patchout = None,
    tracks: Annotated[
        int, typer.Option("--tracks", min=1, help="Study at most so many tracks.", rich_help_panel=o.WHAT)
    ] = 50,
    seed: o.Seed = Analysis.seed,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the page.", rich_help_panel=o.OUTPUT)
    ] = Path("inspect.out"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier page there.", rich_help_panel=o.OUTPUT)
    ] = False,
    device: o.Device = "auto",
    dtype: o.Dtype = Runtime.dtype,
    json: o.JsonResult = False,
) -> None:
    """Show what patchout and pruning keep: a page for one track, the analyses of a study for many.

    [bold]audiopatch inspect song.mp3[/bold]                  what topk:0.7 keeps
    [bold]audiopatch inspect song.mp3 --patchout F3T2[/bold]  what another plan keeps
    [bold]audiopatch inspect ~/Music --tracks 200[/bold]      attention against loudness

    Of many tracks it prints how many patches are quiet or loud, and what is lost without these: tables III and IV of
    the token-pruning study (arXiv 2504.01690), from any folder.
    """
    if not inputs:
        raise UsageError("nothing to look at: name a file or a folder, as in: audiopatch inspect song.mp3")
    if (output / "index.html").exists() and not force:
        raise OutputMismatchError(f"{output / 'index.html'} exists; name another folder with -o, or add --force")
    with showing() as observer:
        observer(Doing("looking for music"))
        found = list(Inputs(inputs, (), include or (), exclude or ()).tracks())
        observer(Doing(f"loading {model}"))
        from audiopatch.inference.extract import find_plan
        from audiopatch.inspection.inspect import DEFAULT_PLAN, inspect_tracks
        from audiopatch.zoo import load_model

        tagger = load_model(model, device=device, dtype=dtype)
        plan = find_plan(tagger, patchout or DEFAULT_PLAN)
        inspected = inspect_tracks(tagger, found, plan, output, n_tracks=tracks, seed=seed, observer=observer)
    for bad in inspected.failed:
        console.say(console.printable(f"{bad.track.path}: {bad.message}"))
    if json:
        failed = tuple(Unreadable(bad.track.path, bad.message) for bad in inspected.failed)
        console.print_json(Looked(inspected.page, str(plan), failed))
    elif inspected.page:
        if inspected.study:
            _print_study(inspected.study)
        console.say(f"wrote {inspected.page}")
    if inspected.failed:
        raise typer.Exit(console.SOME_FAILED)


def _print_study(study: Study) -> None:
    """Two of its tables on stdout, as the paper has them; where that knows the accuracy, this has the agreement."""
    shares = console.grid("Patches by loudness (table III)", "cluster", "mean log-mel", "% of patches")
    for row in study.clusters.itertuples():
        shares.add_row(row.cluster, f"{row.intensity:.2f}", f"{100 * row.share:.1f}")
    removal = console.grid(
        "Best labels that stay best, in % (table IV)",
        "from block",
        *(f"without {name}" for name in study.removal["removed"].unique()),
    )
    for block, rows in study.removal.groupby("block"):
        removal.add_row(str(block), *(f"{100 * value:.1f}" for value in rows["agreement"]))
    for table in (shares, removal):
        console.rich_console(stderr=False).print(table)
