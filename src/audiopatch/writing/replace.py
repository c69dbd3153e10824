"""A file exchanged for a changed copy of itself: at any instant its name leads to all of the old or all of the new."""

# Paths stay strings here: names on a disk need not be text, and os does as it is told.
# ruff: noqa: PTH105, PTH108, PTH116, PTH118, PTH120

from __future__ import annotations

import errno
import hashlib
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from audiopatch.writing.journal import sync_folder

_CHUNK = 1 << 20


class Refused(Exception):
    """A file that is left as it is; the text says why."""


@dataclass(frozen=True)
class Exchange:
    """``path`` is where the file really lies, ``aside`` its copy beside it, ``before`` what the system said of it."""

    path: str
    aside: str
    before: os.stat_result
    sha256: str  # of the bytes that were copied

    def commit(self, *, mtime_ns: int | None) -> None:
        """Let the copy take the file's place. Before this nothing has changed, and after it everything is durable.

        The copy gets owner, mode, extended attributes (access control lists are among them) and, unless None, the
        given modification time. Refused where one of these cannot be kept, or the file is no longer what was copied.
        """
        _dress(self.aside, self.path, self.before, mtime_ns)
        _sync(self.aside)
        check_unchanged(self.path, self.before)
        os.replace(self.aside, self.path)
        sync_folder(Path(self.path).parent)


@contextmanager
def exchange(path: str, *, break_links: bool = False) -> Iterator[Exchange]:
    """A copy of the file beside it, to be changed and committed; what is not committed leaves nothing behind.

    A symbolic link stays one: the file it leads to is exchanged. Refused for what cannot be exchanged safely.
    """
    path = os.path.realpath(path)
    before = _check(path, break_links)
    aside = aside_of(path)
    try:
        yield Exchange(path, aside, before, _copy(path, aside))
    finally:
        with suppress(OSError):
            os.unlink(aside)


def aside_of(path: str) -> str:
    """Where a copy of the file lies while it is changed: hidden, of no audio format, and the same every time."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".audiopatch-{hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()}.tmp")


def clear_aside(path: str) -> None:
    """Remove the copy that a crash may have left beside a file."""
    with suppress(OSError):
        os.unlink(aside_of(os.path.realpath(path)))


def check_unchanged(path: str, before: os.stat_result) -> None:
    """Refused where the name leads to another file by now, or somebody has written to it."""
    now = os.stat(path, follow_symlinks=False)
    if (now.st_ino, now.st_size, now.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns):
        raise Refused("another program changed it at the same time")


def words(error: OSError) -> str:
    """The system's reason, as a sentence about the file."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "no space left for a copy beside it"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"may not be changed: {error.strerror}"
    return error.strerror or str(error)


def _check(path: str, break_links: bool) -> os.stat_result:
    """What can be told before anything is touched."""
    try:
        before = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        raise Refused("no such file") from None
    if not stat.S_ISREG(before.st_mode):
        raise Refused("not a regular file")
    if before.st_nlink > 1 and not break_links:
        raise Refused(
            f"has {before.st_nlink} names (hard links), which must stay one file; "
            "--break-links changes it under this name alone"
        )
    if not before.st_mode & 0o222 or not os.access(path, os.W_OK):
        raise Refused("is read-only")
    if not os.access(os.path.dirname(path), os.W_OK | os.X_OK):
        raise Refused("its folder is read-only")
    _check_nobody_writes(path)
    return before


def _check_nobody_writes(path: str) -> None:
    """Refused where a program has the file open for writing, as far as this system tells (Linux, local disks)."""
    try:
        import fcntl
    except ImportError:  # Windows, which does not let such a file be replaced
        return
    if not hasattr(fcntl, "F_SETLEASE"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # The lease is given up at once; whoever opens the file in between makes the kernel send a signal, whose
        # default would be death. SIGURG's is nothing.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
            raise Refused("another program has it open for writing") from None
    finally:
        os.close(descriptor)


def _copy(path: str, aside: str) -> str:
    """Copy the bytes alone, to a file that only this user may read so far; their sha256."""
    digest = hashlib.sha256()
    with suppress(FileNotFoundError):
        os.unlink(aside)
    descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with open(path, "rb") as source, open(descriptor, "wb") as copy:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            copy.write(chunk)
    return digest.hexdigest()


def _dress(aside: str, path: str, before: os.stat_result, mtime_ns: int | None) -> None:
    made = os.stat(aside)
    if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.chown(aside, before.st_uid, before.st_gid)
        except PermissionError:
            raise Refused("its owner or group could not be kept") from None
    os.chmod(aside, stat.S_IMODE(before.st_mode))  # noqa: PTH101
    _copy_attributes(path, aside)
    if mtime_ns is not None:
        os.utime(aside, ns=(before.st_atime_ns, mtime_ns))


def _copy_attributes(path: str, aside: str) -> None:
    """Extended attributes, among them access control lists."""
    if not hasattr(os, "listxattr"):
        return
    wanted = _attributes(path)
    for name, value in wanted.items():
        with suppress(OSError):
            os.setxattr(aside, name, value)
    if lost := [name for name, value in wanted.items() if _attributes(aside).get(name) != value]:
        raise Refused(f"its extended attribute {lost[0]} could not be kept")


def _attributes(path: str) -> dict[str, bytes]:
    try:
        return {name: os.getxattr(path, name) for name in os.listxattr(path)}
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return {}
        raise


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
