"""The thread that takes segments from the decoders and hands them to the model in batches."""

from __future__ import annotations

import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass

from audiopatch.audio.decode import Outcome
from audiopatch.inference.batches import Batcher
from audiopatch.inference.collect import Ended
from audiopatch.inference.extract import Outputs
from audiopatch.types import Aside, Segment

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
        self._queue: queue.SimpleQueue[Inferred | Ended | None] = queue.SimpleQueue()
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

    def until(self, stop: threading.Event) -> Iterator[Inferred | Ended]:
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
                    (self._ends_ahead if isinstance(event, Ended) else self._batches_ahead).acquire()
                    if self._left.is_set():
                        break
                    if isinstance(event, Ended):
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

    def _events(self) -> Generator[list[Segment] | Ended]:
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
                    yield Ended(item, n_delivered.pop(item.track.track_id, 0))
            yield from self._batcher.rest()
