"""From decoded segments to finished rows: batched, inferred, pooled. Every runner goes through these stages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import torch

from audiopatch.audio.decode import Outcome
from audiopatch.errors import TrackError
from audiopatch.inference.collect import Collector, Ended, Row
from audiopatch.inference.extract import Extractor
from audiopatch.inference.feed import Feed
from audiopatch.inference.settings import Analysis
from audiopatch.models.tagger import Tagger
from audiopatch.types import Segment

Sieve = Callable[[Generator[Outcome]], Generator[Outcome]]  # takes tracks out of what the decoders give


@dataclass(frozen=True)
class Finished:
    """A step of a run: the rows of the tracks that it completed, and how many segments the model saw for it."""

    rows: Sequence[Row]
    n_inferences: int = 0


class Stages:
    """The model and what stands around it. Several threads may use it at once; the model takes turns."""

    def __init__(self, tagger: Tagger, analysis: Analysis, *, batch_size: int | None):
        self.batch_size = batch_size or _batch_size(tagger)
        self._analysis = analysis
        self._extractor = Extractor(tagger, analysis, batch_size=self.batch_size)
        self._turn = threading.Lock()

    @property
    def queue_segments(self) -> int:
        """How many segments decoders may be ahead, so that the next batches are there in time."""
        return max(8, 2 * self.batch_size)

    def finished(self, decoding: Generator[Outcome], stop: threading.Event) -> Generator[Finished]:
        """One step per batch and per end of a track, until all are through or ``stop`` is set; closes ``decoding``."""
        collector = Collector(self._analysis)
        with Feed(decoding, batch_size=self.batch_size) as feed:
            for fed in feed.until(stop):
                if isinstance(fed, Ended):
                    yield Finished(collector.ended(fed))
                else:
                    yield Finished(self._infer(collector, fed), len(fed))

    def _infer(self, collector: Collector, batch: list[Segment]) -> list[Row]:
        try:
            with self._turn:
                outputs = self._extractor(batch)
        except TrackError as error:
            return collector.refused(batch, error.code, str(error))
        return collector.inferred(batch, outputs)


def _batch_size(tagger: Tagger) -> int:
    if tagger.device.type == "cuda":
        return 64
    n_threads = torch.get_num_threads()
    return n_threads * max(1, 4 // n_threads)  # whole shares for every thread; larger batches gain nothing on a CPU
