"""From decoded segments to finished rows: batched, inferred, pooled. Every runner goes through these stages."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from audiopatch.audio.decode import Outcome
from audiopatch.errors import TrackError
from audiopatch.inference.beginnings import First, set_aside
from audiopatch.inference.collect import Collector, Ended, Row
from audiopatch.inference.extract import Extractor
from audiopatch.inference.feed import Feed, Inferred
from audiopatch.inference.lanes import Lanes, batch_size_for
from audiopatch.inference.settings import Analysis
from audiopatch.models.tagger import Tagger


@dataclass(frozen=True)
class Finished:
    """A step of a run: the rows of the tracks that it completed, and how many segments the model saw for it."""

    rows: Sequence[Row]
    n_inferences: int = 0


class Stages:
    """The model and what stands around it. Several threads may use it at once; they share the model's lanes."""

    def __init__(self, tagger: Tagger, analysis: Analysis, *, batch_size: int | None):
        self.batch_size = batch_size or batch_size_for(tagger)
        self._analysis = analysis
        self._lanes = Lanes(Extractor(tagger, analysis, batch_size=self.batch_size))

    @property
    def queue_segments(self) -> int:
        """How many segments decoders may be ahead, so that the next batches are there in time."""
        return max(8, 2 * self.batch_size, 2 * self._lanes.n)

    def finished(
        self, decoding: Generator[Outcome], stop: threading.Event, first: First | None = None
    ) -> Generator[Finished]:
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
                    if isinstance(fed, Ended):
                        yield Finished(collector.ended(fed))
                    else:
                        yield Finished(_rows(collector, fed), len(fed.batch))
        finally:
            self._lanes.restore_threads()


def _rows(collector: Collector, inferred: Inferred) -> list[Row]:
    try:
        outputs = inferred.outputs.result()
    except TrackError as error:
        return collector.refused(inferred.batch, error.code, str(error))
    return collector.inferred(inferred.batch, outputs)
