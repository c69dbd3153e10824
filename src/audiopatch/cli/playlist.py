"""``audiopatch playlist``: tracks chosen by sound or by their tags, as a file that players read."""

from __future__ import annotations

from typing import Annotated

import typer

from audiopatch.cli import console
from audiopatch.cli import options as o
from audiopatch.cli.words import audio, number
from audiopatch.errors import UsageError

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False)

CHOICE, LIST = "What to choose by", "The list"


@app.command()
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
    length: Annotated[
        str | None,
        typer.Option("--length", metavar="TIME", help="Until it lasts so long, as 90m or 2h.", rich_help_panel=LIST),
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
    from audiopatch.library.playlist import playlist as choose
    from audiopatch.library.playlist_files import m3u8, write_playlist

    if relative and output is None:
        raise UsageError("--relative counts from the folder of the playlist; name it with -o")
    entries = choose(
        tables,
        like=like or (),
        unlike=unlike or (),
        start=start,
        end=end,
        where=where,
        order=order,
        length_s=None if length is None else o.parse_duration(length),
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
        console.print_json(entries)
    elif output is None:
        print(m3u8(entries), end="")
    total_s = sum(entry.duration_s for entry in entries)
    where_to = f" → {output}" if output else ""
    console.say(f"{number(len(entries))} tracks, {audio(total_s)}{where_to}")
