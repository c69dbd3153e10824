"""A folder of tables on a disk, changed as a whole and held by one run at a time.

After a crash at any instant either all of a change is there or none: new files are written under ``.staging`` and
fsynced, then a log that lists every rename and deletion is renamed into place: from that instant the change has
happened. Applying it can be repeated, so recovery simply applies it again.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import BinaryIO

from filelock import FileLock, Timeout

from audiopatch.errors import EnvironmentProblem, OutputMismatchError
from audiopatch.tables.folder import Stored


@dataclass(frozen=True)
class LocalFile:
    """A file by its path, which may be that of a staged one whose change has been committed but not applied."""

    path: Path

    def __str__(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"

    def open(self) -> BinaryIO:
        return self.path.open("rb")

    def size_bytes(self) -> int:
        return self.path.stat().st_size

    def written(self) -> int:
        return self.path.stat().st_mtime_ns


@dataclass(frozen=True)
class LocalFolder:
    """``path`` and what is below it."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def spool(self) -> str:
        return str(self.path)

    def files(self, inside: str) -> dict[str, Stored]:
        """A listing is no snapshot: a change applied meanwhile may show in half of it, so two in a row must agree."""
        before, now = None, self._listed(inside)
        while now != before:
            before, now = now, self._listed(inside)
        return dict(now)

    def _listed(self, inside: str) -> dict[str, LocalFile]:
        place = self.path / inside
        present = {path.name: LocalFile(path) for path in (place.iterdir() if place.is_dir() else ())}
        renames, deletes = pending(self.path)
        for final, staged in renames.items():
            if Path(final).parent == Path(inside):
                present[Path(final).name] = LocalFile(self.path / staged)
        return {name: file for name, file in present.items() if f"{inside}/{name}" not in deletes}

    def find(self, name: str) -> LocalFile | None:
        file = LocalFile(self.path / name)
        return file if file.path.exists() else None

    def read_text(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write_text(self, name: str, text: str) -> None:
        with disk_errors(self.path):
            write_durably(self.path / name, text)

    @contextmanager
    def change(self) -> Iterator[Transaction]:
        with transaction(self.path) as change:
            yield change

    @contextmanager
    def locked(self) -> Iterator[None]:
        with locked(self.path):
            self.prepare()
            yield

    def shortcoming(self) -> str | None:
        error = _fsync(self.path)
        if error is None:
            return None
        return (
            f"the disk of {self.path} does not promise to keep what was written ({error.strerror}): after a power cut "
            "the latest tracks may be missing, and the same command finds and repeats them"
        )

    def below(self, name: str) -> LocalFolder:
        return LocalFolder(self.path / name)

    def prepare(self) -> None:
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            recover(self.path)

    def clear(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


STAGING = ".staging"
_LOG = re.compile(r"\w+\.json")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ENOENT}


@dataclass
class Transaction:
    """Staged renames and deletions inside ``folder``; paths are relative to it, as text."""

    folder: Path
    renames: dict[str, str] = field(default_factory=dict)
    deletes: list[str] = field(default_factory=list)
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def stage(self, final: str) -> Path:
        """Where to write the file that will appear as ``final``."""
        staged = f"{STAGING}/{self.name}-{len(self.renames)}"
        self.renames[staged] = _inside(final)
        (self.folder / STAGING).mkdir(parents=True, exist_ok=True)
        return self.folder / staged

    def move(self, file: LocalFile, final: str) -> None:
        """An existing file that will appear as ``final``."""
        self.renames[_inside(str(file.path.relative_to(self.folder)))] = _inside(final)

    def delete(self, path: str) -> None:
        """A file that will be gone, unless another takes its name."""
        self.deletes.append(_inside(path))

    def commit(self) -> None:
        """Make the change happen, durably."""
        if not self.renames and not self.deletes:
            return
        self.renames = {staged: final for staged, final in self.renames.items() if (self.folder / staged).exists()}
        self.deletes = [path for path in self.deletes if path not in self.renames.values()]
        for staged in self.renames:
            _fsync(self.folder / staged)
        log = self.folder / STAGING / f"{self.name}.json"
        log.parent.mkdir(parents=True, exist_ok=True)
        write_durably(log, json.dumps({"renames": self.renames, "deletes": self.deletes}))
        _apply(self.folder, log)

    def discard(self) -> None:
        """Forget the change and free its space."""
        for staged in self.renames:
            if staged.startswith(STAGING):
                (self.folder / staged).unlink(missing_ok=True)


@contextmanager
def transaction(folder: Path) -> Iterator[Transaction]:
    """Commits at the end of the block; an exception inside it leaves the folder as it was."""
    change = Transaction(folder)
    with disk_errors(folder):
        try:
            yield change
            change.commit()
        except BaseException:
            if not (folder / STAGING / f"{change.name}.json").exists():
                change.discard()
            raise


def recover(folder: Path) -> None:
    """Finish the change that a crash interrupted, then clear what was never committed. Call it under the lock."""
    staging = folder / STAGING
    for log in _logs(folder):
        _apply(folder, log)
    for leftover in staging.iterdir() if staging.is_dir() else ():
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _logs(folder: Path) -> list[Path]:
    """Those of changes that have happened. A synchroniser's copy of one has another name, and would undo later ones."""
    return sorted(log for log in (folder / STAGING).glob("*.json") if _LOG.fullmatch(log.name))


def pending(folder: Path) -> tuple[dict[str, str], set[str]]:
    """final -> present path of files that are committed but not yet in place, and the deletions to come."""
    renames: dict[str, str] = {}
    deletes: set[str] = set()
    for log in _logs(folder):
        try:
            moves, gone = _read_log(log)
        except FileNotFoundError:  # applied between the listing and the reading
            continue
        renames |= {final: staged for staged, final in moves.items() if (folder / staged).exists()}
        deletes |= set(gone)
    return renames, deletes


def write_durably(path: Path, text: str) -> None:
    """A small file replaced as a whole: written aside, fsynced, renamed, the folder fsynced."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(text, encoding="utf-8")
        _fsync(aside)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _fsync(path.parent)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """A full or read-only disk as a sentence for the user instead of a traceback."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise EnvironmentProblem(
                f"no space left for {folder}; what was finished is safe: free some space and run the same command again"
            ) from error
        if error.errno in _DENIED:
            raise EnvironmentProblem(
                f"cannot write to {folder}: {error.strerror}; choose another folder with -o"
            ) from error
        raise


def _apply(folder: Path, log: Path) -> None:
    renames, deletes = _read_log(log)
    touched = {folder / path for path in (*renames.values(), *deletes)}
    for staged, final in renames.items():
        (folder / final).parent.mkdir(parents=True, exist_ok=True)
        if (folder / staged).exists():
            (folder / staged).replace(folder / final)
    for path in deletes:
        (folder / path).unlink(missing_ok=True)
    for parent in {path.parent for path in touched if path.parent.is_dir()}:
        _fsync(parent)
    log.unlink()


def _read_log(log: Path) -> tuple[dict[str, str], list[str]]:
    """(renames, deletions) inside the folder. Folders are passed on: a log may be anybody's."""
    try:
        change = json.loads(log.read_text())
        renames = {_inside(present): _inside(final) for present, final in change["renames"].items()}
        return renames, [_inside(path) for path in change["deletes"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputMismatchError(f"{log} is no log of audiopatch; choose another folder with -o") from error


def _inside(path: str) -> str:
    """The path itself, where it cannot lead out of the folder it is relative to."""
    if PurePath(path).is_absolute() or ".." in PurePath(path).parts:
        raise OutputMismatchError(f"{path!r} leads out of the output folder; choose another folder with -o")
    return path


def _fsync(path: Path) -> OSError | None:
    """Have it on the disk; what a disk answers that cannot promise it (CIFS, FUSE, Windows folders) comes back.

    A disk that fails or is full is still an OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _FULL | {errno.EIO} or isinstance(error, FileNotFoundError):
            raise
        return error
    return None


_LOCK, _HOLDER = ".lock", ".lock.holder"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds ``folder`` for this process, or an OutputMismatchError that names who holds it.

    The system itself releases it when its holder dies. A disk that cannot lock is an EnvironmentProblem.
    """
    lock, holder = FileLock(folder / _LOCK, timeout=0), folder / _HOLDER
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            who = holder.read_text(encoding="utf-8", errors="replace") if holder.exists() else "unknown"
            raise OutputMismatchError(
                f"{folder} is in use by another run ({who}); wait for it to end, or choose another folder with -o"
            ) from None
        except (NotImplementedError, OSError) as error:  # some network disks
            if isinstance(error, OSError) and error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            raise EnvironmentProblem(
                f"the disk of the output cannot lock files ({error}), which keeps two runs apart; "
                "choose a folder on another with -o"
            ) from error
    try:
        with disk_errors(folder):
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        lock.release()
