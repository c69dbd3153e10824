"""From decoded segments to finished rows: batched, inferred, pooled. Every runner goes through these stages."""

from __future__ import annotations

import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from audiopatch.audio.decode import Outcome
from audiopatch.errors import TrackError
from audiopatch.events import NOTHING, Spent
from audiopatch.inference.beginnings import First, set_aside
from audiopatch.inference.extract import Extractor, Lanes, Outputs, batch_size_for
from audiopatch.inference.settings import Analysis, find_pool
from audiopatch.models.tagger import Tagger
from audiopatch.types import Aside, Decoded, Failed, Segment, SegmentRow, Track, TrackRow


@dataclass(frozen=True)
class Step:
    """A step of a run: rows of the tracks that it completed, how many segments the model saw for it, and its time."""

    rows: Sequence[StageRow]
    n_inferences: int = 0
    spent: Spent = NOTHING


class Stages:
    """The model and what stands around it. Several threads may use it at once; they share the model's lanes.

    A context manager: leaving it ends the lanes.
    """

    def __init__(self, tagger: Tagger, analysis: Analysis, *, batch_size: int | None):
        self.batch_size: int = batch_size or batch_size_for(tagger)
        self._analysis = analysis
        self._lanes = Lanes(Extractor(tagger, analysis, batch_size=self.batch_size))

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *error: object) -> None:
        self._lanes.close()

    @property
    def queue_segments(self) -> int:
        """How many segments decoders may be ahead, so that the next batches are there in time."""
        return max(8, 2 * self.batch_size, 2 * self._lanes.n)

    def finished(
        self, decoding: Generator[Outcome], stop: threading.Event, first: First | None = None
    ) -> Generator[Step]:
        """One step per batch and per end of a track, until all are through or ``stop`` is set; closes ``decoding``.

        With ``first`` tracks that begin like an earlier one are set aside.
        """
        collector = Collector(self._analysis)
        feed = Feed(
            set_aside(decoding, first) if first else decoding,
            self._lanes.submit,
            batch_size=self.batch_size,
            ahead=2 * self._lanes.n,
        )
        try:
            with feed:
                for fed in feed.until(stop):
                    if isinstance(fed, TrackEnd):
                        yield Step(collector.ended(fed))
                    else:
                        yield _step(collector, fed)
        finally:
            self._lanes.restore_threads()


def _step(collector: Collector, inferred: Inferred) -> Step:
    batch = inferred.batch
    try:
        outputs = inferred.outputs.result()
    except TrackError as error:
        return Step(collector.refused(batch, error.code, str(error)), len(batch))
    return Step(collector.inferred(batch, outputs), len(batch), outputs.spent)


_ENDS_AHEAD = 64


@dataclass(frozen=True)
class Inferred:
    """A batch that the model is done with; ``outputs`` raises what went wrong."""

    batch: list[Segment]
    outputs: Future[Outputs]


class Feed:
    """Iterates inferred batches and track ends, as they come. A context manager: leaving it closes ``decoding``.

    ``submit`` starts the inference of a batch; at most ``ahead`` of them are neither done nor taken.
    """

    def __init__(
        self,
        decoding: Generator[Outcome | Aside],
        submit: Callable[[list[Segment]], Future[Outputs]],
        *,
        batch_size: int,
        ahead: int,
    ):
        self._decoding = decoding
        self._submit = submit
        self._batcher = Batcher(batch_size, max_waiting=4 * batch_size)
        self._queue: queue.SimpleQueue[Inferred | TrackEnd | None] = queue.SimpleQueue()
        self._batches_ahead, self._ends_ahead = threading.Semaphore(ahead), threading.Semaphore(_ENDS_AHEAD)
        self._n_submitted = 0
        self._latest: deque[Future[Outputs]] = deque(maxlen=ahead)
        self._left = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="audiopatch-feed", daemon=True)

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._left.set()
        self._batches_ahead.release()
        self._ends_ahead.release()
        self._thread.join()
        for outputs in self._latest:
            outputs.cancel()  # unless begun

    def until(self, stop: threading.Event) -> Iterator[Inferred | TrackEnd]:
        """Batches and ends, until all are given or ``stop`` is set."""
        n_taken, all_submitted = 0, False
        while not stop.is_set() and not (all_submitted and n_taken == self._n_submitted):
            try:
                fed = self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
            if fed is None:
                all_submitted = True
                continue
            if isinstance(fed, Inferred):
                n_taken += 1
                self._batches_ahead.release()
            else:
                self._ends_ahead.release()
            yield fed
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            with closing(self._events()) as events:
                for event in events:
                    (self._ends_ahead if isinstance(event, TrackEnd) else self._batches_ahead).acquire()
                    if self._left.is_set():
                        break
                    if isinstance(event, TrackEnd):
                        self._queue.put(event)
                    else:
                        self._infer(event)
        except BaseException as error:
            self._error = error
        self._queue.put(None)

    def _infer(self, batch: list[Segment]) -> None:
        outputs = self._submit(batch)
        self._n_submitted += 1  # only then: what was refused does not come back, and nobody shall wait for it
        self._latest.append(outputs)
        outputs.add_done_callback(lambda done: self._queue.put(Inferred(batch, done)))

    def _events(self) -> Generator[list[Segment] | TrackEnd]:
        n_delivered: Counter[str] = Counter()
        with closing(self._decoding) as decoding:
            for item in decoding:
                if self._left.is_set():
                    return
                if isinstance(item, Segment):
                    n_delivered[item.track.track_id] += 1
                    if batch := self._batcher.add(item):
                        yield batch
                else:
                    yield TrackEnd(item, n_delivered.pop(item.track.track_id, 0))
            yield from self._batcher.rest()


@dataclass
class Batcher:
    """Groups segments by length: a track shorter than a segment is a shape of its own.

    At most ``max_waiting`` segments wait for company; beyond that the largest group goes as it is, so that a library of
    a million odd lengths needs no more memory than one of a single length.
    """

    batch_size: int
    max_waiting: int = 0
    _groups: dict[int, list[Segment]] = field(default_factory=dict)
    _n_waiting: int = 0

    def add(self, segment: Segment) -> list[Segment] | None:
        """A batch when one is ready."""
        group = self._groups.setdefault(len(segment.wave), [])
        group.append(segment)
        self._n_waiting += 1
        if len(group) >= self.batch_size:
            return self._take(len(segment.wave))
        if self._n_waiting > max(self.max_waiting, self.batch_size):
            return self._take(max(self._groups, key=lambda n_samples: len(self._groups[n_samples]) * n_samples))
        return None

    def rest(self) -> Iterator[list[Segment]]:
        """Whatever is still waiting."""
        while self._groups:
            yield self._take(next(iter(self._groups)))

    def _take(self, n_samples: int) -> list[Segment]:
        batch = self._groups.pop(n_samples)
        self._n_waiting -= len(batch)
        return batch


StageRow = TrackRow | Failed | Aside


@dataclass(frozen=True)
class TrackEnd:
    """How the decoding of a track ended, and how many of its segments are in the batches."""

    end: Decoded | Failed | Aside
    n_segments: int


@dataclass
class _Open:
    """A track on its way: the segments seen so far, its end once known, and what went wrong first."""

    rows: list[SegmentRow] = field(default_factory=list)
    ended: TrackEnd | None = None
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

    def inferred(self, segments: Sequence[Segment], outputs: Outputs) -> list[StageRow]:
        """Rows of the tracks that these segments completed."""
        finished: list[StageRow] = []
        for place, segment in enumerate(segments):
            scores = None if outputs.scores is None else outputs.scores[place]
            embedding = None if outputs.embeddings is None else outputs.embeddings[place]
            row = SegmentRow(segment.index, segment.start_s, segment.end_s, scores, embedding)
            finished += self._add(segment, row, self._problem(scores, embedding))
        return finished

    def refused(self, segments: Sequence[Segment], code: str, message: str) -> list[StageRow]:
        """Segments that could not be inferred: their tracks fail."""
        empty = [SegmentRow(segment.index, segment.start_s, segment.end_s, None, None) for segment in segments]
        pairs = zip(segments, empty, strict=True)
        return [finished for segment, row in pairs for finished in self._add(segment, row, (code, message))]

    def ended(self, ended: TrackEnd) -> list[StageRow]:
        """The track's row, if all of its segments are inferred already."""
        self._state(ended.end.track).ended = ended
        return self._finish(ended.end.track)

    def _state(self, track: Track) -> _Open:
        return self._open.setdefault(track.track_id, _Open())

    def _add(self, segment: Segment, row: SegmentRow, problem: tuple[str, str] | None) -> list[StageRow]:
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

    def _finish(self, track: Track) -> list[StageRow]:
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
        embeddings = _stack([row.embedding for row in rows])
        return TrackRow(
            decoded,
            scores=None if scores is None else self._pool(scores),
            scores_max=None if scores is None else scores.max(axis=0),
            embedding=None if embeddings is None else embeddings.mean(axis=0),
            segments=tuple(rows) if self._analysis.timeline else (),
        )


def _stack(vectors: list[np.ndarray | None]) -> np.ndarray | None:
    present = [vector for vector in vectors if vector is not None]
    return np.stack(present) if present else None
