"""Vorbis comments, in FLAC and in Ogg: a list of NAME=value, one entry per value, the other entries kept as bytes."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Mapping, Sequence
from typing import Any, BinaryIO

from mutagen._vorbis import VComment, error
from mutagen.flac import FLAC, VCFLACDict
from mutagen.oggflac import OggFLAC
from mutagen.oggopus import OggOpus
from mutagen.oggspeex import OggSpeex
from mutagen.oggvorbis import OggVorbis

from audiopatch.writing.containers.pieces import flac_blocks, hash_of, keep_padding
from audiopatch.writing.replace import Refused

_PADDING, _COMMENT = 1, 4  # types of FLAC's metadata blocks


class _RawComment(VComment):
    """mutagen's comment, but with the entries as they stand; its own list stays empty."""

    vendor_bytes = VComment.vendor.encode()

    def load(self, fileobj: Any, errors: str = "replace", framing: bool = True) -> None:
        self.vendor_bytes = _sized(fileobj)
        self.entries = [_sized(fileobj) for _ in range(_number(fileobj))]
        if framing and not fileobj.read(1)[:1] >= b"\x01":
            raise error("the framing bit is not set")

    def write(self, framing: bool = True) -> bytes:
        pieces = [self.vendor_bytes, *self.entries]
        sized = [struct.pack("<I", len(piece)) + piece for piece in pieces]
        sized.insert(1, struct.pack("<I", len(self.entries)))
        return b"".join(sized) + (b"\x01" if framing else b"")

    entries: list[bytes] = []  # noqa: RUF012 (replaced as a whole, never changed)


def _number(file: BinaryIO) -> int:
    data = file.read(4)
    if len(data) < 4:
        raise error("the comment is cut off")
    return struct.unpack("<I", data)[0]


def _sized(file: BinaryIO) -> bytes:
    size = _number(file)
    data = file.read(size)
    if len(data) < size:
        raise error("the comment is cut off")
    return data


class _RawFlacComment(_RawComment, VCFLACDict):
    def load(self, fileobj: Any, errors: str = "replace", framing: bool = False) -> None:
        super().load(fileobj, errors, False)

    def write(self, framing: bool = False) -> bytes:
        return super().write(framing=False)


class _RawFlac(FLAC):
    METADATA_BLOCKS = [_RawFlacComment if kind is VCFLACDict else kind for kind in FLAC.METADATA_BLOCKS]  # noqa: RUF012


def _raw(kind: Any) -> Any:
    """An Ogg type whose comments are raw."""
    comment = type(f"_Raw{kind._Tags.__name__}", (_RawComment, kind._Tags), {})
    return type(f"_Raw{kind.__name__}", (kind,), {"_Tags": comment})


_OGG = {"vorbis": _raw(OggVorbis), "opus": _raw(OggOpus), "speex": _raw(OggSpeex), "oggflac": _raw(OggFLAC)}


class OggTags:
    """The comment of an Ogg file's audio stream."""

    def __init__(self, path: str, codec: str):
        self._open = lambda path: _OGG[codec](path)
        self._entries: list[bytes] = self._open(path).tags.entries

    def read(self, field: str) -> tuple[str, ...]:
        values = (entry.partition(b"=")[2].decode(errors="replace") for entry in self._entries if _is(entry, field))
        return tuple(dict.fromkeys(value.strip() for value in values if value.strip()))

    def rest(self, fields: Collection[str]) -> Any:
        return [entry for entry in self._entries if not any(_is(entry, field) for field in fields)]

    def body(self, path: str) -> Any:
        return None

    def save(self, path: str, values: Mapping[str, Sequence[str]]) -> None:
        file = self._open(path)
        self._write(file.tags, values)
        file.save(padding=keep_padding)

    def _write(self, comment: _RawComment, values: Mapping[str, Sequence[str]]) -> None:
        new = [f"{field}={text}".encode() for field, texts in values.items() for text in texts]
        comment.entries = OggTags.rest(self, values) + new


class FlacTags(OggTags):
    """The comment of a FLAC file, and its other blocks: pictures, cue sheets, seek tables, whatever is there."""

    def __init__(self, path: str):
        self._open = _RawFlac
        with open(path, "rb") as file:
            self._blocks = list(flac_blocks(file))
        comments = [data for kind, data in self._blocks if kind == _COMMENT]
        if len(comments) > 1:
            raise Refused("it has several comment blocks")
        self._entries = _RawFlacComment(comments[0]).entries if comments else []

    def rest(self, fields: Collection[str]) -> Any:
        others = [
            (kind, hashlib.sha256(data).digest()) for kind, data in self._blocks if kind not in (_PADDING, _COMMENT)
        ]
        return super().rest(fields), others

    def body(self, path: str) -> Any:
        with open(path, "rb") as file:
            for _ in flac_blocks(file):
                pass
            return hash_of(file, file.tell())

    def save(self, path: str, values: Mapping[str, Sequence[str]]) -> None:
        file: Any = _RawFlac(path)
        if file.tags is None:
            file.tags = _RawFlacComment()
            file.metadata_blocks.append(file.tags)
        self._write(file.tags, values)
        file.save(padding=keep_padding)


def _is(entry: bytes, field: str) -> bool:
    return entry.partition(b"=")[0].upper() == field.encode()
