"""One file as decoders read it: here or in a store, between the tags at its ends, its reading errors remembered."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from audiopatch.errors import TrackError
from audiopatch.storage.place import is_remote
from audiopatch.storage.store import RemoteFile, about
from audiopatch.types import Track

# What an error says of the file itself. All the others (EIO, ESTALE, EMFILE, ...) are trouble of the moment.
_OF_THE_FILE = {errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.EINVAL, errno.ENXIO, errno.EOVERFLOW}


class AudioFile(io.RawIOBase):
    """The bytes of ``raw`` from ``start`` to before ``end``; ``path`` is None where it is not on this machine.

    Decoders take an error for the end of the file, or step over it. ``trouble`` keeps the first one for whoever asks
    them whether they have read all there is.
    """

    def __init__(self, raw: Any, *, name: str, size_bytes: int, path: str | None = None, whole: bool = True):
        self.name: str = name  # decoders look at its ending
        self.path: str | None = path
        self.whole: bool = whole
        self.size_bytes: int = size_bytes
        self.trouble: OSError | None = None
        self._raw = raw
        self.narrow(0, size_bytes)

    def narrow(self, start: int, end: int) -> None:
        """From now on the file is what lies between these bytes of all of it."""
        self.start: int = start
        self.end: int = end
        self._at = 0

    def peek(self, at: int, n_bytes: int) -> bytes:
        """Some bytes of all of the file, wherever reading is; fewer at its end."""
        data = bytearray()
        while len(data) < n_bytes and (piece := self._read(at + len(data), n_bytes - len(data))):
            data += piece
        return bytes(data)

    def read(self, size: int = -1, /) -> bytes:
        """Perhaps less than asked for, as files may."""
        left = self.end - self.start - self._at
        data = self._read(self.start + self._at, left if size < 0 else min(size, left)) if left > 0 else b""
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        """As ``read``."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.end - self.start}[whence]
        self._at = max(0, base + offset)
        return self._at

    def close(self) -> None:
        self._raw.close()
        super().close()

    def _read(self, at: int, n_bytes: int) -> bytes:
        try:
            self._raw.seek(at)
            return self._raw.read(n_bytes)
        except OSError as error:
            self.trouble = self.trouble or error
            raise


@contextmanager
def opened(track: Track, *, whole: bool) -> Iterator[AudioFile]:
    """The file that decoders read; one in a store is read as a whole, or in pieces.

    TrackError for what is no readable file, or an empty one.
    """
    with _opened_remote(track, whole=whole) if is_remote(track.path) else _opened_here(track.path) as file:
        yield file


def _opened_remote(track: Track, *, whole: bool) -> AudioFile:
    size_bytes = track.size_bytes
    if not (size_bytes or track.mtime_ns):  # named in a list, and not there when it was read
        found = about(track.path)
        if found is None or found.is_folder:
            raise TrackError("E_VANISHED", "open", "no such file")
        size_bytes = found.size_bytes
    if not size_bytes:
        raise TrackError("E_EMPTY", "open", "the file is empty (0 bytes)")
    raw = RemoteFile(track.path, size_bytes, whole=whole)
    return AudioFile(raw, name=raw.name, size_bytes=size_bytes, whole=whole)


def _opened_here(path: str) -> AudioFile:
    """Raises what the file system can tell: better words than a decoder's, and no hang on a named pipe."""
    try:
        about = os.stat(path)  # noqa: PTH116 (a name that is no valid path must raise here, as OSError or ValueError)
        if not stat.S_ISREG(about.st_mode):
            raise TrackError("E_DECODE", "open", "not a regular file")
        if about.st_size == 0:
            raise TrackError("E_EMPTY", "open", "the file is empty (0 bytes)")
        raw = open(path, "rb", buffering=0)  # noqa: SIM115 (AudioFile closes it)
    except (OSError, ValueError) as error:
        code = os_code(error) if isinstance(error, OSError) else "E_VANISHED"
        raise TrackError(code, "open", getattr(error, "strerror", None) or str(error)) from None
    return AudioFile(raw, name=os.path.basename(path), size_bytes=about.st_size, path=path)  # noqa: PTH119


def os_code(error: OSError) -> str:
    """The error code for what the system, or a store, says of a file."""
    if isinstance(error, PermissionError):
        return "E_PERM"
    if isinstance(error, ConnectionError | TimeoutError):
        return "E_NETWORK"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "E_VANISHED"
    return "E_DECODE" if error.errno in _OF_THE_FILE else "E_IO"
