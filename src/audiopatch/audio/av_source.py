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
from av.audio.frame import AudioFrame
from av.error import FFmpegError

from audiopatch.audio import ogg
from audiopatch.audio.file import AudioFile
from audiopatch.audio.source import (
    Damage,
    DecodedBlock,
    DecoderRefused,
    Header,
    check_rate,
    is_believable,
    measure_by_decoding,
    mono,
    named_hash,
    own_tags,
    planes_of,
)
from audiopatch.audio.surroundings import DELIMITED, after_tags, bounds
from audiopatch.audio.wav import loose_pcm
from audiopatch.errors import TrackError

av.logging.set_level(av.logging.CRITICAL)

# Decoding warms up over this much audio before a cut: bit reservoirs, overlapping windows, the resampler's filter.
PRE_ROLL_S = 0.25
# Times that are off by more than this between one packet and the next: shorter than any packet, longer than rounding.
# Ogg tells the time of a page's last packet only.
_JUMP_S, _OGG_JUMP_S = 0.0012, 0.05
# A demuxer that fails this often in a row without giving a packet will not recover.
_MAX_DEMUX_FAILURES = 8
# Container -> codecs, or how their names begin.
_SEEKABLE: dict[str, tuple[str, ...]] = {
    "wav": ("pcm_",), "w64": ("pcm_",), "aiff": ("pcm_",), "flac": ("flac",), "mp3": ("mp3",),
    "ogg": ("vorbis", "opus"), "wv": ("wavpack",), "tta": ("tta",), "mov,mp4,m4a,3gp,3g2,mj2": ("aac", "alac"),
}  # fmt: skip
# Tags that are not UTF-8 come with surrogates, unasked since PyAV 19, which has no choice any more.
ANY_TEXT: dict[str, Any] = {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}
# What playlists and the like name is not fetched from a network, nor from this machine.
_OPTIONS = {"protocol_whitelist": "none"}
# FFmpeg looks for DTS hidden in WAV through all it may probe, 5 MB: 20 ms per file, where 128 kB settle it in 5.
_WAV_PROBE = {"probesize": "131072"}
# Demuxers that open other files or invent their input: what claims to be one of these is not a recording.
_NOT_A_RECORDING = {"hls", "concat", "dash", "lavfi", "imf", "image2", "tty"}
# Formats that state how long their audio is. With the others FFmpeg guesses, from the first packets or from the last.
_STATES_LENGTH = {
    "wav", "w64", "aiff", "caf", "au", "flac", "wv", "tta", "ape", "mpc", "mpc8", "tak", "dsf", "iff", "avi",
    "mov,mp4,m4a,3gp,3g2,mj2",
}  # fmt: skip
# Formats that state how long the longest of their streams is, which may be the pictures.
_STATES_LONGEST = {"matroska,webm", "asf"}
# Demuxers that step over ID3v2 in front of the audio by themselves.
_READS_ID3 = {"mp3", "aac", "flac", "tta", "ogg"}


class AvSource:
    """One file opened by FFmpeg through PyAV. Raises ``TrackError`` (stage open) for what cannot be opened."""

    def __init__(self, file: AudioFile):
        self.damage = Damage()
        self._file = file
        self._format, self._options = None, _OPTIONS | (_WAV_PROBE if file.name.lower().endswith(".wav") else {})
        self._hash: Any = None  # of all packets, once they have been read
        self._uneven = False  # whether the packets' times were seen to jump
        file.narrow(0, file.size_bytes)
        try:
            self._open()
        except TrackError:
            start, end = bounds(file, "")
            if start == 0:
                raise
            file.narrow(start, end)
            self._open()
        self._leave_out_surroundings()

    def _leave_out_surroundings(self) -> None:
        """Open again what lies between tags and junk, and PCM as what it is; the tags of the whole file stay."""
        file, kind, header = self._file, self._container.format.name, self.header
        pcm = loose_pcm(file) if kind == "wav" and file.start == 0 else None
        if pcm is not None:
            start, end, self._format = pcm.start, pcm.end, pcm.format
            self._options = _OPTIONS | {"sample_rate": str(pcm.sample_rate), "ch_layout": pcm.layout}
        elif kind in DELIMITED or file.start:
            return
        else:
            start, end = bounds(file, kind)
            if end == file.size_bytes and (start == 0 or (kind in _READS_ID3 and start == after_tags(file))):
                return
        self._container.close()
        file.narrow(start, end)
        self._open()
        self.header = replace(self.header, tags=header.tags)

    def _open(self) -> None:
        self._file.seek(0)
        try:
            self._container = av.open(self._file, "r", format=self._format, options=self._options, **ANY_TEXT)
        except (FFmpegError, ValueError) as error:
            raise TrackError("E_DECODE", "open", f"FFmpeg cannot open it: {_words(error)}") from None
        try:
            self._stream = self._best_stream()
            self.header: Header = self._read_header()
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

    def blocks(self) -> Iterator[DecodedBlock]:
        """The whole track from its first sample."""
        self._start_over()
        yield from self._blocks(self._frames(hashing=True))

    def measure(self, beat: Callable[[], None]) -> float:
        """Seconds of audio by the packets' own clock, found (with the hash) by demuxing all without decoding any.

        Of a file that is elsewhere, where that would fetch all of it, the header is believed if it counts exactly.
        Where the clock jumps (files joined, cut out, or damaged), only decoding tells.
        """
        if (told_s := self._told_s()) is not None:
            return told_s
        self._start_over()
        clock = _Clock(self._stream)
        for n, packet in enumerate(self._packets()):
            self._hash.update(packet)
            clock.see(packet)
            if n % 1000 == 0:
                beat()
        self._uneven = clock.jumps
        if not clock.jumps and clock.duration_s > 0:
            return clock.duration_s
        return measure_by_decoding(self, beat)

    @property
    def seekable(self) -> bool:
        """By tests over every container and codec: where seeking gives the samples of a whole decode."""
        codecs = _SEEKABLE.get(self._container.format.name, ())
        return not self._uneven and self.header.codec.startswith(tuple(codecs))

    def blocks_from(self, position: int) -> Iterator[DecodedBlock]:
        """Blocks from exactly the native sample ``position`` on; only the pre-roll is decoded before it."""
        rate = self.header.sample_rate
        clock = self._stream.time_base or Fraction(1, rate)
        origin = self._stream.start_time or 0
        self._container.seek(origin + int(max(0.0, position / rate - PRE_ROLL_S) / clock), stream=self._stream)
        before = replace(self.damage)
        frames = self._frames(hashing=False)
        opening = _first_second(frames, rate)
        self.damage: Damage = before  # what fails right after a seek lacks its past; the file is not to blame
        at = _agreed_position(opening, origin, clock * rate, position)
        for block in self._blocks(chain(opening, frames)):
            begin, at = max(0, position - at), at + block.wave.size
            if begin < block.wave.size:
                yield DecodedBlock(block.sample_rate, block.wave[begin:])

    def audio_hash(self) -> str | None:
        """A hash of all packets: what the file says of itself (FLAC's MD5 of its samples) outlives the samples."""
        return None if self._hash is None else named_hash(self._hash)

    def close(self) -> None:
        self._container.close()

    def _told_s(self) -> float | None:
        """Seconds by the header, or Ogg's last page, of a file that is read in pieces; None where these may guess."""
        if self._file.whole or not self.seekable:
            return None
        is_ogg = self._container.format.name == "ogg"
        return ogg.told_s(self._file, self._stream) if is_ogg else self.header.declared_s

    def _best_stream(self) -> av.AudioStream:
        kind = self._container.format.name
        if kind in _NOT_A_RECORDING:
            raise DecoderRefused("E_DECODE", "open", f"not a recording: FFmpeg takes it for {kind}")
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
        declared_s = self._declared_s()
        tags = own_tags({**container.metadata, **stream.metadata})
        return Header(codec.sample_rate, codec.channels, codec.codec.canonical_name, declared_s, tags)

    def _declared_s(self) -> float | None:
        """Seconds by the header, where it has a place for them that is about this stream."""
        container, stream, kind = self._container, self._stream, self._container.format.name
        if kind in _STATES_LENGTH or (kind == "mp3" and _counts_frames(self._file)):
            if stream.duration is not None and stream.time_base:
                return float(stream.duration * stream.time_base)
        elif kind in _STATES_LONGEST and len(container.streams) == 1 and container.duration is not None:
            return container.duration / av.time_base
        return None

    def _packets(self) -> Iterator[av.Packet]:
        """All packets, the empty one that flushes the decoder last; read errors are counted and stepped over."""
        failures, skip = 0, _Tags(self._file) if self._container.format.name == "mp3" else None
        while failures < _MAX_DEMUX_FAILURES:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    if skip is None or not skip.holds(packet):
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

    def _blocks(self, frames: Iterator[AudioFrame]) -> Iterator[DecodedBlock]:
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

    def _block(self, frames: list[AudioFrame]) -> DecodedBlock:
        first, planes = frames[0], planes_of(frames)
        n_channels = first.layout.nb_channels
        channels = planes if first.format.is_planar else list(planes[0].reshape(-1, n_channels).T)
        places = [channel.name for channel in first.layout.channels] if n_channels > 2 else ()
        return DecodedBlock(first.sample_rate, mono(channels, places))


class _Tags:
    """Tags between the files that an MP3 was joined of: FFmpeg gives them out as packets."""

    def __init__(self, file: AudioFile):
        self._file = file
        self._end = 0

    def holds(self, packet: av.Packet) -> bool:
        """Whether the packet, which has a place in the file, lies in a tag."""
        if not packet.size or packet.pos is None:
            return False
        at = self._file.start + packet.pos
        if at >= self._end and _first_byte(packet) != 0xFF:
            self._end = after_tags(self._file, at)
        return at < self._end


class _Clock:
    """Whether packets follow each other without gap or overlap, and when the last one ends, by their own times."""

    def __init__(self, stream: av.AudioStream):
        self._origin = stream.start_time or 0
        self._base = stream.time_base or Fraction(1, stream.codec_context.sample_rate)
        is_ogg = stream.container.format.name == "ogg"
        self._slack = max(1, round((_OGG_JUMP_S if is_ogg else _JUMP_S) / self._base))
        self._is_mp3 = stream.container.format.name == "mp3"
        self._end: int | None = None
        self.jumps = False

    def see(self, packet: av.Packet) -> None:
        if packet.pts is None:
            return
        if self._is_mp3 and _first_byte(packet) != 0xFF:  # its demuxer counts what is no frame as one
            self.jumps = True
        if self._end is not None and abs(packet.pts - self._end) > self._slack:
            self.jumps = True
        lasts = packet.duration or 0
        if lasts >= 1 << 31:  # negative, without its sign: an Ogg that ends within the packet before its last one
            lasts -= 1 << 32
        self._end = max(self._end or 0, packet.pts + lasts)

    @property
    def duration_s(self) -> float:
        return float(((self._end or self._origin) - self._origin) * self._base)


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


def _first_byte(packet: av.Packet) -> int:
    return memoryview(packet)[0] if packet.size else 0xFF  # type: ignore[arg-type]


def _counts_frames(file: AudioFile) -> bool:
    """Whether an MP3 begins with the frame that tells how many there are; without it FFmpeg goes by the bit rate."""
    first_frame = file.peek(max(file.start, after_tags(file)), 512)
    return any(name in first_frame for name in (b"Xing", b"Info", b"VBRI"))


def _words(error: Exception) -> str:
    """FFmpeg's reason without the path, which the row has already."""
    return getattr(error, "strerror", None) or str(error)
