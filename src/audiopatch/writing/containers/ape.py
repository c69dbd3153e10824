"""APEv2 tags at the end of a file: one item per field, a zero between its values; the other items kept as bytes."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mutagen.apev2 import APEv2, _APEv2Data, _CIDictProxy

from audiopatch.writing.containers.pieces import hash_of
from audiopatch.writing.replace import Refused

_KEYS = {"GENRE": "Genre", "MOOD": "Mood", "COMMENT": "Comment", "GROUPING": "Grouping"}
_TEXT = 0


class _RawItem:
    """An item's value as APEv2 writes it: its kind (text, binary, address) and its bytes."""

    def __init__(self, kind: int, content: bytes):
        self.kind, self.content = kind, content

    def _write(self) -> bytes:
        return self.content


class ApeTags:
    """The items of a file, (key, kind, content), and what stands behind them: ID3v1, or lyrics."""

    def __init__(self, path: str):
        with open(path, "rb") as file:
            data: Any = _APEv2Data(file)
            if data.is_at_start:
                raise Refused("its APE tag stands at the beginning, where few players find it")
            self._items = _items_of(data.tag or b"", data.items or 0)
            if data.metadata is not None:
                file.seek(data.end)
            else:
                file.seek(-128, 2) if file.seek(0, 2) > 128 else None
            tail = file.read()
            self._tail = tail if data.metadata is not None or tail[:3] == b"TAG" else b""

    def read(self, field: str) -> tuple[str, ...]:
        found = [content for key, kind, content in self._items if kind == _TEXT and key.upper() == field]
        values = (value.strip() for content in found for value in content.decode(errors="replace").split("\0"))
        return tuple(dict.fromkeys(value for value in values if value))

    def rest(self, fields: Collection[str]) -> Any:
        return sorted(item for item in self._items if item[0].upper() not in fields), self._tail

    def body(self, path: str) -> Any:
        with open(path, "rb") as file:
            return hash_of(file, 0, tag_start(path))

    def save(self, path: str, values: Mapping[str, Sequence[str]]) -> None:
        tags = APEv2()
        kept, _ = self.rest(values)
        for key, kind, content in kept:
            _CIDictProxy.__setitem__(tags, key, _RawItem(kind, content))
        for field, texts in values.items():
            if texts:
                _CIDictProxy.__setitem__(tags, _KEYS.get(field, field), _RawItem(_TEXT, "\0".join(texts).encode()))
        if self._tail:
            with open(path, "r+b") as file:
                file.truncate(file.seek(0, 2) - len(self._tail))
        tags.save(path)
        with open(path, "ab") as file:
            file.write(self._tail)


def tag_start(path: str) -> int:
    """Where the tag begins, or what stands at the end in its place."""
    with open(path, "rb") as file:
        start = _APEv2Data(file).start
        size = file.seek(0, 2)
        if start is not None or size < 128:
            return size if start is None else start
        file.seek(-128, 2)
        return size - 128 if file.read(3) == b"TAG" else size


def _items_of(data: bytes, count: int) -> list[tuple[str, int, bytes]]:
    items, at = [], 0
    while at + 8 < len(data):
        size, flags = struct.unpack_from("<II", data, at)
        end_of_key = data.find(b"\0", at + 8)
        begin = end_of_key + 1
        if end_of_key < 0 or begin + size > len(data):
            raise Refused("its APE tag is damaged")
        items.append((data[at + 8 : end_of_key].decode("latin-1"), (flags & 6) >> 1, data[begin : begin + size]))
        at = begin + size
    if len(items) != count or len({key.upper() for key, _, _ in items}) != count:
        raise Refused("its APE tag is damaged, or names an item twice")
    return items
