"""One remote file as Python knows files, read by ranges: in one go, or only where somebody looks."""

from __future__ import annotations

import io
import os
from concurrent.futures import Future, ThreadPoolExecutor

from audiopatch.storage.store import read

# Who reads all of it pays for requests, who looks here and there for bytes.
_WHOLE_BYTES = (4 << 20, 8 << 20)  # the first range, and the largest
_PIECES_BYTES = (64 << 10, 512 << 10)
_KEPT = 3  # ranges: decoders go back and forth between the head, the tail and where they are


class RemoteFile(io.RawIOBase):
    """``size_bytes`` of ``url``; ranges grow while reading goes straight on. With ``whole`` the next is fetched ahead.

    Memory: at most five ranges. Raises as ``storage.store.read`` does.
    """

    def __init__(self, url: str, size_bytes: int, *, whole: bool):
        self.name: str = url.rpartition("/")[2]  # decoders look at the ending
        self.whole = whole
        self._url, self._size = url, size_bytes
        self._first, self._largest = _WHOLE_BYTES if whole else _PIECES_BYTES
        self._at, self._length = 0, 0
        self._ranges: list[tuple[int, bytes]] = []  # (start, data), the latest last
        self._end = -1  # of the range fetched last: who reads on from there reads straight on
        self._ahead: tuple[int, Future[bytes]] | None = None
        self._helper = ThreadPoolExecutor(1, "audiopatch-ahead") if whole else None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer) -> int:
        """Perhaps less than asked for, as files may."""
        if self._at >= self._size:
            return 0
        start, data = self._range()
        piece = memoryview(data)[self._at - start :][: len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        if self._helper is not None:
            self._helper.shutdown(wait=False, cancel_futures=True)
        self._ranges, self._ahead = [], None
        super().close()

    def _range(self) -> tuple[int, bytes]:
        """The range that holds the position, from memory or from the store."""
        for kept in reversed(self._ranges):
            if kept[0] <= self._at < kept[0] + len(kept[1]):
                return kept
        start = self._at
        self._length = min(2 * self._length, self._largest) if start == self._end else self._first
        data = self._awaited(start)
        if not data:
            raise OSError("the file is shorter than it was")
        self._end = start + len(data)
        self._ranges = [*self._ranges[1 - _KEPT :], (start, data)]
        if self._helper is not None and self._end < self._size:
            self._ahead = self._end, self._helper.submit(self._fetch, self._end, self._largest)
        return start, data

    def _awaited(self, start: int) -> bytes:
        if self._ahead is not None and self._ahead[0] == start:
            return self._ahead[1].result()
        return self._fetch(start, self._length)

    def _fetch(self, start: int, length: int) -> bytes:
        return read(self._url, start, min(start + length, self._size))
