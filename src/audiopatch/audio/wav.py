"""WAV files whose samples stand in wider words than they fill (24 bits in 32), which FFmpeg takes for packed ones."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from audiopatch.audio.file import AudioFile

_PCM, _EXTENSIBLE = 1, 0xFFFE
_FORMATS = {2: "s16le", 3: "s24le", 4: "s32le"}  # by bytes of a word
_LOOKED_AT = 64 << 10


@dataclass(frozen=True)
class LoosePcm:
    """Where the samples are, in bytes, and what they are, in FFmpeg's words."""

    start: int
    end: int
    format: str
    sample_rate: int
    layout: str


def loose_pcm(file: AudioFile) -> LoosePcm | None:
    """What FFmpeg has to be told of such a file; None for any other."""
    chunks = _chunks(file)
    if not chunks.keys() >= {b"fmt ", b"data"}:
        return None
    at, n_bytes = chunks[b"fmt "]
    fmt = file.peek(at, min(n_bytes, 40))
    if len(fmt) < 16:
        return None
    tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", fmt[:16])
    mask = 0
    if tag == _EXTENSIBLE and len(fmt) >= 26:
        valid, mask, tag = struct.unpack("<HIH", fmt[18:26])
        bits = valid or bits
    width, remainder = divmod(block, channels or 1)
    if tag != _PCM or remainder or width not in _FORMATS or not 8 < bits <= 8 * (width - 1):
        return None
    start, n_bytes = chunks[b"data"]
    end = min(file.size_bytes, start + n_bytes)
    if bits == 24 and _are_floats(file.peek(start, min(_LOOKED_AT, end - start))):
        return None  # as an old editor wrote them, which FFmpeg knows
    layout = f"0x{mask:x}" if mask.bit_count() == channels else f"{channels}C"
    return LoosePcm(start, end, _FORMATS[width], rate, layout)


def _chunks(file: AudioFile) -> dict[bytes, tuple[int, int]]:
    """(first byte, length) of the chunks up to the samples, by name."""
    head = file.peek(0, 12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        return {}
    chunks: dict[bytes, tuple[int, int]] = {}
    at = 12
    while len(header := file.peek(at, 8)) == 8 and b"data" not in chunks and len(chunks) < 64:
        name, n_bytes = struct.unpack("<4sI", header)
        chunks[name] = at + 8, n_bytes
        at += 8 + n_bytes + n_bytes % 2
    return chunks


def _are_floats(data: bytes) -> bool:
    """Whether 32-bit words are floats in the range of 24-bit samples; as integers they would be wild."""
    values = np.frombuffer(data, "<f4", len(data) // 4)
    loudest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    return bool(np.isfinite(values).all() and 1.0 <= loudest <= 2.0**24)
