"""``audiopatch write``: what the tables found, into the files' own tags; a preview, a file to review, or the deed."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiopatch.amounts import number, size
from audiopatch.cli import console
from audiopatch.cli import options as o
from audiopatch.cli.progress import showing
from audiopatch.errors import UsageError
from audiopatch.events import Doing, counted
from audiopatch.writing.changes import Change, read_changes

if TYPE_CHECKING:
    from audiopatch.writing.apply import Written
    from audiopatch.writing.propose import Proposal


WHICH, HOW = "What goes where", "How it is written"
_SHOWN_TRACKS, _SHOWN_VALUES, _SHOWN_REFUSED, _SHOWN_LABELS = 40, 8, 10, 3


@dataclass(frozen=True)
class Refusal:
    """A file that was left as it is, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class PreviewCounts:
    """Tracks looked at; fields and files that would change; fields kept as they are or right already; refused files."""

    tracks: int
    changes: int
    files: int
    kept: int
    same: int
    refused: int


@dataclass(frozen=True)
class Preview:
    """What a write would change; ``no_field`` are labels of no known group, such as one's own, that no field takes."""

    changes: tuple[Change, ...]
    refused: tuple[Refusal, ...]
    counts: PreviewCounts
    no_field: tuple[str, ...]


@dataclass(frozen=True)
class WriteCounts:
    """Files that were written, held the values already, hold others of the user's, or were refused."""

    written: int
    unchanged: int
    kept: int
    refused: int


@dataclass(frozen=True)
class Applied:
    """What a write did: its name is what undo takes, ``fields`` how many were written.

    ``no_field`` are labels of no known group, such as one's own, that no field takes.
    """

    write: str
    counts: WriteCounts
    fields: int
    refused: tuple[Refusal, ...]
    journal_bytes: int
    interrupted: bool
    no_field: tuple[str, ...]


def _best(what: str) -> Any:
    return typer.Option(min=0, metavar="N", help=what, show_default=False, rich_help_panel=WHICH)


BreakLinks = Annotated[
    bool,
    typer.Option(
        "--break-links",
        help="Also change files that have several names (hard links), under one name alone.",
        rich_help_panel=HOW,
    ),
]


def write(
    tables: o.Tables = "audiopatch.out",
    genre: Annotated[int | None, _best("The best N genres. Default, if no field is named: 2.")] = None,
    mood: Annotated[int | None, _best("The best N moods.")] = None,
    instrument: Annotated[int | None, _best("The best N instruments, in a field INSTRUMENT.")] = None,
    comment: Annotated[int | None, _best("The best N labels of any kind, as one comment.")] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="fill: only fields without a value; append: after what is there; replace: instead of it.",
            autocompletion=o.one_of("fill", "append", "replace"),
            show_default="fill",
            rich_help_panel=WHICH,
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score",
            min=0,
            max=1,
            help="Only labels from this score on.",
            show_default="the model's thresholds, or 0.1",
            rich_help_panel=WHICH,
        ),
    ] = None,
    parents: Annotated[
        bool,
        typer.Option("--parents", help="Also each label's parent: Electronic for House.", rich_help_panel=WHICH),
    ] = False,
    rules: Annotated[
        str | None,
        typer.Option(
            "--rules", metavar="FILE", help="A TOML file: more fields, names of your own.", rich_help_panel=WHICH
        ),
    ] = None,
    changes: Annotated[
        str | None,
        typer.Option(
            "--changes",
            metavar="FILE|-",
            help="Write the changes there as JSON lines, to review; with --apply: make those that stand there.",
            rich_help_panel=HOW,
        ),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Change the files.", rich_help_panel=HOW)] = False,
    touch: Annotated[
        bool,
        typer.Option(
            "--touch/--keep-mtime",
            help="Give changed files the time of now, which some media servers need to see them.",
            rich_help_panel=HOW,
        ),
    ] = False,
    break_links: BreakLinks = False,
    upgrade_id3: Annotated[
        bool,
        typer.Option("--upgrade-id3", help="Make ID3v2.2 tags 2.4, to write into them.", rich_help_panel=HOW),
    ] = False,
    json: o.JsonResult = False,
    quiet: o.Quiet = False,
) -> None:
    """Write labels into the files' own tags. Shows what would change; --apply does it, 'undo' takes it back.

    [bold]audiopatch write[/bold]                             what would change
    [bold]audiopatch write --genre 1 --mood 2 --apply[/bold]  do it
    [bold]audiopatch write --changes c.jsonl[/bold]           a file to review

    [bold]write --changes c.jsonl --apply[/bold] then does what is left in the file.

    Nothing but tags changes, and only where a file has no value yet (--policy fill). Everything can be undone.
    """
    from audiopatch.writing.apply import apply_changes
    from audiopatch.writing.propose import propose_changes

    proposal, reviewed = None, None
    if apply and changes is not None:
        if any(value is not None for value in (genre, mood, instrument, comment, policy, min_score, rules)) or parents:
            raise UsageError(f"{changes} says what is written: give --genre and its like where it is made")
        reviewed = _read(changes)
    else:
        with showing(quiet=quiet) as observer:
            proposal = propose_changes(
                tables,
                genre=genre,
                mood=mood,
                instrument=instrument,
                comment=comment,
                policy=policy,
                min_score=min_score,
                parents=parents,
                rules=rules,
                advance=counted(observer, "looking"),
            )
    if not apply:
        _preview(proposal, changes, tables, as_json=json, quiet=quiet)
        return
    todo = reviewed if reviewed is not None else list(proposal or ())
    n_files = len({change.path for change in todo})
    with console.stop_on_signals() as stop, showing(quiet=quiet) as observer:
        done = itertools.count(1)
        written = apply_changes(
            todo,
            tables,
            touch=touch,
            break_links=break_links,
            upgrade_id3=upgrade_id3,
            stop=stop.is_set,
            advance=lambda _: observer(Doing("writing", next(done), n_files)),
        )
    _tell(written, proposal, tables, as_json=json, quiet=quiet)
    if written.interrupted:
        raise typer.Exit(stop.exit_code)
    if written.n("refused"):
        raise typer.Exit(console.SOME_FAILED)


def _read(source: str) -> list[Change]:
    if source == "-":
        return list(read_changes(sys.stdin, "stdin"))
    try:
        with Path(source).open(encoding="utf-8") as lines:
            return list(read_changes(lines, source))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the changes in {source}: {error}") from None


def _preview(proposal: Proposal | None, changes: str | None, tables: str, *, as_json: bool, quiet: bool) -> None:
    assert proposal is not None
    if changes == "-":
        for change in proposal:
            typer.echo(change.line())
    elif changes is not None:
        Path(changes).write_text("".join(f"{change.line()}\n" for change in proposal), encoding="utf-8")
    elif as_json:
        console.print_json(_preview_of(proposal))
    elif len(proposal) and not quiet:
        _print_table(proposal)
    if not quiet:
        if proposal.note:
            console.say(proposal.note)
        _say_no_field(proposal)
        say_refused(proposal.refused)
        console.say(_preview_line(proposal, changes, tables))


def _preview_of(proposal: Proposal) -> Preview:
    counts = PreviewCounts(
        tracks=proposal.n_tracks,
        changes=len(proposal),
        files=len({change.path for change in proposal}),
        kept=proposal.n_kept,
        same=proposal.n_same,
        refused=len(proposal.refused),
    )
    refused = tuple(Refusal(path, reason) for path, reason in proposal.refused)
    return Preview(tuple(proposal), refused, counts, proposal.no_field)


def _print_table(proposal: Proposal) -> None:
    """The first tracks, album by album, and how often each value comes in all of them."""
    from rich.table import Table

    say = console.printable
    grid = Table(box=None, pad_edge=False)
    for name in ("track", "field", "now", "would be"):
        grid.add_column(name, overflow="fold")
    album_of = lambda change: (change.artist, change.album)  # noqa: E731
    ordered = sorted(proposal, key=lambda change: (album_of(change), change.path))
    shown: set[str] = set()
    for (artist, album), group in groupby(ordered, key=album_of):
        mine = list(group)
        if len(shown) >= _SHOWN_TRACKS:
            break
        n = len({change.path for change in mine})
        title = " – ".join(text for text in (artist, album) if text) or "without an album"
        grid.add_row(say(f"{title} ({number(n)} {'track' if n == 1 else 'tracks'})"), style="bold")
        for change in mine:
            if change.path not in shown and len(shown) >= _SHOWN_TRACKS:
                break
            name = "" if change.path in shown else change.title or Path(change.path).name
            shown.add(change.path)
            now, new = "; ".join(change.old) or "–", "; ".join(change.new) or "–"
            grid.add_row(f"  {say(name)}", change.field.lower(), say(now), say(new))
    out = console.rich_console(stderr=False)
    out.print(grid)
    if more := len({change.path for change in proposal}) - len(shown):
        out.print(f"… and {number(more)} more tracks: --changes FILE lists all")
    for name, values in proposal.counts().items():
        often = ", ".join(f"{say(value)} {number(n)}" for value, n in values.most_common(_SHOWN_VALUES))
        out.print(f"{name.lower()}: {often}{', …' if len(values) > _SHOWN_VALUES else ''}")


def _preview_line(proposal: Proposal, changes: str | None, tables: str) -> str:
    rest = [f"{number(proposal.n_kept)} kept as you have them"] if proposal.n_kept else []
    rest += [f"{number(proposal.n_same)} there already"] if proposal.n_same else []
    rest += [f"{_count(len(proposal.refused), 'file')} cannot be written"] if proposal.refused else []
    also = f" ({', '.join(rest)})" if rest else ""
    if not len(proposal):
        return f"Nothing to write: of {number(proposal.n_tracks)} tracks no field would change{also}"
    n_files = len({change.path for change in proposal})
    what = f"{_count(len(proposal), 'field')} of {_count(n_files, 'file')} would change{also}"
    if changes is not None:
        place = "" if tables == "audiopatch.out" else f" --in {tables}"
        return f"{what}; review {changes}, then: audiopatch write{place} --changes {changes} --apply"
    return f"{what}; the same command with --apply does it"


def _say_no_field(proposal: Proposal) -> None:
    """Which labels nothing would be written of, and what gives them a field."""
    names = proposal.no_field
    if not names:
        return
    some = console.printable(", ".join(f"'{name}'" for name in names[:_SHOWN_LABELS]))
    more = f" and {_count(len(names) - _SHOWN_LABELS, 'more label')}" if len(names) > _SHOWN_LABELS else ""
    console.say(
        f"{some}{more}: nobody knows whether that is a genre, so no field takes it; "
        "with the line 'fields.genre.groups = []' in a file, --rules FILE writes labels of any kind as genres"
    )


def say_refused(refused: Sequence[tuple[str, str]]) -> None:
    """The first files that were left as they are, and why."""
    for path, reason in refused[:_SHOWN_REFUSED]:
        console.say(f"{path}: {reason}")
    if len(refused) > _SHOWN_REFUSED:
        console.say(f"… and {number(len(refused) - _SHOWN_REFUSED)} more (--json lists all)")


def _tell(written: Written, proposal: Proposal | None, tables: str, *, as_json: bool, quiet: bool) -> None:
    refused = [(outcome.path, outcome.reason) for outcome in written.outcomes if outcome.what == "refused"]
    refused += proposal.refused if proposal is not None else []
    if as_json:
        counts = WriteCounts(written.n("written"), written.n("unchanged"), written.n("kept"), len(refused))
        files = tuple(Refusal(path, reason) for path, reason in refused)
        without = proposal.no_field if proposal is not None else ()
        console.print_json(
            Applied(written.name, counts, written.n_fields, files, written.journal_bytes, written.interrupted, without)
        )
    if quiet:
        return
    if proposal is not None:
        _say_no_field(proposal)
    say_refused(refused)
    if written.note:
        console.say(written.note)
    rest = [f"{number(written.n('unchanged'))} up to date"] if written.n("unchanged") else []
    rest += [f"{number(written.n('kept'))} kept as you have them"] if written.n("kept") else []
    rest += [f"{number(len(refused))} refused"] if refused else []
    also = f"; {', '.join(rest)}" if rest else ""
    if not written.n("written"):
        console.say(f"Nothing written{also}")
        return
    console.say(
        f"Wrote {_count(written.n_fields, 'field')} of {_count(written.n('written'), 'file')}{also} → "
        f"{tables}/writes/{written.name} ({size(written.journal_bytes)}); 'audiopatch undo' takes it back"
    )


def _count(n: int, what: str) -> str:
    return f"{number(n)} {what}{'' if n == 1 else 's'}"
