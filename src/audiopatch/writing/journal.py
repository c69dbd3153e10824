"""What was written, and the way back: appended and made durable before the file it is about changes."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO

from audiopatch.errors import UsageError

FOLDER = "writes"  # in the folder of the tables: one folder per write
_NAME = "journal"
# A record: this, the lengths of its two parts, the sha256 of both, a JSON object, and bytes.
_MAGIC = b"\x89apj"
_HEAD = struct.Struct("<4sII32s")


@dataclass(frozen=True)
class JournalRecord:
    """One entry: what it says, and where the bytes with it are."""

    said: dict[str, Any]
    path: Path
    begin: int
    end: int

    def content(self) -> bytes:
        """The bytes, read now."""
        with self.path.open("rb") as file:
            file.seek(self.begin)
            return file.read(self.end - self.begin)


@dataclass(frozen=True)
class Write:
    """One write, as its journal tells it; ``name`` says when it began."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def records(self) -> Iterator[JournalRecord]:
        """All that are whole, in their order; what a crash cut off, or a disk spoilt, is passed over."""
        path = self.folder / _NAME
        if not path.is_file() or not path.stat().st_size:
            return
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            for at, end in _whole(data):
                yield _read(data, path, at, end)

    def state(self) -> str:
        """``unfinished``, ``written``, ``undone`` or ``partly undone``."""
        state = "unfinished"
        for record in self.records():
            if record.said["kind"] == "end":
                state = "written"
            elif record.said["kind"] == "undone":
                state = record.said["state"]
        return state

    def size_bytes(self) -> int:
        """What it takes on the disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def delete(self) -> None:
        """Forget it: nothing it did can be undone any more."""
        shutil.rmtree(self.folder)


class WriteJournal:
    """A write's journal, open for more. A context manager."""

    def __init__(self, write: Write):
        self._path = write.folder / _NAME
        new = not self._path.exists()
        self._file: BinaryIO = open(self._path, "ab", buffering=0)  # noqa: SIM115 closed in __exit__
        if new:
            sync_folder(self._path.parent)
        self._cut_off_what_is_torn()

    def __enter__(self) -> WriteJournal:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def append(self, content: bytes = b"", *, durable: bool = True, **said: Any) -> None:
        """Write a record, which is on the disk then. OSError where there is no room for it; nothing of it is left."""
        text = json.dumps(said).encode()
        before = os.fstat(self._file.fileno()).st_size
        record = _HEAD.pack(_MAGIC, len(text), len(content), sha256(text + content).digest()) + text + content
        try:
            for at in range(0, len(record), 1 << 20):
                piece = record[at : at + (1 << 20)]
                while piece:
                    piece = piece[self._file.write(piece) :]
            if durable:
                os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(before)
            raise

    def _cut_off_what_is_torn(self) -> None:
        size = os.fstat(self._file.fileno()).st_size
        if size:
            with self._path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
                sound = max((end for _, end in _whole(data)), default=0)
            if sound < size:
                self._file.truncate(sound)


def new_write(tables: Path) -> Write:
    """A folder for a write that begins now."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S-%f}"
    folder = tables / FOLDER / name
    folder.mkdir(parents=True)
    for made in (folder.parent, tables):
        sync_folder(made)
    return Write(folder)


def writes_in(tables: Path) -> list[Write]:
    """All writes whose journals are there, the oldest first."""
    place = tables / FOLDER
    return [Write(folder) for folder in sorted(place.iterdir()) if folder.is_dir()] if place.is_dir() else []


def find_write(tables: Path, name: str | None) -> Write | None:
    """The one of that name, or the last; None where there is none at all."""
    writes = writes_in(tables)
    if name is None:
        return writes[-1] if writes else None
    found = [write for write in writes if write.name == name]
    if not found:
        raise UsageError(
            f"there is no write '{name}' in {tables / FOLDER}; 'audiopatch undo --list' names those there are"
        )
    return found[0]


def writes_before(tables: Path, moment: datetime) -> list[Write]:
    """Those that began before a time."""
    return [write for write in writes_in(tables) if write.name < f"{moment.astimezone(UTC):%Y%m%dT%H%M%S}"]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _whole(data: mmap) -> Iterator[tuple[int, int]]:
    """Where each sound record begins and ends; after a spoilt one the next is looked for."""
    at = data.find(_MAGIC)
    while at >= 0:
        end = _end(data, at)
        if end is not None:
            yield at, end
        at = data.find(_MAGIC, end or at + 1)


def _end(data: mmap, at: int) -> int | None:
    if at + _HEAD.size > len(data):
        return None
    _, n_text, n_content, digest = _HEAD.unpack_from(data, at)
    begin = at + _HEAD.size
    end = begin + n_text + n_content
    return end if end <= len(data) and sha256(data[begin:end]).digest() == digest else None


def _read(data: mmap, path: Path, at: int, end: int) -> JournalRecord:
    n_text = _HEAD.unpack_from(data, at)[1]
    begin = at + _HEAD.size
    return JournalRecord(json.loads(data[begin : begin + n_text]), path, begin + n_text, end)
