"""Pieces of a file by their hash, and how much room stays for tags to grow."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from audiopatch.writing.replace import Refused

_CHUNK = 1 << 20


def hash_of(file: BinaryIO, begin: int, end: int | None = None) -> str:
    """sha256 of the bytes between two places, or to the file's end."""
    digest, left = hashlib.sha256(), None if end is None else end - begin
    file.seek(begin)
    while data := file.read(_CHUNK if left is None else min(_CHUNK, left)):
        digest.update(data)
        left = None if left is None else left - len(data)
    return digest.hexdigest()


def chunks_of(file: BinaryIO, order: Any, without: str) -> Iterator[tuple[bytes, str]]:
    """(name, hash) of the chunks of a RIFF ("little") or IFF ("big") file, but for one name, in any capitals."""
    size = file.seek(0, 2)
    at = 12
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        end = min(size, at + 8 + int.from_bytes(head[4:], order))
        if head[:4].strip().upper() != without.encode():
            yield head[:4], hash_of(file, at + 4, end)
        at = end + (end - at) % 2


def id3v2_size(file: BinaryIO) -> int:
    """Bytes of the ID3v2 tag a file begins with; 0 where there is none."""
    file.seek(0)
    head = file.read(10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((head[6 + i] & 0x7F) << (21 - 7 * i) for i in range(4)) + (10 if head[5] & 0x10 else 0)


def flac_blocks(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(type, content) of a FLAC file's metadata blocks; the file is left where its audio begins."""
    file.seek(id3v2_size(file) + 4)
    last = False
    while not last:
        head = file.read(4)
        size = int.from_bytes(head[1:], "big")
        data = file.read(size)
        if len(head) < 4 or len(data) < size:
            raise Refused("its metadata blocks are cut off")
        last = bool(head[0] & 0x80)
        yield head[0] & 0x7F, data


def keep_padding(info: Any) -> int:
    """The room that is left stays; where there is too little, mutagen makes as much as it thinks good."""
    return info.padding if info.padding >= 0 else info.get_default_padding()
