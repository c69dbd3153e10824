"""Whole tracks, one wave each: what training keeps of a dataset or a library."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from audiopatch.audio.pool import decode_tracks
from audiopatch.types import CutSpec, Failed, Segment, Track

_RUN_S = 30.0  # audio comes from the decoders in runs of this length


@dataclass(frozen=True, eq=False)
class Whole:
    """A track with all of its audio: wave (S,) float32, mono."""

    track: Track
    wave: np.ndarray


def decode_whole(tracks: Iterable[Track], sample_rate: int, *, workers: int) -> Generator[Whole | Failed]:
    """One ``Whole`` or ``Failed`` per track, in the order they end; ``workers`` as ``decode_tracks`` takes them."""
    pending: dict[str, list[Segment]] = {}
    with closing(decode_tracks(tracks, CutSpec(sample_rate, _RUN_S, overlap=0.0), workers=workers)) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, Segment):
                pending.setdefault(outcome.track.path, []).append(outcome)
                continue
            segments = pending.pop(outcome.track.path, [])
            yield outcome if isinstance(outcome, Failed) else Whole(outcome.track, _join(segments, sample_rate))


def _join(segments: Sequence[Segment], sample_rate: int) -> np.ndarray:
    """(S,) the whole track; its last segment is aligned to the end and overlaps the one before."""
    starts = [round(segment.start_s * sample_rate) for segment in segments]
    wave = np.empty(starts[-1] + len(segments[-1].wave), np.float32)
    for start, segment in zip(starts, segments, strict=True):
        wave[start : start + len(segment.wave)] = segment.wave
    return wave
