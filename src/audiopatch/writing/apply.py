"""Write changes into files: each safely, one after another, what cannot be written refused by itself."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from typing import Any

from audiopatch.audio.packets import Packets, audio_hash_of
from audiopatch.errors import TrackError, first_line
from audiopatch.tables.read import Tables, read
from audiopatch.writing.changes import Change, alike, by_path, equal
from audiopatch.writing.containers import Tags, check_installed, open_tags
from audiopatch.writing.delta import apply_delta, make_delta
from audiopatch.writing.evidence import evidence
from audiopatch.writing.replace import Exchange, Refused, exchange, words
from audiopatch.writing.session import Session, session

_CHUNK = 1 << 20


@dataclass(frozen=True)
class FileOutcome:
    """How one file ended, and why.

    ``what`` is written, unchanged (it holds the values already), kept (it holds others of the user's) or refused.
    """

    path: str
    what: str
    reason: str = ""
    fields: tuple[str, ...] = ()


@dataclass
class Written:
    """What a write did: its ``name`` is what ``undo`` takes, ``journal_bytes`` what that takes on the disk."""

    name: str = ""
    outcomes: list[FileOutcome] = field(default_factory=list)
    interrupted: bool = False
    journal_bytes: int = 0
    note: str = ""

    def n(self, what: str) -> int:
        """Files that ended so."""
        return sum(outcome.what == what for outcome in self.outcomes)

    @property
    def n_fields(self) -> int:
        """Fields that were written."""
        return sum(len(outcome.fields) for outcome in self.outcomes)


@dataclass(frozen=True)
class How:
    """How files are written; ``run`` is what the tables say of the run the labels come from."""

    run: Mapping[str, Any]
    touch: bool = False
    break_links: bool = False
    upgrade_id3: bool = False


def apply_changes(
    changes: Iterable[Change],
    tables: Tables | str | os.PathLike[str] = "audiopatch.out",
    *,
    touch: bool = False,
    break_links: bool = False,
    upgrade_id3: bool = False,
    stop: Callable[[], bool] = lambda: False,
    advance: Callable[[FileOutcome], object] = lambda outcome: None,
) -> Written:
    """Write changes, as ``propose_changes`` or ``read_changes`` give them, into the files; ``undo`` takes them back.

    Files keep their modification time, or have that of now with ``touch``. One that has several names (hard links) is
    refused without ``break_links``, one with an ID3v2.2 tag without ``upgrade_id3``. ``tables`` is the folder whose
    labels these are: the journal is kept there, and its rows follow the files. What cannot be written safely is left
    as it is, with a reason among the outcomes.
    """
    check_installed()
    tables = tables if isinstance(tables, Tables) else read(tables)
    how = How(tables.run, touch, break_links, upgrade_id3)
    files = by_path(changes)
    written = Written()
    with session(tables.folder) as place:
        for path, mine in files.items():
            if stop():
                written.interrupted = True
                break
            outcome = _outcome(path, mine, place, how)
            written.outcomes.append(outcome)
            advance(outcome)
        written.note = place.finish(done=not written.interrupted)
        written.name = place.name
        written.journal_bytes = place.write.size_bytes() if place.write is not None else 0
    return written


def _outcome(path: str, changes: Sequence[Change], place: Session, how: How) -> FileOutcome:
    try:
        return write_file(path, changes, place, how)
    except Refused as reason:
        return FileOutcome(path, "refused", str(reason))
    except TrackError as error:
        return FileOutcome(path, "refused", f"its audio cannot be checked: {error}")
    except OSError as error:
        return FileOutcome(path, "refused", "no such file" if isinstance(error, FileNotFoundError) else words(error))
    except Exception as error:  # an error of ours: this file is as it was, and the others shall not wait for it
        return FileOutcome(path, "refused", f"please report this: {type(error).__name__}: {first_line(error)}")


def write_file(path: str, changes: Sequence[Change], place: Session, how: How) -> FileOutcome:
    """Make the changes of one file, those that are not there yet.

    In this order: a copy beside the file is changed and compared with it, the way back is in the journal, the copy
    takes the file's place. Refused, TrackError or OSError leave the file as it was.
    """
    real = os.path.realpath(path)
    kind, tags = open_tags(real, upgrade=True)
    if not _wanted(tags, changes):
        kept = any(not equal(tags.read(change.field), change.new) for change in changes)
        return FileOutcome(path, "kept" if kept else "unchanged")
    before = kind.packets(real)
    diary = place.journal(real)
    with exchange(real, break_links=how.break_links) as copy:
        _check_audio(copy, changes, place)
        _, tags = open_tags(copy.aside, named=real, upgrade=how.upgrade_id3)
        wanted = _wanted(tags, changes)
        values = {change.field: change.new for change in wanted} | evidence(how.run, wanted)
        body = tags.body(copy.aside)
        _save(tags, copy, values)
        _compare(copy, tags, values, body, before)
        mtime_ns = time.time_ns() if how.touch else copy.before.st_mtime_ns
        content, said = _way_back(copy, mtime_ns)
        fields = {change.field: {"old": tags.read(change.field), "new": change.new} for change in wanted}
        diary.append(content, kind="file", path=real, track_id=wanted[0].track_id, fields=fields, **said)
        copy.commit(mtime_ns=mtime_ns)
    return FileOutcome(path, "written", fields=tuple(fields))


def _wanted(tags: Tags, changes: Sequence[Change]) -> list[Change]:
    """The changes that are not there yet. Refused where the file holds something else than the plan saw.

    Where nothing was seen and there is something, that stays: tables do not know what every file holds.
    """
    wanted = []
    for change in changes:
        now = tags.read(change.field)
        if equal(now, change.new) or (now and not change.old):
            continue
        if not alike(now, change.old):
            raise Refused(f"its {change.field.lower()} is {_shown(now)} now, where {_shown(change.old)} was expected")
        wanted.append(change)
    return wanted


def _shown(values: Sequence[str]) -> str:
    return "; ".join(values) or "empty"


def _check_audio(copy: Exchange, changes: Sequence[Change], place: Session) -> None:
    """Refused where the file is no longer what was analysed; one that was only retagged or moved about is."""
    change, now = changes[0], copy.before
    if change.size_bytes < 0 or (now.st_size, now.st_mtime_ns) == (change.size_bytes, change.mtime_ns):
        return
    if change.audio_hash:
        same = audio_hash_of(copy.path) == change.audio_hash
    else:  # a format whose audio has none; an undo that was cut short leaves the tables a step behind
        same = place.differs_by_tags(copy.path, copy.sha256, (change.size_bytes, change.mtime_ns))
    if not same:
        raise Refused("is not what was analysed: its audio changed since; run 'audiopatch tag' again")


def _save(tags: Tags, copy: Exchange, values: Mapping[str, Sequence[str]]) -> None:
    try:
        tags.save(copy.aside, values)
    except (Refused, OSError):
        raise
    except Exception as error:  # whatever a tag writer does with a hostile file, the file itself is safe
        raise Refused(f"its tags cannot be written: {type(error).__name__}: {first_line(error)}") from None


def _compare(copy: Exchange, tags: Tags, values: Mapping[str, Sequence[str]], body: Any, before: Packets) -> None:
    """Refused where anything but the values differs between the file and its copy."""
    kind, now = open_tags(copy.aside, named=copy.path)
    for name, texts in values.items():
        if not equal(now.read(name), texts):
            raise Refused(f"does not take {_shown(texts)} as its {name.lower()}")
    if now.rest(values) != tags.rest(values):
        raise Refused("would lose something else in its tags")
    if now.body(copy.aside) != body or kind.packets(copy.aside, container=before.container) != before:
        raise Refused("something that is no tag would not be the same")


def _way_back(copy: Exchange, mtime_ns: int) -> tuple[bytes, dict[str, Any]]:
    """What makes the old bytes of the new ones, tried out, and what both are to be known by."""
    with open(copy.path, "rb") as old_file, open(copy.aside, "rb") as new_file:
        with _mapped(old_file) as old, _mapped(new_file) as new:
            content = make_delta(old, new)
            digest = hashlib.sha256()
            for chunk in apply_delta(content, new):
                digest.update(chunk)
            if digest.hexdigest() != copy.sha256:
                raise Refused("changed while it was read")
            sizes = len(old), len(new)
        new_sha256 = hashlib.file_digest(new_file, "sha256").hexdigest()
    return content, {
        "old": {"sha256": copy.sha256, "size_bytes": sizes[0], "mtime_ns": copy.before.st_mtime_ns},
        "new": {"sha256": new_sha256, "size_bytes": sizes[1], "mtime_ns": mtime_ns},
    }


def _mapped(file: Any) -> mmap:
    return mmap(file.fileno(), 0, access=ACCESS_READ)
