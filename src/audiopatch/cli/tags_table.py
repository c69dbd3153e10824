"""The best tags of a few tracks as a Rich table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiopatch.cli.console import printable, rich_console

if TYPE_CHECKING:
    from audiopatch.tables.read import Tables

_N_TAGS = 5


def print_tags(tables: Tables, *, to_stdout: bool) -> None:
    """One line per track: name, length, and its first tags with their scores."""
    from rich.table import Table

    grid = Table(title=printable(f"Tags by {tables.run['parameters']['model']}"), title_justify="left")
    grid.add_column("track", overflow="fold")
    grid.add_column("length", justify="right")
    grid.add_column("tags, best first (score)", overflow="fold")
    best = tables.tags[tables.tags["rank"] <= _N_TAGS] if len(tables.tags) else tables.tags
    by_track = dict(tuple(best.groupby("track_id", sort=False))) if len(best) else {}
    track: Any
    for track in tables.tracks.itertuples():
        tags = by_track.get(track.track_id)
        words = (
            ""
            if tags is None
            else ", ".join(f"{leaf} {score:.2f}" for leaf, score in zip(tags["leaf"], tags["score"], strict=True))
        )
        minutes, seconds = divmod(round(track.duration_s), 60)
        grid.add_row(printable(Path(track.path).name), f"{minutes}:{seconds:02d}", printable(words))
    rich_console(stderr=not to_stdout).print(grid)
