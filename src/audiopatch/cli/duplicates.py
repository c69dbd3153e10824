"""``audiopatch duplicates``: recordings that a library has more than once."""

from __future__ import annotations

import typer

from audiopatch.cli import console
from audiopatch.cli import options as o
from audiopatch.cli.words import number

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False)


@app.command()
def duplicates(tables: o.Tables = "audiopatch.out", json: o.JsonResult = False) -> None:
    """List near-identical recordings, each group with its best file first. Nothing is deleted.

    [bold]audiopatch duplicates[/bold]               in ./audiopatch.out
    [bold]audiopatch duplicates --in vectors[/bold]  in the tables of another folder
    [bold]audiopatch duplicates --json[/bold]        for programs

    Finds the same recording in several encodings and folders; takes of the same song that differ are no duplicates.
    """
    from audiopatch.library.duplicates import duplicates as find

    groups = find(tables)
    if json:
        console.print_json(groups)
        return
    grid = console.grid("Recordings that are here more than once", "length", "format", "kbit/s", "alike", "file")
    for group in groups:
        for copy in group:
            minutes, seconds = divmod(round(copy.duration_s), 60)
            name = console.printable(copy.path) + (" (damaged)" if copy.damaged else "")
            alike = "" if copy is group[0] else f"{copy.similarity:.3f}"
            grid.add_row(f"{minutes}:{seconds:02d}", copy.codec, f"{copy.kbit_s:.0f}", alike, name)
        grid.add_section()
    if groups:
        console.rich_console(stderr=False).print(grid)
    more = [copy for group in groups for copy in group[1:]]
    wasted_mb = sum(copy.size_bytes for copy in more) / 1e6
    said = f"{number(len(groups))} recordings are here more than once" if groups else "No recording is here twice"
    console.say(said + (f": {number(len(more))} files, {wasted_mb:.0f} MB too many" if groups else ""))
