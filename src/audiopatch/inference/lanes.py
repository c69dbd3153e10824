"""The model's threads: each computes whole batches alone, so that none waits for another."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from audiopatch.inference.extract import Extractor, Outputs
from audiopatch.models.engines.eager import USERS
from audiopatch.models.tagger import Tagger
from audiopatch.types import Segment

GPU_BATCH = 64  # segments


class Lanes:
    """Runs batches side by side; several threads may submit at once.

    On a CPU there is a lane for each of torch's threads: layers shared among all threads leave most of them waiting
    (two Zen 5 cores, float32: lanes are 1.7 times as fast for the default model, 1.2 for MAEST-30s). On a GPU there
    are two, each with a stream of its own: one copies while the other computes.
    """

    def __init__(self, extractor: Extractor):
        self._extractor = extractor
        device = extractor.tagger.device
        self._n_threads = torch.get_num_threads()
        self.n: int = 2 if device.type == "cuda" else self._n_threads
        # Its threads end with the pool, and so must know nothing that keeps it: neither these lanes nor the model.
        self._pool = ThreadPoolExecutor(self.n, "model", _enter, (device, max(1, self._n_threads // self.n)))
        self._fast: Callable[[], object] = lambda: None
        if device.type == "cpu":
            USERS.enter()
            self._fast = weakref.finalize(self, USERS.leave)

    def submit(self, batch: Sequence[Segment]) -> Future[Outputs]:
        """Segments of equal length; the future raises what ``Extractor`` raises."""
        return self._pool.submit(self._extractor, batch)

    def map(self, batches: Iterable[Sequence[Segment]]) -> Iterator[Outputs]:
        """Outputs in the order of the batches, of which a few are taken ahead: the model without all the rest."""
        waiting: deque[Future[Outputs]] = deque()
        for batch in batches:
            waiting.append(self.submit(batch))
            if len(waiting) > 2 * self.n:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def close(self) -> None:
        """End its threads, and let torch multiply as before."""
        self._pool.shutdown()
        self.restore_threads()
        self._fast()

    def restore_threads(self) -> None:
        """Let threads made from now on have as many threads as before; each lane told torch its own number."""
        torch.set_num_threads(self._n_threads)


def _enter(device: torch.device, n_threads: int) -> None:
    """Make this thread a lane."""
    if device.type == "cuda":
        torch.cuda.set_stream(torch.cuda.Stream(device))
    else:
        torch.set_num_threads(n_threads)


def batch_size_for(tagger: Tagger) -> int:
    """Segments that a lane computes at once, by default.

    On a CPU more than one clip gains a transformer nothing, and then its memory comes fresh from the system every
    time; the many small steps of a convolutional network gain a quarter.
    """
    if tagger.device.type == "cuda":
        return GPU_BATCH
    return 1 if tagger.grid else 2
