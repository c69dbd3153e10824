"""What a decode task does on a cluster. Free of torch, so that a process that only decodes stays small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from audiopatch.audio.decode import Outcome
from audiopatch.audio.pool import decode_tracks
from audiopatch.types import CutSpec, Segment, Track

_CHUNK_BYTES = 8 << 20  # large enough that handing it over costs little, small beside any object store
_QUEUE_SEGMENTS = 8


def decode(tracks: Sequence[Track], cut: CutSpec, timeout_s: float) -> Iterator[list[Outcome]]:
    """The outcomes of ``tracks`` in chunks; a file that crashes or hangs its decoder costs that file only."""
    chunk: list[Outcome] = []
    n_bytes = 0
    with closing(
        decode_tracks(tracks, cut, workers=1, timeout_s=timeout_s, queue_segments=_QUEUE_SEGMENTS)
    ) as outcomes:
        for outcome in outcomes:
            chunk.append(outcome)
            n_bytes += outcome.wave.nbytes if isinstance(outcome, Segment) else 0
            if n_bytes >= _CHUNK_BYTES:
                yield chunk
                chunk, n_bytes = [], 0
    if chunk:
        yield chunk
