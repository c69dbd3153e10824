"""``audiopatch labels``: the words a model or a run has for music."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated

import typer

from audiopatch.cli import console
from audiopatch.cli import options as o
from audiopatch.zoo import DEFAULT_MODEL

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False)


@app.command()
def labels(
    words: Annotated[
        str | None, typer.Argument(help="Only labels that these words mean, such as metal.", show_default=False)
    ] = None,
    tables: Annotated[
        str | None, typer.Option("--in", metavar="DIR", help="Those of the tables in this folder.")
    ] = None,
    model: o.Model = DEFAULT_MODEL,
    json: o.JsonResult = False,
) -> None:
    """List the labels of a model or of a run, by what they say about a track.

    [bold]audiopatch labels[/bold]                     those of the default model
    [bold]audiopatch labels metal -m passt_20sec[/bold] what another calls metal
    [bold]audiopatch labels --in audiopatch.out[/bold] those of a run
    """
    from audiopatch.library.label_names import labels as find

    found = find(model, tables=tables, words=words)
    if json:
        console.print_json(found)
        return
    out = console.rich_console(stderr=False)
    for group, several in groupby(found, key=lambda label: label.group):
        out.print(
            f"{group or 'other'}: " + console.printable(", ".join(label.leaf for label in several)), soft_wrap=True
        )
