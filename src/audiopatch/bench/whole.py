"""Whole runs of ``tag``, and short ones: how long one takes to start, and the pace it then keeps."""

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
from statistics import median
from typing import NamedTuple

import torch

from audiopatch.audio.decode import decode_track
from audiopatch.audio.inputs import Inputs
from audiopatch.bench.measure import time_runs
from audiopatch.bench.sweep import Row
from audiopatch.errors import EnvironmentProblem, NoAudioError
from audiopatch.events import Counts, Event, Planned
from audiopatch.inference.clips import cut_spec, real_segments
from audiopatch.inference.pipeline import run_to_folder
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.models.tagger import Tagger
from audiopatch.types import CutSpec, Decoded, Track

_N_WHOLE, _N_STAGES = 3, 5  # whole runs; parts of the time: decoding, starting, these


@dataclass(frozen=True)
class WholeRun:
    """Seconds of music per second ("× real time") of tagging with one row's settings, half-overlapping segments.

    decode     one core decoding, resampling and cutting
    frontend   mels alone
    network    front-end and network together, as in the row
    whole      a run from files to tables once it is under way
    startup_s  seconds of a run over one segment, in a process of its own
    """

    model: str
    patchout: str
    engine: str
    dtype: str
    decode: float
    frontend: float
    network: float
    whole: float
    startup_s: float


def measure_whole(row: Row, tagger: Tagger, tracks: Sequence[Track], runtime: Runtime, *, at_most_s: float) -> WholeRun:
    """Time a whole run and its stages, tagging ``tracks`` as in ``row``, in about ``at_most_s``: of what cannot be cut
    short, which is a start of the program and of each run, there is one at least."""
    began = time.perf_counter()
    analysis = Analysis(model=row.model, patchout=row.patchout)
    (segment,) = real_segments(tagger, tracks, 1)
    decoding = decode_all(tracks, cut_spec(tagger), at_most_s=at_most_s / _N_STAGES)
    start_s = startup_s(segment.track, analysis, runtime)
    paces: list[float] = []
    while not paces or (len(paces) < _N_WHOLE and time.perf_counter() - began < at_most_s):
        paces.append(pace(tracks, analysis, runtime, at_most_s=at_most_s / _N_STAGES))
    music_s = decoding.audio_s / decoding.n_segments  # that one segment stands for
    return WholeRun(
        row.model,
        row.patchout,
        row.engine,
        row.dtype,
        decode=decoding.rate,
        frontend=_frontend_rate(tagger) * music_s,
        network=row.minutes_per_s * 60 / tagger.card.segment_s * music_s,
        whole=median(paces) * music_s,
        startup_s=start_s,
    )


class Decoding(NamedTuple):
    """Seconds of audio, the segments it gave, and the CPU seconds that took.

    With ``n_segments`` in the cut, audio that was not decoded counts, too.
    """

    audio_s: float
    n_segments: int
    cpu_s: float

    @property
    def rate(self) -> float:
        """Seconds of audio per CPU second."""
        return self.audio_s / self.cpu_s


def decode_all(tracks: Sequence[Track], spec: CutSpec, *, at_most_s: float = float("inf")) -> Decoding:
    """Decode and cut whole tracks, one after the other, at least one; those that fail give nothing.

    None is begun after ``at_most_s`` CPU seconds.
    """
    before = time.process_time()
    decoded: list[Decoded] = []
    for track in tracks:
        decoded += [outcome for outcome in decode_track(track, spec) if isinstance(outcome, Decoded)]
        if decoded and time.process_time() - before > at_most_s:
            break
    cpu_s = time.process_time() - before
    return Decoding(sum(one.duration_s for one in decoded), sum(one.n_segments for one in decoded), cpu_s)


def _frontend_rate(tagger: Tagger, *, batch: int = 4) -> float:
    """Segments per second."""
    wave = torch.randn(batch, cut_spec(tagger).segment_samples, device=tagger.device) * 0.1
    with torch.inference_mode():
        tagger.frontend(wave)
        (timing,) = time_runs([lambda: tagger.frontend(wave)], repeats=5)
    assert timing is not None
    return batch / timing.median_s


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
class _Watch:
    """Looks at a run's count of segments many times a second, and notes (time, count) whenever it has changed."""

    at_most_s: float
    stop: threading.Event = field(default_factory=threading.Event)
    _counts: Counts | None = None
    _seen: list[tuple[float, int]] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Planned):
            self._counts = event.counts

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
