"""Read lists of paths: playlists, plain text lists, and what ``find -print0`` and the like pipe in."""

# Paths stay strings here: os does as it is told, and a library of millions is spared as many Path objects.
# ruff: noqa: PTH100, PTH118, PTH120, PTH122

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import BinaryIO

from audiopatch.storage.place import NO_STORES, is_remote, named, parent, scheme_of
from audiopatch.storage.store import read

LIST_EXTENSIONS = frozenset({"m3u", "m3u8", "txt", "csv"})

_MAX_PATH_BYTES = 65_536  # a "list" without line ends is some other file; do not read it into one string


def is_list(path: str) -> bool:
    """Whether a path named by the user is a list of paths rather than audio, by its extension."""
    return os.path.splitext(path)[1][1:].lower() in LIST_EXTENSIONS


def read_paths(stream: BinaryIO, *, nul: bool = False) -> Iterator[str]:
    """Paths from a stream of bytes, one per line or, with ``nul``, between NUL bytes; empty ones are left out."""
    end = b"\0" if nul else b"\n"
    rest = b""
    while data := stream.read(_MAX_PATH_BYTES):
        *whole, rest = (rest + data).split(end)
        yield from (os.fsdecode(path) for path in (_trimmed(path, nul) for path in whole) if path)
        rest = rest[-_MAX_PATH_BYTES:]
    if last := _trimmed(rest, nul):
        yield os.fsdecode(last)


def read_list(path: str) -> Iterator[str]:
    """Absolute paths and addresses that an m3u, m3u8, txt or csv file names; relative ones start at its folder.

    Of a csv file it is the column ``path``, or else the first one. Addresses of the web are left out. Old m3u files
    are written in Windows code pages and with backslashes: a name that is not there as its bytes stand is looked for
    under those readings too.
    """
    remote = is_remote(path)
    folder = parent(path) if remote else os.path.dirname(os.path.abspath(path))
    ending = os.path.splitext(path)[1].lower()
    is_playlist = ending in (".m3u", ".m3u8")
    with BytesIO(read(path)) if remote else open(path, "rb") as stream:
        entries = _without_mark(read_paths(stream))
        for entry in _column(entries) if ending == ".csv" else entries:
            if is_playlist and entry.startswith("#"):
                continue
            if is_remote(entry):
                if scheme_of(entry) in NO_STORES:
                    continue
                entry = named(entry)
            if is_remote(entry) or remote:
                yield entry if is_remote(entry) else f"{folder}/{entry.lstrip('/')}"
            else:
                yield _found(os.path.join(folder, entry), is_playlist)


def _without_mark(lines: Iterator[str]) -> Iterator[str]:
    """Without the byte order mark that Windows puts first."""
    for n, line in enumerate(lines):
        yield line.removeprefix("\ufeff") if n == 0 else line


def _column(lines: Iterable[str]) -> Iterator[str]:
    """The cells of the column ``path``, or of the first where none has that name; OSError where it is no csv."""
    try:
        yield from _cells(csv.reader(lines))
    except csv.Error as error:  # a quote that nothing closes takes in all that follows
        raise OSError(errno.EINVAL, f"it is no csv ({error})") from error


def _cells(rows: Iterator[list[str]]) -> Iterator[str]:
    first = next(rows, [])
    place = next((n for n, name in enumerate(first) if name.strip().lower() == "path"), None)
    if place is None and first:
        yield first[0]
    yield from (row[place or 0] for row in rows if len(row) > (place or 0))


def _found(path: str, is_playlist: bool) -> str:
    """The reading of a playlist's entry that exists, or the entry as it stands."""
    if not is_playlist or os.path.lexists(path):
        return os.path.normpath(path)
    from_windows = os.fsencode(path).decode("cp1252", errors="replace")
    readings = (path.replace("\\", "/"), from_windows, from_windows.replace("\\", "/"))
    return os.path.normpath(next((reading for reading in readings if os.path.lexists(reading)), path))


def _trimmed(path: bytes, nul: bool) -> bytes:
    return path if nul else path.removesuffix(b"\r")
