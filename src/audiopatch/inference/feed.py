"""The thread that takes segments from the decoders and lays batches ready while the model works."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing, suppress

from audiopatch.audio.decode import Outcome
from audiopatch.inference.batches import Batcher
from audiopatch.inference.collect import Ended
from audiopatch.types import Segment

Fed = list[Segment] | Ended


class Feed:
    """Iterates batches and track ends. A context manager: leaving it closes ``decoding``."""

    def __init__(self, decoding: Generator[Outcome], *, batch_size: int, ahead: int = 2):
        self._decoding = decoding
        self._batcher = Batcher(batch_size, max_waiting=4 * batch_size)
        self._queue: queue.Queue[Fed | None] = queue.Queue(maxsize=ahead + 64)
        self._batches_ahead = threading.Semaphore(ahead)
        self._left = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="audiopatch-feed", daemon=True)

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._left.set()
        self._batches_ahead.release()
        while self._thread.is_alive():
            self._drop_one()
        self._thread.join()

    def until(self, stop: threading.Event) -> Iterator[Fed]:
        """Batches and ends, until all are given or ``stop`` is set."""
        while not stop.is_set():
            try:
                fed = self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
            if fed is None:
                break
            if isinstance(fed, list):
                self._batches_ahead.release()
            yield fed
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            with closing(self._events()) as events:
                for fed in events:
                    if isinstance(fed, list):
                        self._batches_ahead.acquire()
                    if self._left.is_set():
                        break
                    self._queue.put(fed)
        except BaseException as error:
            self._error = error
        self._queue.put(None)

    def _events(self) -> Generator[Fed]:
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

    def _drop_one(self) -> None:
        with suppress(queue.Empty):
            self._queue.get(timeout=0.05)
