"""``audiopatch adapt``: a model of the user's own labels, from the tags in the files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audiopatch.cli import console
from audiopatch.cli import options as o
from audiopatch.cli.progress import showing
from audiopatch.events import counted


def adapt(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders of the library to learn from; all of the tables without.",
            show_default=False,
            rich_help_panel=o.INPUT,
        ),
    ] = None,
    field: Annotated[
        str, typer.Option("--field", help="genre, mood, grouping or comment.", rich_help_panel=o.WHAT)
    ] = "genre",
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="What spellings mean: the labels.toml of an earlier call, edited.",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    tables: o.Tables = "audiopatch.out",
    model: o.RunModel = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the model.", rich_help_panel=o.OUTPUT)
    ] = Path("my-labels"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier model there.", rich_help_panel=o.OUTPUT)
    ] = False,
    json: o.JsonResult = False,
    quiet: o.Quiet = False,
) -> None:
    """Learn your own genres (or moods, ...) from the tags in your files; no audio is decoded.

    [bold]audiopatch adapt ~/Music -o mine[/bold]      a model of the genres in the files
    [bold]audiopatch adapt ~/Music --field mood[/bold] of their moods
    [bold]audiopatch adapt ~/Music --in vectors[/bold] by the tables of another folder

    Tables with vectors come first: [bold]tag ~/Music --embeddings[/bold]. The model then fills the gaps:
    [bold]tag ~/Music --model mine --thresholds -o mine.out[/bold].

    Spellings are folded, what is too rare is left out, and each label is judged on artists that were held out: see
    report.html and labels.toml in the folder. With too little data it says so and writes nothing.
    """
    from audiopatch.library.adapt import adapt as learn

    with showing(quiet=quiet) as observer:
        result = learn(
            inputs or (),
            output,
            tables=tables,
            field=field,
            labels=labels,
            model=model,
            force=force,
            progress=counted(observer, "reading tags"),
        )
    if json:
        print((output / "own-labels.json").read_text(encoding="utf-8"), end="")
        return
    if quiet:
        return
    span = lambda one: f"{one.value:.2f} ({one.low:.2f}–{one.high:.2f})"  # noqa: E731
    grid = console.grid(
        f"Own labels from {field}, on artists that were held out", "label", "tracks", "precision", "recall"
    )
    for one in result.labels:
        grid.add_row(console.printable(one.label), str(one.n_tracks), span(one.precision), span(one.recall))
    console.rich_console().print(grid)
    for sentence in result.left_out:
        console.say(sentence)
    console.say(f"{len(result.labels)} labels, mAP {span(result.figures['map_macro'])} → {output}/ (see report.html)")
