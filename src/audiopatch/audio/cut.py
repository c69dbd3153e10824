"""Bring a stream of samples to the model's rate and cut it: half-overlapping segments, or a few evenly spread ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import soxr

from audiopatch.audio.source import DecodedBlock
from audiopatch.types import CutSpec


def segment_starts(n_samples: int, spec: CutSpec) -> list[int]:
    """First samples of all segments of a track of ``n_samples``, ascending; the offline definition of the cut.

    A track no longer than one segment is one segment. Otherwise segments start every hop while they fit, and one
    more is aligned to the end where samples would be left over. With ``spec.n_segments`` below that count, that many
    starts are spread evenly: at the middles of equal shares of the room a segment can slide in, so that one segment
    sits at the centre and none is pinned to the intro or the fade-out.
    """
    room = n_samples - spec.segment_samples
    if room <= 0:
        return [0] if n_samples > 0 else []
    n_hops, left_over = divmod(room, spec.hop_samples)
    n_regular = n_hops + 1 + (left_over > 0)
    if spec.n_segments is None or spec.n_segments >= n_regular:
        return [min(i * spec.hop_samples, room) for i in range(n_regular)]
    return [round(room * (i + 0.5) / spec.n_segments) for i in range(spec.n_segments)]


class Cutter:
    """Samples in, segments out, holding little more than one segment whatever the length of the track.

    ``feed`` takes any chunk (S,) float32 and yields ``(start, wave)`` of every segment it completes; ``finish`` yields
    what only the end of the track decides. For any chunking the result equals ``segment_starts`` on the whole track.
    """

    def __init__(self, spec: CutSpec):
        self._size = spec.segment_samples
        self._hop = spec.hop_samples
        self._buffer = np.empty(2 * self._size, np.float32)
        self._origin = 0  # position in the track of the buffer's first sample
        self._next = 0  # start of the next regular segment
        self.n_samples: int = 0

    def feed(self, chunk: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """chunk (S,) -> (start, wave) of the segments now complete; ``wave`` is a copy the caller may keep."""
        while chunk.size:
            held = self.n_samples - self._origin
            if held == self._buffer.size:
                held = self._forget()
            taken = chunk[: self._buffer.size - held]
            self._buffer[held : held + taken.size] = taken
            self.n_samples += taken.size
            chunk = chunk[taken.size :]
            while self._next + self._size <= self.n_samples:
                yield self._next, self._wave(self._next)
                self._next += self._hop

    def finish(self) -> Iterator[tuple[int, np.ndarray]]:
        """The segment aligned to the end, or the only one of a track shorter than a segment."""
        emitted_to = self._next - self._hop + self._size if self._next else 0
        if emitted_to < self.n_samples:
            start = max(0, self.n_samples - self._size)
            yield start, self._wave(start)

    def _forget(self) -> int:
        """Drop all but the last segment's worth: enough for the next segment and for one aligned to the end."""
        self._buffer[: self._size] = self._buffer[-self._size :]
        self._origin = self.n_samples - self._size
        return self._size

    def _wave(self, start: int) -> np.ndarray:
        begin = start - self._origin
        return self._buffer[begin : min(begin + self._size, self.n_samples - self._origin)].copy()


class Picker:
    """As ``Cutter``, for starts known beforehand: keeps only the samples some chosen segment still needs."""

    def __init__(self, starts: Sequence[int], size: int):
        self._waiting = list(reversed(starts))
        self._size = size
        self._kept: list[np.ndarray] = []
        self._origin = 0
        self.n_samples: int = 0

    def feed(self, chunk: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """chunk (S,) -> (start, wave) of the segments now complete."""
        self.n_samples += chunk.size
        self._kept.append(chunk)
        while self._waiting and self._waiting[-1] + self._size <= self.n_samples:
            yield self._take(self._waiting.pop())
        if not self._waiting or self._waiting[-1] >= self.n_samples:
            self._kept, self._origin = [], self.n_samples

    def finish(self) -> Iterator[tuple[int, np.ndarray]]:
        """Segments cut short because the track ended before its measured length; none that would hold nothing."""
        while self._waiting and self._waiting[-1] < self.n_samples:
            yield self._take(self._waiting.pop())

    def _take(self, start: int) -> tuple[int, np.ndarray]:
        held = np.concatenate(self._kept)
        wave = held[start - self._origin : start - self._origin + self._size].copy()
        if start > self._origin:
            held, self._origin = held[start - self._origin :], start
        self._kept = [held]
        return start, wave


_NOTHING = np.empty(0, np.float32)


class Resampler:
    """Blocks at native rates -> chunks (S,) float32 at ``sample_rate``: soxr HQ, delay compensated.

    A change of the native rate within a file (chained streams, damaged headers) ends one soxr stream and begins
    another. Blocks are fed a second at a time, which bounds what one lying header can make soxr allocate.
    """

    def __init__(self, sample_rate: int):
        self.sample_rate = sample_rate
        self._native_rate = 0
        self._stream: soxr.ResampleStream | None = None

    def feed(self, block: DecodedBlock) -> Iterator[np.ndarray]:
        if block.sample_rate != self._native_rate:
            yield from self.finish()
            self._native_rate = block.sample_rate
            if block.sample_rate != self.sample_rate:
                rates = block.sample_rate, self.sample_rate
                self._stream = soxr.ResampleStream(*rates, 1, dtype="float32", quality="HQ")
        if self._stream is None:
            yield block.wave
            return
        for start in range(0, block.wave.size, block.sample_rate):
            yield self._stream.resample_chunk(block.wave[start : start + block.sample_rate])

    def finish(self) -> Iterator[np.ndarray]:
        """The samples soxr still holds; the resampler can be fed again afterwards."""
        if self._stream is not None:
            yield self._stream.resample_chunk(_NOTHING, last=True)
        self._stream, self._native_rate = None, 0
