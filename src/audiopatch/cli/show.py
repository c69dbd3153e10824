"""``audiopatch show``: the tags of a library, of a track, or the tracks of a label, on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiopatch.amounts import audio, number
from audiopatch.cli import console
from audiopatch.cli import options as o
from audiopatch.cli.progress import busy

if TYPE_CHECKING:
    from audiopatch.library.show import Glance, LabelTracks, Shown, Tag


_TITLES = {
    "": "tags",
    "genre": "genres",
    "mood": "moods",
    "era": "eras",
    "voice": "voices",
    "instrument": "instruments",
}
_TITLES |= {"role": "uses", "sound": "sounds"}
_PER_GROUP = 3  # tags of a track in a table of several
_GUESS = "? marks a guess: a score below the label's threshold (0.1 where none was measured)"


def show(
    what: Annotated[
        str | None,
        typer.Argument(
            help="A track (its path, or the end of it), or a label such as metal.", autocompletion=o.complete_labels
        ),
    ] = None,
    tables: o.Tables = "audiopatch.out",
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="How many tracks of a label.")] = 10,
    json: o.JsonResult = False,
) -> None:
    """Show what was found: the library at a glance, the tags of one track, the best tracks of a label.

    [bold]audiopatch show[/bold]              genres, moods and instruments of ./audiopatch.out
    [bold]audiopatch show song.mp3[/bold]     one track's tags
    [bold]audiopatch show metal -k 50[/bold]  the tracks that are most metal
    """
    with busy("reading the tables"):
        from audiopatch.library.show import Glance, LabelTracks
        from audiopatch.library.show import show as find

        found = find(what, tables, top=top)
    if json:
        console.print_json(found)
    elif isinstance(found, Glance):
        _print_glance(found)
    elif isinstance(found, LabelTracks):
        _print_label(found)
    else:
        _print_track(found)


def print_tracks(tracks: Sequence[Shown], model: str, *, to_stdout: bool) -> None:
    """Each track's name and length, and below, group by group, its first tags that are meant, else a guess."""
    from rich.padding import Padding

    out = console.rich_console(stderr=not to_stdout)
    out.print(f"Tags by {console.printable(model)}")
    names, guessed = _short_names([track.path for track in tracks]), False
    for name, track in zip(names, tracks, strict=True):
        tags = [tag for tag in track.tags if tag.meant] or track.tags[:1]
        guessed |= any(not tag.meant for tag in tags)
        of_groups = ([_words(tag) for tag in tags if tag.group == group][:_PER_GROUP] for group in _TITLES)
        words = " · ".join(", ".join(some) for some in of_groups if some)
        mark = " (damaged)" if track.status == "damaged" else ""
        out.print(console.printable(f"{name}{mark}  {_length(track)}"), style="bold")
        out.print(Padding(console.printable(words or "no tags"), (0, 0, 0, 2)))
    if guessed:
        out.print(_GUESS)


def print_commonest(found: Glance) -> None:
    """A line per group: its commonest labels, and in how many tracks each is the best of the group."""
    from rich.table import Table

    out = console.rich_console(stderr=True)
    out.print(f"Commonest tags by {console.printable(found.model)} (tracks whose best of its kind it is)")
    grid = Table.grid(padding=(0, 2))
    for group, counts in groupby(found.counts, key=lambda count: count.group):
        words = ", ".join(f"{count.label} ({number(count.n_tracks)})" for count in counts)
        grid.add_row(f"  {_TITLES[group]}", console.printable(words))
    out.print(grid)


def _print_glance(found: Glance) -> None:
    out = console.rich_console(stderr=False)
    rest = [f"{number(found.n_damaged)} damaged"] if found.n_damaged else []
    rest += [f"{number(found.n_failed)} that could not be read"] if found.n_failed else []
    about = f"{number(found.n_tracks)} tracks, {audio(found.duration_s)}" + "".join(f", {one}" for one in rest)
    out.print(console.printable(f"{found.folder}: {about}; tags by {found.model}"))
    grid = console.grid("", "", "label", "tracks", "most of it", "score")
    for group, counts in groupby(found.counts, key=lambda count: count.group):
        grid.add_section()
        for place, count in enumerate(counts):
            best = console.printable(Path(count.best).name)
            title = "" if place else _TITLES[group]
            grid.add_row(title, console.printable(count.label), number(count.n_tracks), best, f"{count.score:.2f}")
    out.print(grid)
    out.print("Each track counts under its best label of a kind. The tracks of one: audiopatch show LABEL")
    if found.n_guessed:
        some = "1 track counts" if found.n_guessed == 1 else f"{number(found.n_guessed)} tracks count"
        out.print(f"{some} nowhere: there are only guesses ({found.meant_from})")


def _print_label(found: LabelTracks) -> None:
    out = console.rich_console(stderr=False)
    grid = console.grid(f"Most {found.label}" + (f" ({found.group})" if found.group else ""), "score", "track")
    for track in found.tracks:
        mark = " (damaged)" if track.status == "damaged" else ""
        grid.add_row(_score(track.tags[0]), console.printable(track.path + mark))
    out.print(grid if found.tracks else f"No track has {found.label} among its tags.")
    if any(not track.tags[0].meant for track in found.tracks):
        out.print(_GUESS)
    if found.others:
        out.print(console.printable(f"See also: {', '.join(found.others[:8])}"))
    if not found.complete:
        out.print(f"Only tracks with {found.label} among their tags; after 'tag --dense' every track is asked.")


def _print_track(found: Shown) -> None:
    out = console.rich_console(stderr=False)
    out.print(console.printable(found.path))
    mark = ", damaged: it was read as far as it goes" if found.status == "damaged" else ""
    out.print(f"{_length(found)}{mark}")
    for group in _TITLES:
        if tags := [tag for tag in found.tags if tag.group == group and tag.meant]:
            out.print(f"  {_TITLES[group]:<12}{console.printable(', '.join(map(_words, tags)))}")
    if guesses := [tag for tag in found.tags if not tag.meant]:
        out.print(f"  {'guesses':<12}{console.printable(', '.join(map(_words, guesses)))}")


def _words(tag: Tag) -> str:
    return f"{tag.label} {_score(tag)}"


def _score(tag: Tag) -> str:
    return f"{tag.score:.2f}{'' if tag.meant else '?'}"


def _length(track: Shown) -> str:
    minutes, seconds = divmod(round(track.duration_s), 60)
    return f"{minutes}:{seconds:02d}"


def _short_names(paths: Sequence[str]) -> Iterable[str]:
    """File names, with their folder where the tracks are from several."""
    folders = {Path(path).parent for path in paths}
    return [path.name if len(folders) == 1 else f"{path.parent.name}/{path.name}" for path in map(Path, paths)]
