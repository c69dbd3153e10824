"""``audiopatch compact``: the many small parts of an output folder become few."""

from __future__ import annotations

from typing import Annotated

import typer

from audiopatch.cli import console
from audiopatch.cli import options as o
from audiopatch.cli.words import number

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False)


@app.command()
def compact(
    folder: Annotated[str, typer.Argument(help="An output folder of tag or embed.")] = "audiopatch.out",
    part_mb: Annotated[int, typer.Option("--part-mb", min=1, help="How large a part may grow.")] = 64,
    json: o.JsonResult = False,
) -> None:
    """Merge small parts, so that every reader opens the tables faster. No row changes.

    [bold]audiopatch compact[/bold]                         the tables in ./audiopatch.out
    [bold]audiopatch compact vectors[/bold]                 those of another folder
    [bold]audiopatch compact vectors --part-mb 512[/bold]   fewer and larger parts

    A run does this by itself at its end. Readers may go on meanwhile: they see the old parts or the new ones.
    """
    from audiopatch.tables.compaction import compact_folder

    done = compact_folder(folder, part_bytes=part_mb << 20)
    if json:
        console.print_json({"folder": folder, "parts_before": done.n_before, "parts_after": done.n_after})
    elif done.n_after == done.n_before:
        console.say(f"Nothing to merge in {folder}/")
    else:
        console.say(f"Merged {number(done.n_before)} parts into {number(done.n_after)} → {folder}/")
