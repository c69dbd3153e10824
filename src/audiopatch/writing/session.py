"""One write or undo at a time: the journals of a folder of tables under a lock, and its rows kept true at the end."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from audiopatch.errors import EnvironmentProblem, OutputMismatchError, UsageError
from audiopatch.tables.folder import Folder
from audiopatch.tables.local import LocalFolder, disk_errors, locked
from audiopatch.tables.output import Stamp, restamp
from audiopatch.writing.journal import FOLDER, Write, WriteJournal, find_write, new_write, writes_in
from audiopatch.writing.replace import clear_aside


class Session:
    """The journal of this write: begun when the first file needs one, or that of a write that was interrupted."""

    def __init__(self, folder: LocalFolder, stack: ExitStack):
        self._folder, self._stack = folder, stack
        last = find_write(folder.path, None)
        self.write = last if last is not None and last.state() == "unfinished" else None
        self._journal: WriteJournal | None = None
        if self.write is not None:
            clear_leftovers(self.write)

    @property
    def name(self) -> str:
        """Empty as long as nothing was written."""
        return self.write.name if self.write is not None else ""

    def journal(self, path: str) -> WriteJournal:
        """The journal, which knows now that this file is next."""
        if self._journal is None:
            self.write = self.write or new_write(self._folder.path)
            self._journal = self._stack.enter_context(WriteJournal(self.write))
        self._journal.append(kind="at", path=path, durable=False)
        return self._journal

    def differs_by_tags(self, path: str, sha256: str, stamp: tuple[int, int]) -> bool:
        """Whether a journal has a file of these bytes and one of that size and time as before and after one write."""
        real = os.path.realpath(path)
        for write in writes_in(self._folder.path):
            for said in (record.said for record in write.records()):
                if said["kind"] == "file" and said["path"] == real:
                    states = said["old"], said["new"]
                    stamps = [(state["size_bytes"], state["mtime_ns"]) for state in states]
                    if stamp in stamps and sha256 in [state["sha256"] for state in states]:
                        return True
        return False

    def finish(self, *, done: bool) -> str:
        """Close the write, and let the tables follow its files; what to say where they could not."""
        if self.write is None:
            return ""
        if not any(record.said["kind"] == "file" for record in self.write.records()):
            self._stack.close()
            self.write.delete()
            self.write = None
            return ""
        if done:
            with WriteJournal(self.write) as journal:
                journal.append(kind="end")
        return follow(self._folder, self.write)


@contextmanager
def session(folder: Folder) -> Iterator[Session]:
    """Holds the journals in a folder of tables; OutputMismatchError where another write or undo does."""
    with ExitStack() as stack:
        here = on_disk(folder)
        stack.enter_context(held(here))
        yield Session(here, stack)


@contextmanager
def held(folder: LocalFolder) -> Iterator[None]:
    """The lock of the journals."""
    with disk_errors(folder.path), locked(folder.path / FOLDER):
        yield


def on_disk(folder: Folder) -> LocalFolder:
    """The folder itself; UsageError for one in a store, where a journal could not be made durable file by file."""
    if not isinstance(folder, LocalFolder):
        raise UsageError(f"{folder} is in a store: copy the tables to a disk, and name that folder with --in")
    return folder


def clear_leftovers(write: Write) -> None:
    """Remove the copies beside the music that a crash left."""
    for record in write.records():
        if record.said["kind"] == "at":
            clear_aside(record.said["path"])


def follow(folder: LocalFolder, write: Write, undone: Collection[str] = ()) -> str:
    """Give the rows of a write's files the size, time and genre these have now; what to say where that cannot be.

    ``undone`` are the paths of files that are as before the write.
    """
    stamps: dict[str, Stamp] = {}
    for record in write.records():
        said = record.said
        if said["kind"] == "file" and said["track_id"] and (stamp := _stamp(said, said["path"] in undone)) is not None:
            stamps[said["track_id"]] = stamp
    try:
        restamp(folder, stamps)
    except OutputMismatchError:
        return "the tables are in use by another run, which will know the files by their audio"
    except EnvironmentProblem as error:
        return f"the files are safe, but their rows in the tables stay as they were: {error}"
    return ""


def _stamp(said: dict[str, Any], undone: bool) -> Stamp | None:
    """The file's stamp, where it is as the write left it or as it was before; with room for tags both look alike."""
    try:
        about = os.stat(said["path"])  # noqa: PTH116
    except OSError:
        return None
    for state in ("old", "new") if undone else ("new", "old"):
        if (about.st_size, about.st_mtime_ns) == (said[state]["size_bytes"], said[state]["mtime_ns"]):
            genre = said["fields"].get("GENRE")
            return Stamp(about.st_size, about.st_mtime_ns, "; ".join(genre[state]) if genre else None)
    return None
