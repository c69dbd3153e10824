"""``audiopatch train --list``: every recipe as tables by paper, or as JSON."""

from __future__ import annotations

import json
from itertools import groupby

import typer

from audiopatch.cli.console import rich_console
from audiopatch.training.recipes import TrainRecipe, recipes

_SHORT = {"map_macro": "mAP", "roc_auc_macro": "ROC-AUC", "accuracy": "accuracy"}


def print_recipes(*, as_json: bool) -> None:
    """Recipe, experiment and published result, one table per paper, on stdout; the command stands below."""
    if as_json:
        typer.echo(json.dumps([_facts(found) for found in recipes().values()], indent=2, ensure_ascii=False))
        return
    from rich.table import Table

    console = rich_console(stderr=False)
    for paper, rows in groupby(recipes().values(), key=lambda found: found.paper):
        grid = Table(title=paper or "Your own labels and others, on the default model", box=None, title_justify="left")
        grid.add_column("recipe", no_wrap=True, style="bold")
        grid.add_column("dataset", no_wrap=True)
        grid.add_column("experiment")
        grid.add_column("published", no_wrap=True)
        for found in rows:
            grid.add_row(found.name, found.config.dataset, found.title, _published(found))
        console.print(grid)
        console.print()
    console.print("Each runs as: audiopatch train RECIPE --data-dir DIR (folds: --fold all)")
    console.print("–: the paper has a figure that we could not read; --json says where the others were read")


def _published(found: TrainRecipe) -> str:
    if found.paper and not found.published:
        return "–"
    return ", ".join(f"{_SHORT[name]} {value:.4g}" for name, value in found.published.items())


def _facts(found: TrainRecipe) -> dict[str, object]:
    return {
        "name": found.name,
        "title": found.title,
        "dataset": found.config.dataset,
        "paper": found.paper,
        "note": found.note,
        "published": dict(found.published),
        "source": found.source,
        "command": found.command,
    }
