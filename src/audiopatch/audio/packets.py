"""The packets of a file by their hash: what must not change when its tags do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

import av
from av.container import InputContainer
from av.error import FFmpegError

from audiopatch.audio.av_source import ANY_TEXT, AvSource
from audiopatch.audio.file import AudioFile, opened
from audiopatch.errors import TrackError, first_line
from audiopatch.types import Track

_OPTIONS = {"protocol_whitelist": "file"}  # what a file names is not fetched from a network
_MAX_FAILURES = 8  # in a row; a demuxer that fails so often without giving a packet will not recover


@dataclass(frozen=True)
class Packets:
    """``container`` as FFmpeg names it; a hash per audio stream, per other stream (pictures, text of chapters).

    ``n_errors`` counts what could not be read; the rest is in the hashes.
    """

    container: str
    audio: tuple[str, ...]
    others: tuple[str, ...]
    n_errors: int


def packets_of(path: str, *, container: str | None = None, end: int | None = None) -> Packets:
    """Read all packets of a file without decoding any. TrackError for no audio.

    ``container`` saves guessing it; at ``end`` the audio ends, for demuxers that take tags behind it for its last
    packet.
    """
    with _file(path) as content:
        content.narrow(0, content.size_bytes if end is None else end)
        form = container and container.split(",")[0]
        try:
            file = av.open(content, "r", options=_OPTIONS, format=form, **ANY_TEXT)
        except (FFmpegError, ValueError) as error:
            raise TrackError("E_DECODE", "open", f"FFmpeg cannot open it: {first_line(error)}") from None
        return _read(file, container)


def audio_hash_of(path: str) -> str | None:
    """What ``tag`` knows the audio of a file by; TrackError where there is none, None where it cannot be told."""
    with _file(path) as file, closing(AvSource(file)) as source:
        source.measure(lambda: None)
        return source.audio_hash()


def _file(path: str) -> AbstractContextManager[AudioFile]:
    return opened(Track(path, root="", track_id="", size_bytes=0, mtime_ns=0), whole=True)


def _read(file: InputContainer, container: str | None) -> Packets:
    with file:
        hashes = {stream.index: hashlib.blake2b(digest_size=16) for stream in file.streams}
        for stream in file.streams:
            codec = stream.codec_context
            hashes[stream.index].update(f"{stream.type} {codec.name if codec else ''} ".encode())
            hashes[stream.index].update(bytes(codec.extradata or b"") if codec else b"")
        n_errors = 0
        for packet in _packets(file):
            if packet is None:
                n_errors += 1
            else:
                hashes[packet.stream.index].update(packet)
        of = lambda audio: tuple(  # noqa: E731
            hashes[stream.index].hexdigest() for stream in file.streams if (stream.type == "audio") == audio
        )
        if not of(True):
            raise TrackError("E_DECODE", "open", f"no audio stream in it ({file.format.name})")
        return Packets(container or file.format.name, of(True), of(False), n_errors)


def _packets(file: InputContainer) -> Iterator[av.Packet | None]:
    """All packets of all streams; None for each failure to read one."""
    failures = 0
    while failures < _MAX_FAILURES:
        try:
            for packet in file.demux():
                failures = 0
                yield packet
            return
        except (FFmpegError, ValueError):
            failures += 1
            yield None
