"""Decode many tracks at once in worker processes, so that a native crash or a hang costs one file."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress

from audiopatch.audio.decode import Outcome, decode_track
from audiopatch.audio.worker_process import WorkerProcess
from audiopatch.errors import EnvironmentProblem
from audiopatch.types import DECODER_MB, CutSpec, Failed, Segment, Track

# A worker that dies this often before it takes up a track will go on doing so.
_MAX_STARTS = 3
# How long closing waits for threads that hang in the caller's own iterator.
_STOP_S = 5.0


def decode_tracks(
    tracks: Iterable[Track],
    spec: CutSpec,
    *,
    workers: int,
    timeout_s: float = 60.0,
    memory_mb: int = DECODER_MB,
    queue_segments: int = 64,
) -> Generator[Outcome]:
    """Segments of all tracks as they come, and exactly one ``Decoded`` or ``Failed`` per track, after its segments.

    A first worker starts at once, another up to ``workers`` whenever nothing is waiting to be taken.
    Tracks are taken from the iterable only as workers become free, one thread at a time; their outcomes interleave,
    each track's own stay in order. At most ``queue_segments`` wait here, besides one in each worker's hands. A worker
    that dies fails its track with E_WORKER_CRASH, one that shows no progress for ``timeout_s`` is killed and fails it
    with E_TIMEOUT; segments such a track gave before are void. A worker gets no more than ``memory_mb`` (Linux); a
    file that asks for more is E_OOM. ``workers=0`` decodes in this process, without either
    protection. Closing the generator stops the workers at once; they also leave by themselves when this process dies.
    """
    if workers == 0:
        for track in tracks:
            yield from decode_track(track, spec)
        return
    pool = _Pool(tracks, spec, workers=workers, timeout_s=timeout_s, memory_mb=memory_mb, queue_segments=queue_segments)
    try:
        yield from pool.outcomes()
    finally:
        pool.stop()


class _Pool:
    """One thread per worker; each leads its worker through one track after another and queues what comes."""

    def __init__(
        self,
        tracks: Iterable[Track],
        spec: CutSpec,
        *,
        workers: int,
        timeout_s: float,
        memory_mb: int,
        queue_segments: int,
    ):
        self._tracks = iter(tracks)
        self._spec = spec
        self._timeout_s, self._memory_mb = timeout_s, memory_mb
        self._lock = threading.Lock()  # guards the iterator
        self._workers: dict[int, WorkerProcess] = {}  # by slot
        self._workers_lock = threading.Lock()
        self._stopping = threading.Event()
        self._queue: queue.Queue[Outcome | BaseException | None] = queue.Queue(max(1, queue_segments))
        self._threads = [threading.Thread(target=self._serve, args=(slot,), daemon=True) for slot in range(workers)]

    def outcomes(self) -> Iterator[Outcome]:
        threading.Thread(target=self._watch, daemon=True).start()
        waiting, n_serving = iter(self._threads), 0
        while True:
            if self._queue.empty() and (thread := next(waiting, None)) is not None:
                thread.start()
                n_serving += 1
            if not n_serving:
                return
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                n_serving -= 1
            else:
                yield item

    def stop(self) -> None:
        """Kill what runs and let the threads go; nobody reads the queue any more, so empty it until they have."""
        self._stopping.set()
        with self._workers_lock:
            for worker in self._workers.values():
                worker.kill()
        give_up = time.monotonic() + _STOP_S  # a thread may be held by a slow walk; it is a daemon, so let it
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < give_up:
            with suppress(queue.Empty):
                self._queue.get(timeout=0.02)

    def _serve(self, slot: int) -> None:
        """The life of one slot: its failures reach the caller as exceptions from ``outcomes``."""
        try:
            while not self._stopping.is_set() and (track := self._next_track()) is not None:
                self._decode(slot, track)
        except BaseException as error:
            if not self._stopping.is_set():
                self._queue.put(error)
        finally:
            self._retire(slot)
            self._queue.put(None)

    def _next_track(self) -> Track | None:
        with self._lock:
            return next(self._tracks, None)

    def _decode(self, slot: int, track: Track) -> None:
        worker = self._begin(slot, track)
        position_s = None
        try:
            for outcome in worker.outcomes(track):
                position_s = outcome.end_s if isinstance(outcome, Segment) else position_s
                self._queue.put(outcome)
        except EOFError:
            self._retire(slot)
            if worker.timed_out:
                code, message = "E_TIMEOUT", f"no progress for {self._timeout_s:g} s"
            else:
                code, message = "E_WORKER_CRASH", f"the decoder crashed ({worker.ending()})"
            self._queue.put(Failed(track, code, "decode", message, position_s=position_s))

    def _begin(self, slot: int, track: Track) -> WorkerProcess:
        """A worker that has taken up the track. One that died idle (killed from outside) is not the track's fault."""
        for _ in range(_MAX_STARTS):
            worker = self._workers.get(slot) or self._start(slot)
            try:
                worker.begin(track, self._spec)
            except (EOFError, OSError):
                self._retire(slot)
            else:
                return worker
        raise EnvironmentProblem(f"decode workers die before they can work ({worker.ending()})")

    def _start(self, slot: int) -> WorkerProcess:
        with self._workers_lock:
            if self._stopping.is_set():
                raise EnvironmentProblem("the pool is stopping")
            worker = self._workers[slot] = WorkerProcess(self._memory_mb)
        worker.wait_until_ready()
        return worker

    def _retire(self, slot: int) -> None:
        with self._workers_lock:
            worker = self._workers.pop(slot, None)
        if worker is not None:
            worker.close()

    def _watch(self) -> None:
        """Kill workers that owe us a message for too long. Time they wait for us does not count: then it is there."""
        while not self._stopping.wait(min(1.0, self._timeout_s / 4)):
            with self._workers_lock:
                for worker in self._workers.values():
                    if worker.silent_s() > self._timeout_s:
                        worker.timed_out = True
                        worker.kill()
