"""``audiopatch undo``: files as they were before a write, byte for byte."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer

from audiopatch.amounts import number, size
from audiopatch.cli import console
from audiopatch.cli import options as o
from audiopatch.cli.progress import showing
from audiopatch.cli.write import HOW, BreakLinks, Refusal, say_refused
from audiopatch.errors import UsageError
from audiopatch.events import Doing


@dataclass(frozen=True)
class UndoCounts:
    """Files that got their old bytes back, had them already, or were left as they are."""

    restored: int
    unchanged: int
    refused: int


@dataclass(frozen=True)
class TakenBack:
    """What an undo did, or would do, to the files of a write."""

    write: str
    dry_run: bool
    counts: UndoCounts
    refused: tuple[Refusal, ...]


def undo(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[WRITE]", help="A write by its name in --list.", show_default="the last"),
    ] = None,
    tables: o.Tables = "audiopatch.out",
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="GLOB", help="Only files whose path matches.", rich_help_panel=HOW),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, change nothing.", rich_help_panel=HOW)
    ] = False,
    break_links: BreakLinks = False,
    show: Annotated[bool, typer.Option("--list", help="The writes that can be undone.")] = False,
    forget_before: Annotated[
        str | None,
        typer.Option("--forget-before", metavar="DATE", help="Delete the journals of older writes, for good."),
    ] = None,
    json: o.JsonResult = False,
    quiet: o.Quiet = False,
) -> None:
    """Take a write back: its files have the bytes they had, unless somebody changed them since.

    [bold]audiopatch undo[/bold]                   the last write
    [bold]audiopatch undo --list[/bold]            all of them, and what they take
    [bold]audiopatch undo --only 'Artist/*'[/bold] of some files alone

    [bold]undo --forget-before 2027-01-31[/bold] frees the room of old ones.
    """
    from audiopatch.writing.undo import undo as take_back

    if show:
        _list(tables, json)
        return
    if forget_before is not None:
        _forget(tables, forget_before, json)
        return
    with console.stop_on_signals() as stop, showing(quiet=quiet) as observer:
        done = itertools.count(1)
        undone = take_back(
            tables,
            name,
            only=only or (),
            dry_run=dry_run,
            break_links=break_links,
            stop=stop.is_set,
            advance=lambda _: observer(Doing("taking back", next(done))),
        )
    refused = [(outcome.path, outcome.reason) for outcome in undone.outcomes if outcome.what == "refused"]
    if json:
        counts = UndoCounts(undone.n("restored"), undone.n("unchanged"), len(refused))
        files = tuple(Refusal(path, reason) for path, reason in refused)
        console.print_json(TakenBack(undone.name, dry_run, counts, files))
    if not quiet:
        say_refused(refused)
        rest = [f"{number(undone.n('unchanged'))} are as they were"] if undone.n("unchanged") else []
        rest += [f"{number(len(refused))} left as they are"] if refused else []
        also = f"; {', '.join(rest)}" if rest else ""
        if undone.note:
            console.say(undone.note)
        if undone.n("restored"):
            verb = "Would undo" if dry_run else "Undid"
            console.say(f"{verb} {undone.name}: {number(undone.n('restored'))} files have their old bytes{also}")
        else:
            console.say(f"Nothing to undo{also}")
    if undone.interrupted:
        raise typer.Exit(stop.exit_code)
    if refused:
        raise typer.Exit(console.SOME_FAILED)


def _list(tables: str, as_json: bool) -> None:
    from audiopatch.writing.undo import list_writes

    past = list_writes(tables)
    if as_json:
        console.print_json(past, "writes")
        return
    for one in past:
        typer.echo(f"{one.name}  {number(one.n_files)} files  {size(one.journal_bytes)}  {one.state}")
    if not past:
        console.say(f"Nothing was written from {tables}/ yet")


def _forget(tables: str, date: str, as_json: bool) -> None:
    from audiopatch.writing.undo import forget_before

    try:
        moment = datetime.fromisoformat(date)
    except ValueError:
        raise UsageError(f"--forget-before takes a date, as in 2027-01-31, not '{date}'") from None
    past = forget_before(tables, moment)
    if as_json:
        console.print_json(past, "writes")
    freed = size(sum(one.journal_bytes for one in past))
    console.say(f"Forgot {number(len(past))} {'write' if len(past) == 1 else 'writes'} ({freed}), for good")
