"""MP4's list of items: one atom per field with all its values; the other atoms kept as bytes."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from mutagen._constants import GENRES
from mutagen.mp4 import MP4Tags
from mutagen.mp4._atom import Atom, AtomError, Atoms

from audiopatch.writing.containers.pieces import hash_of, keep_padding
from audiopatch.writing.replace import Refused

_ITEMS = {"GENRE": b"\xa9gen", "COMMENT": b"\xa9cmt", "GROUPING": b"\xa9grp"}
_OWN = "com.apple.iTunes"  # where players look for names that have no item of their own
_ILST = (b"moov", b"udta", b"meta", b"ilst")
# Not compared: what says where the audio begins, and room to write in.
_MOVES = {b"stco", b"co64", b"tfhd", b"free", b"skip"}


class Mp4Tags:
    """The items of an MP4 file, each (name, content) as it stands."""

    def __init__(self, path: str):
        with open(path, "rb") as file:
            atoms = _atoms(file)
            try:
                ilst: Any = atoms.path(*_ILST)[-1]
            except KeyError:
                ilst = None
            self._items = [(atom.name, _content(atom, file)) for atom in (ilst.children if ilst else ())]

    def read(self, field: str) -> tuple[str, ...]:
        found: list[str] = []
        for name, content in self._items:
            if not _is(name, content, field):
                continue
            for data in _data_of(content, skip=_n_naming(content) if name == b"----" else 0):
                found.append(_genre(data) if name == b"gnre" else data.decode(errors="replace"))
        return tuple(dict.fromkeys(value.strip() for value in found if value.strip()))

    def rest(self, fields: Collection[str]) -> Any:
        kept = [item for item in self._items if not any(_is(*item, field) for field in fields)]
        return sorted(kept)

    def body(self, path: str) -> Any:
        with open(path, "rb") as file:
            return sorted(_others(_atoms(file).atoms, file, ()))

    def save(self, path: str, values: Mapping[str, Sequence[str]]) -> None:
        tags = MP4Tags()
        for name, content in self._items:
            if not any(_is(name, content, field) for field in values):
                tags._failed_atoms.setdefault(name.decode("latin-1"), []).append(content)  # written as they are
        for field, texts in values.items():
            if texts and field in _ITEMS:
                tags[_ITEMS[field].decode("latin-1")] = list(texts)
            elif texts:
                tags[f"----:{_OWN}:{field}"] = [text.encode() for text in texts]
        tags.save(path, padding=keep_padding)


def _atoms(file: BinaryIO) -> Atoms:
    try:
        atoms = Atoms(file)
        atoms.path(b"moov")
    except (AtomError, KeyError):
        raise Refused("it is no MP4 file that mutagen can read") from None
    return atoms


def _content(atom: Atom, file: BinaryIO) -> bytes:
    whole, content = atom.read(file)
    if not whole:
        raise Refused("its atoms are cut off")
    return content


def _others(atoms: Sequence[Atom], file: BinaryIO, above: tuple[bytes, ...]) -> Iterator[tuple[tuple[bytes, ...], str]]:
    """(path, hash) of each atom that is none of the items, nor of what moves with them."""
    for atom in atoms:
        path = (*above, atom.name)
        if path == _ILST or path == (*_ILST[:3], b"hdlr") or atom.name in _MOVES:
            continue
        if atom.children is None:
            yield path, hash_of(file, atom._dataoffset, atom.offset + atom.length)
        else:
            yield from _others(atom.children, file, path)


def _is(name: bytes, content: bytes, field: str) -> bool:
    if name == b"----":
        return _named(content) == field
    return name == _ITEMS.get(field) or (name == b"gnre" and field == "GENRE")


def _n_naming(content: bytes) -> int:
    """Bytes of the atoms ``mean`` and ``name`` that an item of one's own begins with."""
    mean = int.from_bytes(content[:4], "big")
    return mean + int.from_bytes(content[mean : mean + 4], "big")


def _named(content: bytes) -> str:
    """The name of an item of one's own, in capitals."""
    mean = int.from_bytes(content[:4], "big")
    return content[mean + 12 : _n_naming(content)].decode(errors="replace").upper()


def _data_of(content: bytes, *, skip: int) -> Iterator[bytes]:
    at = skip
    while at + 16 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        if kind != b"data" or size < 16:
            return
        yield content[at + 16 : at + size]
        at += size


def _genre(data: bytes) -> str:
    number = int.from_bytes(data[-2:], "big") - 1
    return GENRES[number] if 0 <= number < len(GENRES) else ""
