"""Take a write back: each file it changed has its old bytes again, unless somebody changed it since."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from mmap import ACCESS_READ, mmap
from typing import Any

from audiopatch.tables.output import folder_at
from audiopatch.writing.apply import FileOutcome
from audiopatch.writing.containers import check_installed, open_tags
from audiopatch.writing.delta import Bytes, apply_delta
from audiopatch.writing.journal import JournalRecord, Write, WriteJournal, find_write, writes_before, writes_in
from audiopatch.writing.replace import Exchange, Refused, exchange, words
from audiopatch.writing.session import clear_leftovers, follow, held, on_disk


@dataclass
class Undone:
    """What an undo did; ``outcomes`` are ``restored``, ``unchanged`` (already as before the write) or ``refused``."""

    name: str = ""
    outcomes: list[FileOutcome] = field(default_factory=list)
    interrupted: bool = False
    note: str = ""

    def n(self, what: str) -> int:
        """Files that ended so."""
        return sum(outcome.what == what for outcome in self.outcomes)


@dataclass(frozen=True)
class PastWrite:
    """A write that the journal knows: ``state`` is unfinished, written, undone or partly undone."""

    name: str
    state: str
    n_files: int
    journal_bytes: int


def undo(
    tables: str | os.PathLike[str] = "audiopatch.out",
    write: str | None = None,
    *,
    only: Sequence[str] = (),
    dry_run: bool = False,
    break_links: bool = False,
    stop: Callable[[], bool] = lambda: False,
    advance: Callable[[FileOutcome], object] = lambda outcome: None,
) -> Undone:
    """Take back the last write, or one by its name: its files get the bytes and the modification time they had.

    The empty name is that of a write which found nothing to do, and there is nothing to take back.

    ``only``: files whose path matches one of these patterns, as in ``Artist/*``. A file that was changed since is
    left as it is and says so. ``dry_run`` finds out what would happen and changes nothing.
    """
    check_installed()
    folder = on_disk(folder_at(tables))
    found = None if write == "" else find_write(folder.path, write)
    if found is None:
        return Undone()
    with held(folder):
        if not dry_run:
            clear_leftovers(found)
        undone = Undone(found.name)
        with WriteJournal(found) as journal:
            for path, records in _by_path(found.records(), only).items():
                if stop():
                    undone.interrupted = True
                    break
                outcome = _outcome(path, records, None if dry_run else journal, break_links)
                undone.outcomes.append(outcome)
                advance(outcome)
            if not dry_run and not undone.interrupted:
                partly = bool(only) or undone.n("refused")
                journal.append(kind="undone", state="partly undone" if partly else "undone")
        if not dry_run:
            back = {outcome.path for outcome in undone.outcomes if outcome.what != "refused"}
            undone.note = follow(folder, found, back)
    return undone


def list_writes(tables: str | os.PathLike[str] = "audiopatch.out") -> list[PastWrite]:
    """Every write whose journal is kept, the oldest first."""
    return [_past(write) for write in writes_in(on_disk(folder_at(tables)).path)]


def forget_before(tables: str | os.PathLike[str], moment: datetime) -> list[PastWrite]:
    """Delete the journals of writes that began before a time, which can no longer be undone then."""
    folder = on_disk(folder_at(tables))
    with held(folder):
        old = writes_before(folder.path, moment)
        past = [_past(write) for write in old]
        for write in old:
            write.delete()
        return past


def _past(write: Write) -> PastWrite:
    files = {record.said["path"] for record in write.records() if record.said["kind"] == "file"}
    return PastWrite(write.name, write.state(), len(files), write.size_bytes())


def _by_path(records: Iterable[JournalRecord], only: Sequence[str]) -> dict[str, list[JournalRecord]]:
    """What happened to each file that was asked for, the last first."""
    found: dict[str, list[JournalRecord]] = {}
    for record in records:
        if record.said["kind"] == "file" and (not only or _matches(record.said["path"], only)):
            found.setdefault(record.said["path"], []).insert(0, record)
    return found


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(path, form) for pattern in patterns for form in (pattern, f"*/{pattern}"))


def _outcome(
    path: str, records: Sequence[JournalRecord], journal: WriteJournal | None, break_links: bool
) -> FileOutcome:
    try:
        steps = _steps(path, records)
        if steps and journal is not None:
            journal.append(kind="at", path=path, durable=False)
            with exchange(path, break_links=break_links) as copy:
                _restore(copy, steps)
        return FileOutcome(path, "restored" if steps else "unchanged")
    except Refused as reason:
        return FileOutcome(path, "refused", str(reason))
    except OSError as error:
        return FileOutcome(path, "refused", "no such file" if isinstance(error, FileNotFoundError) else words(error))


def _steps(path: str, records: Sequence[JournalRecord]) -> list[JournalRecord]:
    """The records that lead back from what the file is now; none where it is what it was. Refused for anything else."""
    with open(path, "rb") as file:
        now = hashlib.file_digest(file, "sha256").hexdigest()
    steps = []
    for record in records:
        if now == record.said["new"]["sha256"]:
            steps.append(record)
            now = record.said["old"]["sha256"]
    if now != records[-1].said["old"]["sha256"]:
        raise Refused(f"was changed since: {_both(path, records)}")
    return steps


def _both(path: str, records: Sequence[JournalRecord]) -> str:
    """What the write left in each field, and what is there now."""
    try:
        _, tags = open_tags(path, upgrade=True)
    except (Refused, OSError) as error:
        return str(error)
    said: dict[str, Any] = {}
    for record in reversed(records):
        said |= record.said["fields"]
    shown = lambda values: "; ".join(values) or "empty"  # noqa: E731
    texts = [
        f"{name.lower()} was written as {shown(values['new'])}, is {shown(tags.read(name))}"
        for name, values in said.items()
    ]
    return ", ".join(texts)


def _restore(copy: Exchange, steps: Sequence[JournalRecord]) -> None:
    """Make the old bytes in the copy, check them, and let it take the file's place."""
    if copy.sha256 != steps[0].said["new"]["sha256"]:
        raise Refused("another program changed it at the same time")
    digest = hashlib.sha256()
    try:
        with (
            open(copy.path, "rb") as file,
            mmap(file.fileno(), 0, access=ACCESS_READ) as new,
            open(copy.aside, "wb") as old,
        ):
            content: Bytes = new
            for step in steps[:-1]:
                content = b"".join(apply_delta(step.content(), content))
            for chunk in apply_delta(steps[-1].content(), content):
                digest.update(chunk)
                old.write(chunk)
    except (ValueError, zlib.error) as error:
        raise Refused(f"its part of the journal is damaged ({error})") from None
    if digest.hexdigest() != steps[-1].said["old"]["sha256"]:
        raise Refused("its part of the journal is damaged")
    copy.commit(mtime_ns=steps[-1].said["old"]["mtime_ns"])
