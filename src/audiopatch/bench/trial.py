"""Short real runs of ``tag``: how long one takes to start, and the pace it then keeps."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from audiopatch.audio.inputs import Inputs
from audiopatch.errors import EnvironmentProblem, NoAudioError
from audiopatch.inference.pipeline import run_to_folder
from audiopatch.inference.progress import Counts, Silent
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.types import Track

_LOOK_EVERY_S = 0.005
_FEW = 3  # batches


def command_of(folder: str, analysis: Analysis, runtime: Runtime) -> str:
    """The ``tag`` command line that runs these settings."""
    words = ["audiopatch", "tag", folder, "--model", analysis.model, "--engine", runtime.engine]
    words += ["--dtype", runtime.dtype, "--device", runtime.device, "--workers", str(runtime.n_workers)]
    if analysis.patchout not in (None, "none", "F0T0"):
        words += ["--patchout", analysis.patchout]
    if analysis.segments is not None:
        words += ["--segments", str(analysis.segments)]
    return shlex.join(words)


def pace(tracks: Sequence[Track], analysis: Analysis, runtime: Runtime, *, at_most_s: float = float("inf")) -> float:
    """Segments per second of a run over ``tracks`` once it is under way, in a folder that is thrown away.

    The run is stopped after ``at_most_s``. What its first batch waited for (decoders, compilation) does not count.
    """
    watch = _Watch(at_most_s)
    with tempfile.TemporaryDirectory(prefix="audiopatch-trial-") as folder, watch:
        inputs = Inputs([], listed=[track.path for track in tracks])
        run_to_folder(inputs, Path(folder) / "out", analysis, runtime, observer=watch, stop=watch.stop)
    return watch.segments_per_s()


def startup_s(track: Track, analysis: Analysis, runtime: Runtime) -> float:
    """Seconds that ``audiopatch tag`` takes for one segment and nothing else, in a process of its own."""
    command = shlex.split(command_of(track.path, replace(analysis, segments=1), runtime))[1:]
    with tempfile.TemporaryDirectory(prefix="audiopatch-trial-") as folder:
        quietly = ["--output", str(Path(folder) / "out"), "--quiet", "--fail-on", "never"]
        started = time.perf_counter()
        words = [sys.executable, "-m", "audiopatch", *command, *quietly]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise EnvironmentProblem(f"a trial run failed: {said[-1]}")
    return seconds


@dataclass
class _Watch(Silent):
    """Looks at a run's count of segments many times a second, and notes (time, count) whenever it has changed."""

    at_most_s: float
    stop: threading.Event = field(default_factory=threading.Event)
    _counts: Counts | None = None
    _seen: list[tuple[float, int]] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def planned(self, counts: Counts) -> None:
        self._counts = counts

    def __enter__(self) -> None:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            now, n = time.perf_counter(), self._counts.n_inferences if self._counts else 0
            if n and (not self._seen or n != self._seen[-1][1]):
                self._seen.append((now, n))
            if self._seen and now - self._seen[0][0] > self.at_most_s:
                self.stop.set()

    def segments_per_s(self) -> float:
        """From the second batch, for which nothing had to be made ready, to the last; of all where those are few."""
        if len(self._seen) > _FEW:
            (first_s, first_n), (last_s, last_n) = self._seen[1], self._seen[-1]
            return (last_n - first_n) / (last_s - first_s)
        if not self._counts or not self._counts.n_inferences:
            raise NoAudioError("none of the tracks of a trial run could be analysed")
        return self._counts.n_inferences / self._counts.elapsed_s
