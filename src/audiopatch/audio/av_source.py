"""PyAV as a source: one audio stream, packet by packet, so that a bad packet costs that packet only."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.error import FFmpegError

from audiopatch.audio.source import (
    Block,
    Damage,
    File,
    Header,
    Refused,
    check_rate,
    is_believable,
    measure_by_decoding,
    mono,
    own_tags,
)
from audiopatch.errors import TrackError
from audiopatch.storage.reader import RemoteFile

av.logging.set_level(av.logging.CRITICAL)

# Decoding warms up over this much audio before a cut: bit reservoirs, overlapping windows, the resampler's filter.
PRE_ROLL_S = 0.25
# A demuxer that fails this often in a row without giving a packet will not recover.
_MAX_DEMUX_FAILURES = 8
# Formats whose seeking tests have shown to give the samples of a whole decode. The others (WMA and Matroska count in
# milliseconds) are decoded whole.
_SEEKABLE = {"wav", "aiff", "flac", "mp3", "ogg", "wv", "tta", "mov,mp4,m4a,3gp,3g2,mj2"}
# What playlists and the like name is not fetched from a network.
_OPTIONS = {"protocol_whitelist": "file"}
# FFmpeg looks for DTS hidden in WAV through all it may probe, 5 MB: 20 ms per file, where 128 kB settle it in 5.
_WAV_PROBE = {"probesize": "131072"}
_WAV_OPTIONS = _OPTIONS | _WAV_PROBE
# A file that is elsewhere has nothing to name here.
_REMOTE_OPTIONS = {"protocol_whitelist": "none"}
# Demuxers that open other files or invent their input: what claims to be one of these is not a recording.
_NOT_A_RECORDING = {"hls", "concat", "dash", "lavfi", "imf", "image2", "tty"}
# Formats without a length, where FFmpeg guesses one from the first packets' bit rate.
_GUESSED_LENGTH = {"aac", "ac3", "eac3", "dts", "amr", "truehd"}


class AvSource:
    """One file opened by FFmpeg through PyAV. Raises ``TrackError`` (stage open) for what cannot be opened."""

    def __init__(self, file: File):
        self.damage = Damage()
        self._file = file
        self._hash: Any = None  # of all packets, once they have been read
        self._downmix: tuple[object, av.AudioResampler] | None = None
        self._open()

    def _open(self) -> None:
        try:
            if isinstance(self._file, str):
                # "file:" keeps a name such as "concat:x" from naming a protocol.
                options = _WAV_OPTIONS if self._file.lower().endswith(".wav") else _OPTIONS
                self._container = av.open(f"file:{self._file}", options=options, metadata_errors="replace")
            else:
                self._file.seek(0)
                options = _REMOTE_OPTIONS | (_WAV_PROBE if self._file.name.lower().endswith(".wav") else {})
                self._container = av.open(self._file, "r", options=options, metadata_errors="replace")
        except (FFmpegError, ValueError) as error:
            raise TrackError("E_DECODE", "open", f"FFmpeg cannot open it: {_words(error)}") from None
        try:
            self._stream = self._best_stream()
            self.header = self._read_header()
        except BaseException:
            self._container.close()
            raise
        self._touched = False

    def _start_over(self) -> None:
        """Back to the first packet; opening again is the one way that works for every format."""
        if self._touched:
            self.close()
            self._open()
        self._touched = True
        self.damage = Damage()
        self._hash = hashlib.blake2b(digest_size=16)

    def blocks(self) -> Iterator[Block]:
        """The whole track from its first sample."""
        self._start_over()
        yield from self._blocks(self._frames(hashing=True))

    def measure(self, beat: Callable[[], None]) -> float:
        """Seconds of audio by the packets' own clock, found (with the hash) by demuxing all without decoding any.

        Of a file that is elsewhere, where that would fetch all of it, the header is believed if it counts exactly.
        """
        if (told_s := self._told_s()) is not None:
            return told_s
        self._start_over()
        end = origin = self._stream.start_time or 0
        for n, packet in enumerate(self._packets()):
            self._hash.update(packet)
            if packet.pts is not None:
                end = max(end, packet.pts + (packet.duration or 0))
            if n % 1000 == 0:
                beat()
        if end > origin and self._stream.time_base:
            return float((end - origin) * self._stream.time_base)
        return measure_by_decoding(self, beat)

    @property
    def seekable(self) -> bool:
        return self._container.format.name in _SEEKABLE

    def blocks_from(self, position: int) -> Iterator[Block]:
        """Blocks from exactly the native sample ``position`` on; only the pre-roll is decoded before it."""
        rate = self.header.sample_rate
        clock = self._stream.time_base or Fraction(1, rate)
        origin = self._stream.start_time or 0
        self._container.seek(origin + int(max(0.0, position / rate - PRE_ROLL_S) / clock), stream=self._stream)
        before = replace(self.damage)
        frames = self._frames(hashing=False)
        opening = _first_second(frames, rate)
        self.damage = before  # what fails right after a seek lacks its past; the file is not to blame
        at = _agreed_position(opening, origin, clock * rate, position)
        for block in self._blocks(chain(opening, frames)):
            begin, at = max(0, position - at), at + block.wave.size
            if begin < block.wave.size:
                yield Block(block.sample_rate, block.wave[begin:])

    def audio_hash(self) -> str | None:
        """The MD5 of the samples where FLAC states it and nothing contradicts it, else a hash of all packets."""
        md5 = _flac_md5(self._stream.codec_context)
        if md5 and not self.damage.n_errors:
            return md5
        return None if self._hash is None else self._hash.hexdigest()

    def close(self) -> None:
        self._container.close()

    def _told_s(self) -> float | None:
        """Seconds by the header of a file that is read in pieces; None where it may guess."""
        if isinstance(self._file, str) or self._file.whole or not self.seekable:
            return None
        if self._container.format.name == "mp3" and not _counts_frames(self._file):
            return None
        return self.header.declared_s

    def _best_stream(self) -> av.AudioStream:
        kind = self._container.format.name
        if kind in _NOT_A_RECORDING:
            raise Refused("E_DECODE", "open", f"not a recording: FFmpeg takes it for {kind}")
        stream = self._container.streams.best("audio")
        if not isinstance(stream, av.AudioStream):
            raise TrackError("E_DECODE", "open", f"no audio stream in it ({kind})")
        if stream.codec_context is None:
            raise TrackError("E_DECODE", "open", f"FFmpeg has no decoder for it ({kind})")
        return stream

    def _read_header(self) -> Header:
        container, stream = self._container, self._stream
        codec = stream.codec_context
        codec.thread_count = 1
        check_rate(codec.sample_rate)
        declared_s = None
        if container.format.name not in _GUESSED_LENGTH:
            if stream.duration is not None and stream.time_base:
                declared_s = float(stream.duration * stream.time_base)
            elif container.duration is not None:
                declared_s = container.duration / av.time_base
        tags = own_tags({**container.metadata, **stream.metadata})
        return Header(codec.sample_rate, codec.channels, codec.codec.canonical_name, declared_s, tags)

    def _packets(self) -> Iterator[av.Packet]:
        """All packets, the empty one that flushes the decoder last; read errors are counted and stepped over."""
        failures = 0
        while failures < _MAX_DEMUX_FAILURES:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    yield packet
                return
            except (FFmpegError, ValueError) as error:
                self.damage.add(f"FFmpeg: {_words(error)}")
                failures += 1

    def _frames(self, *, hashing: bool) -> Iterator[AudioFrame]:
        for packet in self._packets():
            if hashing:
                self._hash.update(packet)
            try:
                frames = packet.decode()
            except (FFmpegError, ValueError) as error:
                self.damage.add(f"FFmpeg: {_words(error)}")
                continue
            self.damage.n_good += len(frames)
            yield from frames

    def _blocks(self, frames: Iterator[AudioFrame]) -> Iterator[Block]:
        """Frames of 576 to 100 000 samples -> blocks of about a second: numpy is costly per call, not per sample."""
        group: list[AudioFrame] = []
        kind: tuple[str, str, int] = "", "", 0
        n_samples = 0
        for frame in frames:
            frame_kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            if group and (frame_kind != kind or n_samples >= frame.sample_rate):
                yield self._block(group)
                group, n_samples = [], 0
            if frame.samples and is_believable(frame.sample_rate):
                group.append(frame)
                kind, n_samples = frame_kind, n_samples + frame.samples
        if group:
            yield self._block(group)

    def _block(self, frames: list[AudioFrame]) -> Block:
        first, planes = frames[0], _planes(frames)
        n_channels = first.layout.nb_channels
        channels = planes if first.format.is_planar else list(planes[0].reshape(-1, n_channels).T)
        if n_channels > 2:
            channels = self._to_stereo(channels, planes, first)
        return Block(first.sample_rate, mono(channels))

    def _to_stereo(self, channels: list[np.ndarray], planes: list[np.ndarray], like: AudioFrame) -> list[np.ndarray]:
        """Surround -> float stereo by FFmpeg's matrix, which knows each channel's place; we average the two."""
        kind = (like.format.name, like.layout.name, like.sample_rate)
        if self._downmix is None or self._downmix[0] != kind:
            self._downmix = kind, av.AudioResampler(format="fltp", layout="stereo", rate=like.sample_rate)
        try:
            frame = AudioFrame.from_ndarray(np.stack(planes), format=kind[0], layout=kind[1])
            frame.sample_rate = like.sample_rate
            return _planes(self._downmix[1].resample(frame))
        except (FFmpegError, ValueError):  # channels without a known layout: all count the same
            return channels


_PCM = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64}


def _planes(frames: list[AudioFrame]) -> list[np.ndarray]:
    """Frames of one kind -> a plane (S,) per channel, or one (S * C,) with the samples of all channels side by side.

    Read straight from the buffers: ``to_ndarray`` takes three times as long per frame, which a decoded MP3 notices.
    """
    form = frames[0].format
    pcm, width = _PCM[form.name.removesuffix("p")], 1 if form.is_planar else frames[0].layout.nb_channels
    pieces = [
        [np.frombuffer(memoryview(plane), pcm, frame.samples * width) for plane in frame.planes]  # type: ignore[arg-type]
        for frame in frames
    ]
    return [np.concatenate(plane) for plane in zip(*pieces, strict=True)]


def _first_second(frames: Iterator[AudioFrame], rate: int) -> list[AudioFrame]:
    opening, n_samples = [], 0
    while n_samples < rate and (frame := next(frames, None)) is not None:
        opening.append(frame)
        n_samples += frame.samples
    return opening


def _agreed_position(frames: list[AudioFrame], origin: int, samples_per_tick: Fraction, default: int) -> int:
    """The native sample most frames agree the first one begins at: after a seek, single Ogg time stamps are wrong."""
    votes: Counter[int] = Counter()
    n_before = 0
    for frame in frames:
        if frame.pts is not None:
            votes[round((frame.pts - origin) * samples_per_tick) - n_before] += 1
        n_before += frame.samples
    return votes.most_common(1)[0][0] if votes else default


def _counts_frames(file: RemoteFile) -> bool:
    """Whether an MP3 begins with the frame that tells how many there are; without it FFmpeg goes by the bit rate."""
    before = file.tell()
    file.seek(0)
    head = file.read(10)
    if head[:3] == b"ID3":
        file.seek(10 + sum((head[6 + i] & 0x7F) << (21 - 7 * i) for i in range(4)))
    first_frame = file.read(512)
    file.seek(before)
    return any(name in first_frame for name in (b"Xing", b"Info", b"VBRI"))


def _flac_md5(codec: av.CodecContext) -> str | None:
    """The MD5 of the unencoded samples from FLAC's STREAMINFO block; None elsewhere, or where it is all zeros."""
    stream_info = bytes(codec.extradata or b"")
    if codec.name != "flac" or len(stream_info) < 34:
        return None
    md5 = stream_info[18:34]
    return md5.hex() if any(md5) else None


def _words(error: Exception) -> str:
    """FFmpeg's reason without the path, which the row has already."""
    return getattr(error, "strerror", None) or str(error)
