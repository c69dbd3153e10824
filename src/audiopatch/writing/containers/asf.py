"""WMA's attributes: one per value; all others, and the objects they stand in, compared before and after."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mutagen.asf import ASF, ASFUnicodeAttribute
from mutagen.asf._objects import (
    ContentDescriptionObject,
    ExtendedContentDescriptionObject,
    HeaderExtensionObject,
    MetadataLibraryObject,
    MetadataObject,
    PaddingObject,
)

from audiopatch.writing.containers.pieces import hash_of, keep_padding

_NAMES = {"GENRE": "WM/Genre", "MOOD": "WM/Mood", "COMMENT": "Description", "GROUPING": "WM/ContentGroupDescription"}
_WRITTEN_ANEW = {
    kind.GUID
    for kind in (
        ContentDescriptionObject,
        ExtendedContentDescriptionObject,
        HeaderExtensionObject,
        MetadataLibraryObject,
        MetadataObject,
        PaddingObject,
    )
}


class AsfTags:
    """The attributes of an ASF file."""

    def __init__(self, path: str):
        self._file: Any = ASF(path)

    def read(self, field: str) -> tuple[str, ...]:
        values = (str(value).strip() for key, value in self._file.tags if key == _NAMES.get(field, field))
        return tuple(dict.fromkeys(value for value in values if value))

    def rest(self, fields: Collection[str]) -> Any:
        names = {_NAMES.get(field, field) for field in fields}
        attributes = [
            (key, value.TYPE, value._render(), value.language or 0, value.stream or 0)
            for key, value in self._file.tags
            if key not in names and value.data_size()
        ]
        return sorted(attributes, key=repr), sorted(_objects(self._file._header))

    def body(self, path: str) -> Any:
        with open(path, "rb") as file:
            file.seek(16)
            return hash_of(file, int.from_bytes(file.read(8), "little"))

    def save(self, path: str, values: Mapping[str, Sequence[str]]) -> None:
        file: Any = ASF(path)
        for field, texts in values.items():
            name = _NAMES.get(field, field)
            if name in file.tags:
                del file.tags[name]
            file.tags.extend((name, ASFUnicodeAttribute(text)) for text in texts)
        file.save(padding=keep_padding)


def _objects(header: Any) -> list[tuple[bytes, bytes]]:
    """(id, content) of what else is in the header, also in its extension."""
    found = []
    for one in header.objects:
        if one.GUID not in _WRITTEN_ANEW:
            found.append((one.GUID, bytes(one.data)))
        elif one.GUID == HeaderExtensionObject.GUID:
            found += _objects(one)
    return found
