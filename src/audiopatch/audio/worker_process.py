"""The pool's end of one decode worker: its process, its two pipes, and when it was last heard of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from audiopatch.audio.decode import Outcome
from audiopatch.audio.wire import outcome_from, receive, send
from audiopatch.errors import EnvironmentProblem
from audiopatch.types import CutSpec, Track

# Room for half a segment: the worker goes on decoding while we fetch. Linux's limit without privileges.
_PIPE_BYTES = 1 << 20


class WorkerProcess:
    """A running worker. ``EOFError`` from any method means that the process has gone."""

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
