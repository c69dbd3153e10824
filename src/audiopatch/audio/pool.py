"""Decode many tracks at once in worker processes, so that a native crash or a hang costs one file."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from audiopatch.audio.decode import Outcome, decode_track
from audiopatch.audio.worker import outcome_from, receive, send
from audiopatch.errors import EnvironmentProblem, TrackError
from audiopatch.types import DECODER_MB, CutSpec, Failed, Segment, Track

# A worker that dies this often before it takes up a track will go on doing so.
_MAX_STARTS = 3
# How long closing waits for threads that hang in the caller's own iterator.
_STOP_S = 5.0
# Room for half a segment: the worker goes on decoding while we fetch. Linux's limit without privileges.
_PIPE_BYTES = 1 << 20
_RUN_S = 30.0  # whole tracks come from the decoders in runs of this length


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


@dataclass(frozen=True, eq=False)
class Whole:
    """A track with all of its audio: wave (S,) float32, mono."""

    track: Track
    wave: np.ndarray


def decode_whole(tracks: Iterable[Track], sample_rate: int, *, workers: int) -> Generator[Whole | Failed]:
    """One ``Whole`` or ``Failed`` per track, in the order they end; ``workers`` as ``decode_tracks`` takes them."""
    pending: dict[str, list[Segment]] = {}
    with closing(
        decode_tracks(tracks, CutSpec(sample_rate, _RUN_S, overlap=0.0, min_s=0.0), workers=workers)
    ) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, Segment):
                pending.setdefault(outcome.track.path, []).append(outcome)
                continue
            segments = pending.pop(outcome.track.path, [])
            yield outcome if isinstance(outcome, Failed) else Whole(outcome.track, _join(segments, sample_rate))


def decode(path: str | os.PathLike[str], sample_rate: int) -> np.ndarray:
    """A file as ``tag`` hears it: (S,) float32 samples in [-1, 1], mono, at ``sample_rate`` Hz.

    One that cannot be decoded is a TrackError with its code, as E_DECODE. The file is decoded in this process.
    """
    track = Track(os.fspath(path), root="", track_id="", size_bytes=0, mtime_ns=0)
    with closing(decode_whole([track], sample_rate, workers=0)) as outcomes:
        outcome = next(outcomes)
    if isinstance(outcome, Failed):
        raise TrackError(outcome.code, outcome.stage, f"{track.path}: {outcome.message}")
    return outcome.wave


def _join(segments: Sequence[Segment], sample_rate: int) -> np.ndarray:
    """(S,) the whole track; its last segment is aligned to the end and overlaps the one before."""
    starts = [round(segment.start_s * sample_rate) for segment in segments]
    wave = np.empty(starts[-1] + len(segments[-1].wave), np.float32)
    for start, segment in zip(starts, segments, strict=True):
        wave[start : start + len(segment.wave)] = segment.wave
    return wave


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
        self._workers: dict[int, _Worker] = {}  # by slot
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

    def _begin(self, slot: int, track: Track) -> _Worker:
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

    def _start(self, slot: int) -> _Worker:
        with self._workers_lock:
            if self._stopping.is_set():
                raise EnvironmentProblem("the pool is stopping")
            worker = self._workers[slot] = _Worker(self._memory_mb)
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


class _Worker:
    """The pool's end of one decode worker: its process, its two pipes, and when it was last heard of.

    ``EOFError`` from any method means that the process has gone.
    """

    def __init__(self, memory_mb: int) -> None:
        # Not multiprocessing: its children import the caller's __main__ again, whatever that does. "-P" keeps modules
        # lying in the current folder out; the session of its own keeps a Ctrl-C meant for us away from it.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "audiopatch.audio.worker", str(memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            bufsize=0,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._tasks, self._results = self._process.stdin, self._process.stdout
        _widen(self._results.fileno())
        self._waiting_since: float | None = None
        self.timed_out = False

    def wait_until_ready(self) -> None:
        """Until it has imported its decoders; ``EnvironmentProblem``, with its last words, where it cannot."""
        try:
            receive(self._results)  # not timed: on a busy machine a start takes what it takes
        except EOFError:
            self._process.wait()
            self._complaints.seek(0)
            said = self._complaints.read().decode(errors="replace").strip().splitlines()
            reason = said[-1] if said else self.ending()
            raise EnvironmentProblem(f"the decode worker does not start: {reason}") from None

    def begin(self, track: Track, spec: CutSpec) -> None:
        """Hand it a track and wait for its word that it has begun; OSError or EOFError where it had died before."""
        send(self._tasks, {"track": asdict(track), "spec": asdict(spec)})
        self._receive()

    def outcomes(self, track: Track) -> Iterator[Outcome]:
        """What becomes of the track it has begun: segments, then ``Decoded`` or ``Failed``."""
        kind = ""
        while kind not in ("decoded", "failed"):
            head, wave = self._receive()
            kind = head["kind"]
            if kind != "beat":
                yield outcome_from(head, wave, track)

    def silent_s(self) -> float:
        """For how long we have been waiting for its next message; 0 when we are not."""
        since = self._waiting_since
        return 0.0 if since is None else time.monotonic() - since

    def ending(self) -> str:
        """How the process ended: the signal's name, or its exit status."""
        status = self._process.wait()
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """Kill it, reap it, and close our ends."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._tasks, self._results, self._complaints):
            with suppress(OSError):
                pipe.close()

    def _receive(self) -> tuple[dict[str, Any], np.ndarray]:
        self._waiting_since = time.monotonic()
        try:
            return receive(self._results)
        finally:
            self._waiting_since = None


def _widen(pipe: int) -> None:
    """Ask for a larger pipe where there is such a thing (Linux); the default of 64 kB works too, only slower."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
