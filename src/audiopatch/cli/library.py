"""The commands that read the tables of a library: similar, playlist, duplicates, labels, report, compact."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from audiopatch.amounts import audio, number, size
from audiopatch.cli import console
from audiopatch.cli import options as o
from audiopatch.cli.durations import timed
from audiopatch.cli.progress import busy
from audiopatch.errors import UsageError
from audiopatch.option import TIME_FORMS
from audiopatch.zoo import DEFAULT_MODEL


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
    with busy("looking for what sounds alike"):
        from audiopatch.library.similar import similar as find

        found = find(song, tables, top=top, model=model)
    if json:
        console.print_json(found)
        return
    grid = console.grid(f"Nearest to {found.path}, by {found.kind}", "distance", "track", "tags of both")
    for one in found.neighbours:
        grid.add_row(f"{one.distance:.3f}", console.printable(one.path), console.printable(", ".join(one.shared)))
    console.rich_console(stderr=False).print(grid)


CHOICE, LIST = "What to choose by", "The list"


def playlist(
    like: Annotated[
        list[str] | None,
        typer.Option("--like", metavar="TRACK", help="Sound like this (repeat).", rich_help_panel=CHOICE),
    ] = None,
    unlike: Annotated[
        list[str] | None,
        typer.Option("--not", metavar="TRACK", help="And not like this (repeat).", rich_help_panel=CHOICE),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TRACK", help="Go from this track ...", rich_help_panel=CHOICE)
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--to", metavar="TRACK", help="... in small steps to this one.", rich_help_panel=CHOICE),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="SQL",
            help="Only tracks for which this holds, in columns of the tables tracks and tags, as in "
            "\"leaf = 'Jazz' and score > 0.4\". Alone or with the above.",
            rich_help_panel=CHOICE,
        ),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(
            "--order", metavar="SQL", help="With --where: score, or as in 'artist, album'.", rich_help_panel=CHOICE
        ),
    ] = None,
    length_s: Annotated[
        float | None,
        timed("--length", help=f"Until it lasts so long ({TIME_FORMS}).", rich_help_panel=LIST),
    ] = None,
    tracks: Annotated[
        int | None, typer.Option("--tracks", min=1, help="So many tracks.", show_default="25", rich_help_panel=LIST)
    ] = None,
    max_per_artist: Annotated[
        int, typer.Option("--max-per-artist", min=0, help="Spread over artists; 0: as it comes.", rich_help_panel=LIST)
    ] = 3,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", help="Another list of the same kind; the same number gives the same one.", rich_help_panel=LIST
        ),
    ] = None,
    tables: o.Tables = "audiopatch.out",
    model: o.RunModel = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="An .m3u8, .xspf or .jspf file.",
            show_default="m3u8 on stdout",
            rich_help_panel=o.OUTPUT,
        ),
    ] = None,
    relative: Annotated[
        bool,
        typer.Option(
            "--relative",
            help="Name tracks as seen from the playlist's folder, not absolutely.",
            rich_help_panel=o.OUTPUT,
        ),
    ] = False,
    json: o.JsonResult = False,
) -> None:
    """Make a playlist: like some tracks and unlike others, on the way from one to another, or by tags.

    [bold]audiopatch playlist --like a.mp3 --not c.mp3 --length 90m -o mix.m3u8[/bold]
    [bold]audiopatch playlist --from a.mp3 --to b.mp3 --tracks 20 -o way.m3u8[/bold]
    [bold]audiopatch playlist --where "leaf = 'Jazz'" --order score -o jazz.m3u8[/bold]

    Of near-identical recordings one is taken. All but --where needs tables with vectors: audiopatch tag --embeddings.
    """
    if relative and output is None:
        raise UsageError("--relative counts from the folder of the playlist; name it with -o")
    with busy("choosing tracks"):
        from audiopatch.library.playlist import playlist as choose
        from audiopatch.library.playlist_files import m3u8, write_playlist

        entries = choose(
            tables,
            like=like or (),
            unlike=unlike or (),
            start=start,
            end=end,
            where=where,
            order=order,
            length_s=length_s,
            n_tracks=tracks,
            max_per_artist=max_per_artist,
            seed=seed,
            model=model,
        )
    if output is not None:
        written = write_playlist(entries, output, relative=relative)
        for path in written.left_out:
            console.say(f"left out, its name fits no line of UTF-8 text: {path}")
    if json:
        console.print_json(entries, "tracks")
    elif output is None:
        print(m3u8(entries), end="")
    total_s = sum(entry.duration_s for entry in entries)
    where_to = f" → {output}" if output else ""
    console.say(f"{number(len(entries))} tracks, {audio(total_s)}{where_to}")


def duplicates(tables: o.Tables = "audiopatch.out", json: o.JsonResult = False) -> None:
    """List near-identical recordings, each group with its best file first. Nothing is deleted.

    [bold]audiopatch duplicates[/bold]               in ./audiopatch.out
    [bold]audiopatch duplicates --in vectors[/bold]  in the tables of another folder
    [bold]audiopatch duplicates --json[/bold]        for programs

    Finds the same recording in several encodings and folders; takes of the same song that differ are no duplicates.
    """
    with busy("comparing all recordings"):
        from audiopatch.library.duplicates import duplicates as find

        groups = find(tables)
    if json:
        console.print_json(groups, "groups")
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
        console.print_json(found, "labels")
        return
    out = console.rich_console(stderr=False)
    for group, several in groupby(found, key=lambda label: label.group):
        out.print(
            f"{group or 'other'}: " + console.printable(", ".join(label.leaf for label in several)), soft_wrap=True
        )


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
    with busy("drawing the map and the page"):
        from audiopatch.library.report import report as write

        page = write(output, tables)
    if json:
        console.print_json(page)
    without = "" if page.has_map else ", without a map: the tables hold no vectors (tag --embeddings)"
    console.say(f"wrote {page.path}: {number(page.n_tracks)} tracks, {size(page.size_bytes)}{without}")


@dataclass(frozen=True)
class CompactedFolder:
    """How many parts a folder had, and has now."""

    folder: str
    parts_before: int
    parts_after: int


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
        console.print_json(CompactedFolder(folder, done.n_before, done.n_after))
    elif done.n_after == done.n_before:
        console.say(f"Nothing to merge in {folder}/")
    else:
        console.say(f"Merged {number(done.n_before)} parts into {number(done.n_after)} → {folder}/")
