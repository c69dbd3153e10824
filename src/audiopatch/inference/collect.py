"""Outputs of batches -> rows of finished tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from audiopatch.inference.extract import Outputs
from audiopatch.inference.pooling import find_pool
from audiopatch.inference.settings import Analysis
from audiopatch.types import Aside, Decoded, Failed, Segment, SegmentRow, Track, TrackRow

Row = TrackRow | Failed | Aside


@dataclass(frozen=True)
class Ended:
    """How the decoding of a track ended, and how many of its segments are in the batches."""

    end: Decoded | Failed | Aside
    n_segments: int


@dataclass
class _Open:
    """A track on its way: the segments seen so far, its end once known, and what went wrong first."""

    rows: list[SegmentRow] = field(default_factory=list)
    ended: Ended | None = None
    failed: Failed | None = None

    @property
    def complete(self) -> bool:
        return self.ended is not None and len(self.rows) == self.ended.n_segments


class Collector:
    """Follows every open track until its end is known and its last segment inferred; then it becomes one row."""

    def __init__(self, analysis: Analysis):
        self._analysis = analysis
        self._pool = find_pool(analysis.pool)
        self._limit = float(np.finfo(analysis.vectors).max)
        self._open: dict[str, _Open] = {}

    def inferred(self, segments: Sequence[Segment], outputs: Outputs) -> list[Row]:
        """Rows of the tracks that these segments completed."""
        finished: list[Row] = []
        for place, segment in enumerate(segments):
            scores = None if outputs.scores is None else outputs.scores[place]
            embedding = None if outputs.embeddings is None else outputs.embeddings[place]
            passes = None if outputs.passes is None else outputs.passes[place]
            row = SegmentRow(segment.index, segment.start_s, segment.end_s, scores, embedding, passes)
            finished += self._add(segment, row, self._problem(scores, embedding))
        return finished

    def refused(self, segments: Sequence[Segment], code: str, message: str) -> list[Row]:
        """Segments that could not be inferred: their tracks fail."""
        empty = [SegmentRow(segment.index, segment.start_s, segment.end_s, None, None) for segment in segments]
        pairs = zip(segments, empty, strict=True)
        return [finished for segment, row in pairs for finished in self._add(segment, row, (code, message))]

    def ended(self, ended: Ended) -> list[Row]:
        """The track's row, if all of its segments are inferred already."""
        self._state(ended.end.track).ended = ended
        return self._finish(ended.end.track)

    def _state(self, track: Track) -> _Open:
        return self._open.setdefault(track.track_id, _Open())

    def _add(self, segment: Segment, row: SegmentRow, problem: tuple[str, str] | None) -> list[Row]:
        state = self._state(segment.track)
        state.rows.append(row)
        if problem and not state.failed:
            state.failed = Failed(segment.track, problem[0], "infer", problem[1], position_s=segment.start_s)
        return self._finish(segment.track)

    def _problem(self, scores: np.ndarray | None, embedding: np.ndarray | None) -> tuple[str, str] | None:
        if scores is not None and not np.isfinite(scores).all():
            return "E_NAN", "the model gave a score that is not a finite number"
        if embedding is not None and not (np.abs(embedding) <= self._limit).all():  # NaN compares false
            return "E_NAN", f"the embedding holds numbers that {self._analysis.vectors} cannot"
        return None

    def _finish(self, track: Track) -> list[Row]:
        state = self._open[track.track_id]
        if not state.complete:
            return []
        del self._open[track.track_id]
        assert state.ended is not None
        if isinstance(state.ended.end, Failed | Aside):
            return [state.ended.end]
        if not state.rows:
            return [Failed(track, "E_EMPTY", "decode", "no audio in it", state.ended.end.decoders_tried)]
        return [state.failed or self._pooled(state.ended.end, sorted(state.rows, key=lambda row: row.index))]

    def _pooled(self, decoded: Decoded, rows: list[SegmentRow]) -> TrackRow:
        """In the order of the segments, so that the sums do not depend on how batches fell."""
        scores = _stack([row.scores for row in rows])
        passes = _stack([row.passes for row in rows])  # (segments, K, C)
        by_pass = None if passes is None else np.stack([self._pool(one) for one in passes.swapaxes(0, 1)])
        embeddings = _stack([row.embedding for row in rows])
        return TrackRow(
            decoded,
            scores=None if scores is None else self._pool(scores) if by_pass is None else by_pass.mean(axis=0),
            scores_max=None if scores is None else scores.max(axis=0),
            embedding=None if embeddings is None else embeddings.mean(axis=0),
            segments=tuple(rows) if self._analysis.timeline else (),
            scores_sd=None if by_pass is None else by_pass.std(axis=0, ddof=1),
        )


def _stack(vectors: list[np.ndarray | None]) -> np.ndarray | None:
    present = [vector for vector in vectors if vector is not None]
    return np.stack(present) if present else None
