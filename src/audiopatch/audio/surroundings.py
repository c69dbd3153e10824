"""Where the audio of a file begins and ends: what taggers, players and file systems put around it is no audio.

Formats that are nothing but frames (MP3, AAC, AC-3, DTS, WavPack, FLAC, ...) do not say where they end. Their demuxers
take a tag behind the last frame for a damaged frame, or for a part of the last one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from audiopatch.audio.file import AudioFile

# Containers that say where their audio lies; the names are FFmpeg's.
DELIMITED = {"wav", "w64", "aiff", "caf", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "mpegts"}
_JUNK_BYTES = 256 << 10  # how much of what has no name is looked through for a frame, and left out
_LYRICS3_BYTES = 5100  # the most that Lyrics3 v1 may hold


def bounds(file: AudioFile, kind: str) -> tuple[int, int]:
    """(start, end) of the audio in bytes of a file of FFmpeg's format ``kind``: without tags, padding and junk."""
    start, end = after_tags(file), _before_tags(file)
    if kind == "flac" and file.peek(start, 4) != b"fLaC":
        start += max(0, file.peek(start, _JUNK_BYTES).find(b"fLaC"))
    if kind in _FRAMES and start < end:
        start, end = _first_frame(file, kind, start, end), _last_frame(file, kind, start, end)
    return (start, end) if start < end else (0, file.size_bytes)


def after_tags(file: AudioFile, at: int = 0) -> int:
    """Behind any tags that begin at byte ``at``: the beginning, or the midst of a file that others were joined to."""
    while size := _tag_bytes(file.peek(at, 32)):
        at += size
    return at


def _tag_bytes(head: bytes) -> int:
    if head[:3] == b"ID3" and len(head) >= 10:
        return 10 + _syncsafe(head[6:10]) + (10 if head[5] & 0x10 else 0)
    if head[:8] == b"APETAGEX" and len(head) == 32:
        return struct.unpack("<I", head[12:16])[0] + 32
    return 128 if head[:3] == b"TAG" else 0


def _before_tags(file: AudioFile) -> int:
    """In front of ID3v1, APE, Lyrics3 and appended ID3v2.4 tags at the end, in whatever order."""
    end = file.size_bytes
    while True:
        tail = file.peek(max(0, end - 160), min(160, end))
        sizes = (size(file, tail, end) for size in (_id3v1, _ape, _id3v2_footer, _lyrics3))
        found = next((size for size in sizes if size), 0)
        if not 0 < found <= end:
            return end
        end -= found


def _id3v1(file: AudioFile, tail: bytes, end: int) -> int:
    if tail[-128:-125] != b"TAG":
        return 0
    return 355 if file.peek(max(0, end - 355), 4) == b"TAG+" else 128


def _ape(file: AudioFile, tail: bytes, end: int) -> int:
    """Its size counts items and footer; a flag says whether there is a header too."""
    if tail[-32:-24] != b"APETAGEX":
        return 0
    size, _, flags = struct.unpack("<III", tail[-20:-8])
    return size + (32 if flags & 0x80000000 else 0)


def _id3v2_footer(file: AudioFile, tail: bytes, end: int) -> int:
    return 20 + _syncsafe(tail[-4:]) if tail[-10:-7] == b"3DI" else 0


def _lyrics3(file: AudioFile, tail: bytes, end: int) -> int:
    if tail.endswith(b"LYRICS200") and tail[-15:-9].isdigit():
        return int(tail[-15:-9]) + 15
    if tail.endswith(b"LYRICSEND"):
        before = file.peek(max(0, end - _LYRICS3_BYTES - 20), min(end, _LYRICS3_BYTES + 20))
        at = before.rfind(b"LYRICSBEGIN")
        return len(before) - at if at >= 0 else 0
    return 0


def _syncsafe(four: bytes) -> int:
    return sum((byte & 0x7F) << shift for byte, shift in zip(four, (21, 14, 7, 0), strict=False))


def _first_frame(file: AudioFile, kind: str, start: int, end: int) -> int:
    """Where the first frame is that another one follows; ``start`` itself where none is found."""
    sync, frame_bytes, _ = _FRAMES[kind]
    if frame_bytes(file.peek(start, 16)):
        return start
    data = file.peek(start, min(_JUNK_BYTES, end - start))
    for match in re.finditer(re.escape(sync), data):
        size = frame_bytes(data[match.start() : match.start() + 16])
        if size and frame_bytes(data[match.start() + size : match.start() + size + 16]):
            return start + match.start()
    return start


def _last_frame(file: AudioFile, kind: str, start: int, end: int) -> int:
    """Behind the last frame that follows another one; ``end`` itself where that one is cut off, or none is found."""
    window = 4 << 10
    while True:
        begin = max(start, end - window)
        ends = _frame_ends(file.peek(begin, end - begin), file.peek(start, 16), kind)
        if ends:
            return end if begin + ends[0] >= end or end - begin in ends else begin + ends[0]
        if begin == start or window >= _JUNK_BYTES:
            return end
        window *= 8


def _frame_ends(data: bytes, first: bytes, kind: str) -> list[int]:
    """Where frames like the ``first`` end that follow another one, the last ones first.

    A frame's own bytes may look like a header, and seldom even like one that another frame leads to.
    """
    sync, frame_bytes, mask = _FRAMES[kind]
    sizes: dict[int, int] = {}
    at = -1
    while (at := data.find(sync, at + 1)) >= 0:
        head = data[at : at + 16]
        if all(ours & bits == its & bits for ours, its, bits in zip(head, first, mask, strict=False)):
            sizes[at] = frame_bytes(head)
    reached = {at + size for at, size in sizes.items() if size}
    return [at + size for at, size in reversed(sizes.items()) if size and at in reached]


# ISO/IEC 11172-3 and 13818-3, kbit/s by (MPEG-1 or later, layer)
_KBPS = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_AC3_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)


def _mpeg_bytes(head: bytes) -> int:
    """Bytes of the MPEG-1, 2 or 2.5 audio frame with this header; 0 where it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = (head[1] >> 3) & 3, 4 - ((head[1] >> 1) & 3)
    kbps_index, rate_index, padding = head[2] >> 4, (head[2] >> 2) & 3, (head[2] >> 1) & 1
    if version == 1 or layer == 4 or kbps_index in (0, 15) or rate_index == 3:
        return 0
    kbps = _KBPS[1 if version == 3 else 2, layer][kbps_index]
    rate = (44_100, 48_000, 32_000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    if layer == 1:
        return (12_000 * kbps // rate + padding) * 4
    return (72_000 if layer == 3 and version != 3 else 144_000) * kbps // rate + padding


def _adts_bytes(head: bytes) -> int:
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or (head[2] >> 2) & 15 > 12:
        return 0
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size > 7 else 0


def _ac3_bytes(head: bytes) -> int:
    """AC-3 (ATSC A/52, table 5.18) or E-AC-3, whose header counts the words."""
    if len(head) < 6 or head[:2] != b"\x0b\x77":
        return 0
    if head[5] >> 3 > 10:
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1) if head[5] >> 3 <= 16 else 0
    rate, index = head[4] >> 6, head[4] & 63
    if rate == 3 or index >= 38:
        return 0
    kbps = _AC3_KBPS[index // 2]
    return 2 * (kbps * 2, kbps * 96_000 // 44_100 + index % 2, kbps * 3)[rate]


def _dts_bytes(head: bytes) -> int:
    if len(head) < 9 or head[:4] != b"\x7f\xfe\x80\x01":
        return 0
    return ((head[5] & 3) << 12 | head[6] << 4 | head[7] >> 4) + 1


def _wavpack_bytes(head: bytes) -> int:
    return struct.unpack("<I", head[4:8])[0] + 8 if head[:4] == b"wvpk" and len(head) >= 8 else 0


# FFmpeg's format -> what a frame begins with, its length by its header, and the bits that all headers of a file share
_FRAMES: dict[str, tuple[bytes, Callable[[bytes], int], bytes]] = {
    "mp3": (b"\xff", _mpeg_bytes, b"\xff\xfe\x0c"),
    "aac": (b"\xff", _adts_bytes, b"\xff\xfe\xfd\xc0"),
    "ac3": (b"\x0b\x77", _ac3_bytes, b"\xff\xff"),
    "eac3": (b"\x0b\x77", _ac3_bytes, b"\xff\xff"),
    "dts": (b"\x7f\xfe\x80\x01", _dts_bytes, b"\xff\xff\xff\xff"),
    "wv": (b"wvpk", _wavpack_bytes, b"\xff\xff\xff\xff"),
}
