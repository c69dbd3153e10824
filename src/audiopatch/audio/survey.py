"""How much audio a library holds, from headers, and from a few whole files of formats whose headers do not tell."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from audiopatch.audio.av_source import AvSource
from audiopatch.audio.cut import segment_starts
from audiopatch.audio.file import opened
from audiopatch.errors import TrackError
from audiopatch.types import CutSpec, Track

_MAX_HEADERS = 1000
_MAX_MEASURED = 48  # files that are read to their end; each may be an hour long, or lie in a bucket


@dataclass(frozen=True)
class Survey:
    """``n_tracks`` files with about ``audio_s`` seconds that cut into ``n_segments``; ``n_read`` headers were read."""

    n_tracks: int
    audio_s: float
    n_segments: float
    n_read: int


def survey(tracks: Sequence[Track], spec: CutSpec, *, max_headers: int = _MAX_HEADERS) -> Survey:
    """Read up to ``max_headers`` headers, drawn at random; the rest counts by size, as its file type's average does.

    Files without a readable header count as nothing: the run will find them broken. Where headers do not tell lengths
    (Ogg, AAC, MP3 without a frame count), a few files of the type are read to their end instead.
    """
    drawn = random.Random(0).sample(list(tracks), min(max_headers, len(tracks)))
    read: dict[str, list[tuple[int, float, int]]] = defaultdict(list)  # type -> (bytes, seconds, segments)
    n_measured = 0
    for track in drawn:
        seconds, declared = length_s(track, measure=n_measured < _MAX_MEASURED)
        n_measured += not declared
        if seconds is None:
            continue
        segments = len(segment_starts(round(seconds * spec.sample_rate), spec))
        read[_type(track)].append((track.size_bytes, seconds, segments))
    audio_s = n_segments = 0.0
    for track in tracks:
        known = read.get(_type(track))
        if known is None:
            continue
        share = track.size_bytes / max(1.0, mean(size for size, _, _ in known))
        audio_s += share * mean(seconds for _, seconds, _ in known)
        n_segments += share * mean(segments for _, _, segments in known)
    return Survey(len(tracks), audio_s, n_segments, len(drawn))


def length_s(track: Track, *, measure: bool) -> tuple[float | None, bool]:
    """(seconds of a track, whether its header tells); None where it does not and nobody shall ``measure`` it.

    0 for a file that cannot be read.
    """
    try:
        with opened(track, whole=False) as file, closing(AvSource(file)) as source:
            if source.header.declared_s is not None:
                return source.header.declared_s, True
            return (source.measure(lambda: None) if measure else None), False
    except (TrackError, OSError):
        return 0.0, True


def _type(track: Track) -> str:
    return Path(track.path).suffix.lower()
