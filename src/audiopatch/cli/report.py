"""``audiopatch report``: a library as one page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audiopatch.cli import console
from audiopatch.cli import options as o
from audiopatch.cli.words import number

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False)


@app.command()
def report(
    tables: o.Tables = "audiopatch.out",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The page.", rich_help_panel=o.OUTPUT)
    ] = Path("library.html"),
    json: o.JsonResult = False,
) -> None:
    """Make a page of a library: search, filter, a map, the nearest tracks, playlists. One file, no network.

    [bold]audiopatch report[/bold]              ./audiopatch.out as library.html
    [bold]audiopatch report --in vectors[/bold] the tables of another folder
    [bold]audiopatch report -o mine.html[/bold] under another name

    The map and the nearest tracks need vectors in the tables: [bold]audiopatch tag ~/Music --embeddings[/bold].
    """
    from audiopatch.library.report import report as write

    page = write(output, tables)
    if json:
        console.print_json({**vars(page), "path": str(page.path)})
    without = "" if page.has_map else ", without a map: the tables hold no vectors (tag --embeddings)"
    console.say(f"{number(page.n_tracks)} tracks, {page.size_bytes / 1e6:.1f} MB{without}: open {page.path}")
