"""``audiopatch similar``: the tracks of a library that sound most like one."""

from __future__ import annotations

from typing import Annotated

import typer

from audiopatch.cli import console
from audiopatch.cli import options as o

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False)


@app.command()
def similar(
    song: Annotated[str, typer.Argument(help="A track of the tables by the end of its path, or any audio file.")],
    tables: o.Tables = "audiopatch.out",
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="How many tracks.", rich_help_panel=o.WHAT)] = 10,
    model: o.RunModel = None,
    json: o.JsonResult = False,
) -> None:
    """Find the tracks that sound most like one, with distances and the tags they share.

    [bold]audiopatch similar song.mp3[/bold]               the nearest in ./audiopatch.out
    [bold]audiopatch similar song.mp3 --in vectors[/bold]  in the tables of another folder
    [bold]audiopatch similar song.mp3 --json[/bold]        for programs

    Needs tables with vectors: [bold]audiopatch tag ~/Music --embeddings[/bold]. A distance of 0 is the same sound, one
    of about 1 has nothing in common.
    """
    from audiopatch.library.similar import similar as find

    found = find(song, tables, n=top, model=model)
    if json:
        console.print_json(found)
        return
    grid = console.grid(f"Nearest to {found.path}, by {found.kind}", "distance", "track", "tags of both")
    for one in found.neighbours:
        grid.add_row(f"{one.distance:.3f}", console.printable(one.path), console.printable(", ".join(one.shared)))
    console.rich_console(stderr=False).print(grid)
