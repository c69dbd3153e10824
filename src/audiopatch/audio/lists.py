"""Read lists of paths as other programs write them: playlists, text, tables, and what ``find -print0`` pipes in."""

# Paths stay strings here: os does as it is told, and a library of millions is spared as many Path objects.
# ruff: noqa: PTH100, PTH112, PTH118, PTH120, PTH122, PTH208

from __future__ import annotations

import codecs
import csv
import errno
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import BinaryIO
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

from audiopatch.storage.place import NO_STORES, is_remote, named, parent, scheme_of
from audiopatch.storage.store import read

_MAX_PATH_BYTES = 65_536  # a "list" without line ends is some other file; do not read it into one string
# The longer ones first: UTF-16's mark begins UTF-32's.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip


def is_list(path: str) -> bool:
    """Whether a path named by the user is a list of paths rather than audio, by its extension."""
    return os.path.splitext(path)[1][1:].lower() in LIST_EXTENSIONS


def read_paths(stream: BinaryIO, *, nul: bool = False) -> Iterator[str]:
    """Paths from a stream of bytes, one per line or, with ``nul``, between NUL bytes; empty ones are left out."""
    if not nul:
        yield from (line for line in text_lines(stream) if line)
        return
    yield from (os.fsdecode(path) for path in _split(stream, b"\0") if path)


def text_lines(stream: BinaryIO) -> Iterator[str]:
    """Lines of a text without their ends, in UTF-8 or whatever its byte order mark says, which is left out.

    What is not UTF-8 comes as surrogates, as names of files do.
    """
    head = stream.read(4)
    mark, encoding = next(((mark, name) for mark, name in _MARKS.items() if head.startswith(mark)), (b"", "utf-8"))
    if not mark and head[1:2] == b"\0":
        encoding = "utf-16-le"  # Windows, without a mark
    rest = _After(head[len(mark) :] if encoding == "utf-8" else head, stream)
    if encoding == "utf-8":
        yield from (line.removesuffix(b"\r").decode(errors="surrogateescape") for line in _split(rest, b"\n"))
        return
    reader = codecs.getreader(encoding)(rest, errors="replace")  # type: ignore[arg-type]
    yield from (line.rstrip("\r\n") for line in reader)


class _After:
    """A stream, with what has been read of it put back."""

    def __init__(self, head: bytes, stream: BinaryIO):
        self._head, self._stream = head, stream

    def read(self, size: int = -1) -> bytes:
        head, self._head = self._head, b""
        return head or self._stream.read(size)


def _split(stream: BinaryIO | _After, end: bytes) -> Iterator[bytes]:
    rest = b""
    while data := stream.read(_MAX_PATH_BYTES):
        *whole, rest = (rest + data).split(end)
        yield from whole
        rest = rest[-_MAX_PATH_BYTES:]
    yield rest


def read_list(path: str) -> Iterator[str]:
    """Absolute paths and addresses that a list names; relative ones start at its folder.

    Of csv and tsv it is the column ``path``, or else the first one; commas, semicolons or tabs may separate them.
    Addresses of the web are left out. A name that is not there as it stands is looked for as ``find_reading`` does.
    """
    remote = is_remote(path)
    folder = parent(path) if remote else os.path.dirname(os.path.abspath(path))
    with BytesIO(read(path)) if remote else open(path, "rb") as stream:
        for entry in _READERS[os.path.splitext(path)[1][1:].lower()](stream):
            if is_remote(entry):
                if scheme_of(entry) in NO_STORES:
                    continue
                entry = named(entry)
            if is_remote(entry):
                yield entry
            elif not remote:
                found = find_reading(entry, folder)
                if found is not None:
                    yield found
            elif not entry.startswith("#"):
                yield f"{folder}/{entry.lstrip('/')}"


def find_reading(entry: str, folder: str) -> str | None:
    """The absolute path of an entry of a list, in the reading that exists; None for a comment.

    Other programs put blanks around names, write them in Windows code pages, with backslashes, as addresses (``%20``),
    or with accents in another of Unicode's two forms. An entry that is not there in any reading stays as it stands.
    """
    plain = os.path.join(folder, entry)
    if os.path.lexists(plain):
        return os.path.normpath(plain)
    if entry.startswith("#"):
        return None
    for reading in _readings(entry):
        path = os.path.join(folder, reading)
        found = path if os.path.lexists(path) else _by_any_form(path)
        if found is not None:
            return os.path.normpath(found)
    return os.path.normpath(plain)


def _readings(entry: str) -> Iterator[str]:
    stripped = entry.strip().strip('"')
    for base in dict.fromkeys((entry, stripped, os.fsdecode(unquote_to_bytes(os.fsencode(stripped))))):
        for text in dict.fromkeys((base, os.fsencode(base).decode("cp1252", errors="replace"))):
            yield text
            if "\\" in text:
                yield text.replace("\\", "/")


def _by_any_form(path: str) -> str | None:
    """The path whose names are equal but for composed and decomposed accents."""
    if path.isascii():
        return None
    folder, name = os.path.split(path)
    if not name or folder == path:
        return None
    home = folder if os.path.isdir(folder) else _by_any_form(folder)
    if home is None:
        return None
    wanted = unicodedata.normalize("NFC", name)
    try:
        names = os.listdir(home)
    except OSError:
        return None
    return next((os.path.join(home, other) for other in names if unicodedata.normalize("NFC", other) == wanted), None)


def _lines(stream: BinaryIO) -> Iterator[str]:
    return read_paths(stream)


def _m3u(stream: BinaryIO) -> Iterator[str]:
    return (line for line in read_paths(stream) if not line.startswith("#"))


def _pls(stream: BinaryIO) -> Iterator[str]:
    """``File1=...``"""
    found = (re.match(r"\s*file\d+\s*=\s*(.*)", line, re.IGNORECASE) for line in text_lines(stream))
    return (match[1] for match in found if match and match[1])


def _xspf(stream: BinaryIO) -> Iterator[str]:
    """``<location>`` of every track: an address, relative or not."""
    try:
        for _, element in ElementTree.iterparse(stream):
            if element.tag.rpartition("}")[2] == "location" and element.text:
                text = element.text.strip()
                yield text if is_remote(text) else os.fsdecode(unquote_to_bytes(text))
    except ElementTree.ParseError as error:
        raise OSError(errno.EINVAL, f"it is no XSPF ({error})") from error


def _table(stream: BinaryIO) -> Iterator[str]:
    """The cells of the column ``path``, or of the first where none has that name; OSError where it is no csv."""
    lines = iter(text_lines(stream))
    first = next(lines, "")
    if first.lower().startswith("sep=") and len(first) == 5:  # how spreadsheets tell each other
        separator, first = first[4], next(lines, "")
    else:
        separator = max(",;\t", key=first.count)
    try:
        yield from _cells(csv.reader(_with(first, lines), delimiter=separator))
    except csv.Error as error:  # a quote that nothing closes takes in all that follows
        raise OSError(errno.EINVAL, f"it is no csv ({error})") from error


def _with(first: str, lines: Iterable[str]) -> Iterator[str]:
    yield first
    yield from lines


def _cells(rows: Iterator[list[str]]) -> Iterator[str]:
    first = next(rows, [])
    place = next((n for n, name in enumerate(first) if name.strip().lower() == "path"), None)
    if place is None and first:
        yield first[0]
    yield from (row[place or 0] for row in rows if len(row) > (place or 0) and row[place or 0])


_READERS: dict[str, Callable[[BinaryIO], Iterator[str]]] = {
    "m3u": _m3u, "m3u8": _m3u, "pls": _pls, "xspf": _xspf, "txt": _lines, "csv": _table, "tsv": _table,
}  # fmt: skip
LIST_EXTENSIONS = frozenset(_READERS)
