"""The values that travel between the steps: tracks, segments, and how each track ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# What a decoder may take before a lying header is refused; honest files need a tenth.
DECODER_MB = 2112


@dataclass(frozen=True)
class Track:
    """One audio file of a library, as the walk found it (nothing of it read yet).

    ``path`` is the path to open, with surrogate escapes where the name is not UTF-8; ``root`` is the input it
    was found under; ``track_id`` is 16 hex digits of BLAKE2b over the path relative to the root.
    """

    path: str
    root: str
    track_id: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class CutSpec:
    """How tracks become segments: lengths in seconds, the rate in Hz, the share two neighbours overlap.

    ``n_segments`` limits a track to that many evenly spread segments; None takes all of it.
    ``min_s`` is the shortest audio the model can take; anything shorter is E_TOO_SHORT.
    """

    sample_rate: int
    segment_s: float
    overlap: float = 0.5
    n_segments: int | None = None
    min_s: float = 0.05

    @property
    def segment_samples(self) -> int:
        return round(self.segment_s * self.sample_rate)

    @property
    def hop_samples(self) -> int:
        return max(1, round(self.segment_samples * (1 - self.overlap)))


@dataclass(frozen=True)
class Segment:
    """One cut of a track, ready for a front-end: ``wave`` (S,) float32 mono in [-1, 1] at the model's rate."""

    track: Track
    index: int
    start_s: float
    end_s: float
    wave: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Decoded:
    """A track whose audio was read to the end: its segments (indices 0..n_segments - 1) were all delivered before.

    ``damaged`` tells that some packets could not be decoded or that far less audio came than the header said;
    ``coverage`` is decoded over declared duration, 1.0 where nothing is declared. ``audio_hash`` is None where too
    little was read to tell. ``tags`` holds the file's own artist, album, title, genre where readable. ``decode_s`` is
    the CPU time it took.
    """

    track: Track
    n_segments: int
    duration_s: float
    sample_rate: int
    channels: int
    codec: str
    audio_hash: str | None
    damaged: bool = False
    n_errors: int = 0
    coverage: float = 1.0
    decoders_tried: tuple[str, ...] = ()
    message: str = ""
    tags: Mapping[str, Any] = field(default_factory=dict)
    decode_s: float = field(default=0.0, compare=False, repr=False)


@dataclass(frozen=True)
class Failed:
    """A track that gave nothing usable, in CPU time ``decode_s``: one row of the errors table.

    Codes as in ``errors.TrackError``.
    """

    track: Track
    code: str
    stage: str
    message: str
    decoders_tried: tuple[str, ...] = ()
    position_s: float | None = None
    decode_s: float = field(default=0.0, compare=False, repr=False)


@dataclass(frozen=True)
class Aside:
    """A track that was kept from the model: it begins like the track ``first``, and was decoded to its end."""

    decoded: Decoded
    first: str

    @property
    def track(self) -> Track:
        return self.decoded.track


@dataclass(frozen=True)
class SegmentRow:
    """What the model said about one segment: ``scores`` (C,) and ``embedding`` (E,), each None when not asked for."""

    index: int
    start_s: float
    end_s: float
    scores: np.ndarray | None = field(repr=False)
    embedding: np.ndarray | None = field(repr=False)


@dataclass(frozen=True)
class TrackRow:
    """What a run found out about one track: its segments pooled. ``segments`` is empty unless a timeline is asked for.

    ``scores`` (C,) are pooled as the user chose, ``scores_max`` (C,) are the highest over the segments,
    ``embedding`` (E,) is the mean over the segments; each is None when not asked for.
    """

    decoded: Decoded
    scores: np.ndarray | None = field(repr=False)
    scores_max: np.ndarray | None = field(repr=False)
    embedding: np.ndarray | None = field(repr=False)
    segments: tuple[SegmentRow, ...] = field(default=(), repr=False)

    @property
    def track(self) -> Track:
        return self.decoded.track
