"""One small file of every container that tags are written into: real encoders where there are some, else by hand."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
from mutagen.ogg import OggPage

from fabricate import encode, music

CONTAINERS = (
    "mp3", "flac", "ogg", "opus", "oga", "spx", "m4a", "alac.m4a", "wma", "ape", "wv", "mpc", "aiff", "wav",
    "dsf", "tta",
)  # fmt: skip
_CODECS = {"oga": "flac", "alac.m4a": "alac"}  # where the name's ending does not tell


def make(folder: Path, kind: str, *, seconds: float = 1.0, seed: int = 0) -> Path:
    """A file ``song.<kind>`` without tags of its own, but for those that an encoder leaves."""
    path = folder / f"song.{kind}"
    if kind in _BY_HAND:
        path.write_bytes(_BY_HAND[kind](np.random.default_rng(seed)))
    else:
        encode(path, music(seconds, seed=seed), codec=_CODECS.get(kind, ""))
    return path


def _ape(chance: np.random.Generator) -> bytes:
    """Monkey's Audio 3.99 by its description: nobody encodes it freely, and only packets are looked at here."""
    frames = [chance.bytes(4000) for _ in range(5)]
    wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\2\0" + struct.pack("<IIHH", 44_100, 176_400, 4, 16) + b"data\0\0\0\0"
    begin = 52 + 24 + 4 * len(frames) + len(wav)
    table = b"".join(struct.pack("<I", begin + 4000 * number) for number in range(len(frames)))
    descriptor = struct.pack(
        "<4sHHIIIIIII16s", b"MAC ", 3990, 0, 52, 24, len(table), len(wav), 4000 * len(frames), 0, 0, bytes(16)
    )
    header = struct.pack("<HHIIIHHI", 2000, 0, 73_728, 1000, len(frames), 16, 2, 44_100)
    return descriptor + header + table + wav + b"".join(frames)


def _dsf(chance: np.random.Generator) -> bytes:
    """One-bit samples: noise is as good as music."""
    samples = chance.bytes(2 * 4096 * 4)
    form = struct.pack("<4sQIIIIIIQII", b"fmt ", 52, 1, 0, 2, 2, 2_822_400, 1, len(samples) // 2 * 8, 4096, 0)
    data = struct.pack("<4sQ", b"data", 12 + len(samples)) + samples
    return struct.pack("<4sQQQ", b"DSD ", 28, 28 + len(form) + len(data), 0) + form + data


def _mpc(chance: np.random.Generator) -> bytes:
    """Musepack SV8: packets of a key, a size in 7 bits a byte, and a content."""

    def packet(key: bytes, content: bytes) -> bytes:
        n_bytes = 1 if len(content) < 125 else 2
        size = len(content) + 2 + n_bytes
        sized = bytes([size]) if n_bytes == 1 else bytes([0x80 | size >> 7, size & 0x7F])
        return key + sized + content

    header = b"\x08" + bytes([0x82, 0xD8, 0x44]) + b"\0" + bytes([31, 0x10 | 8 | 3])
    audio = b"".join(packet(b"AP", chance.bytes(900)) for _ in range(20))
    return (
        b"MPCK"
        + packet(b"SH", struct.pack(">I", zlib.crc32(header)) + header)
        + packet(b"RG", b"\1" + bytes(8))
        + audio
        + packet(b"SE", b"")
    )


def _spx(chance: np.random.Generator) -> bytes:
    """Speex in Ogg: a header, a comment, and frames that nobody decodes here."""
    header = (
        b"Speex   "
        + b"1.2".ljust(20, b"\0")
        + struct.pack("<13I", 1, 80, 16_000, 1, 4, 1, 2**32 - 1, 320, 0, 1, 0, 0, 0)
    )
    comment = struct.pack("<I", 4) + b"none" + struct.pack("<I", 0)
    pages = []
    for number, packets in enumerate([[header], [comment], *([chance.bytes(70) for _ in range(50)] for _ in range(3))]):
        page = OggPage()
        page.packets, page.serial, page.sequence = packets, 7, number
        page.position = max(0, number - 1) * 50 * 320
        page.first, page.last = number == 0, number == 4
        pages.append(page.write())
    return b"".join(pages)


_BY_HAND = {"ape": _ape, "dsf": _dsf, "mpc": _mpc, "spx": _spx}


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """sha256 and modification time of every file, hidden ones too."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
