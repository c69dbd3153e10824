"""What the pages of an Ogg file tell about all of it, where only some are read."""

from __future__ import annotations

import av

from audiopatch.audio.file import AudioFile

_PAGE_BYTES = 65_307  # the most that a page may take (RFC 3533)
_OPUS_RATE = 48_000  # of its clock, whatever was recorded (RFC 7845)
_HEAD_BYTES = 512  # the first page holds a codec's identification alone: less than this


def told_s(file: AudioFile, stream: av.AudioStream) -> float | None:
    """Seconds by the last page; None where the file holds more than this stream."""
    if stream.duration is None or not stream.time_base or not is_one_stream(file):
        return None
    head = bytes(stream.codec_context.extradata or b"")
    unheard = int.from_bytes(head[10:12], "little") if head.startswith(b"OpusHead") else 0  # FFmpeg counts these, too
    return float(stream.duration * stream.time_base) - unheard / _OPUS_RATE


def is_one_stream(file: AudioFile) -> bool:
    """Whether the file holds one stream, whose last page then says how long it is.

    Streams side by side all begin before any goes on, and of streams in a row the last one ends: the second page and
    the last one have another serial number than the first.
    """
    head = file.peek(file.start, _HEAD_BYTES)
    tail = file.peek(max(file.start, file.end - _PAGE_BYTES), _PAGE_BYTES)
    pages = (head, head[head.find(b"OggS", 4) :], tail[tail.rfind(b"OggS") :])
    serials = {page[14:18] for page in pages}
    return all(page.startswith(b"OggS") for page in pages) and len(serials) == 1
