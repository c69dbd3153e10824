"""How fast each stage of tagging is alone, and a whole run: what bounds it, and what it loses."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np
import torch

from audiopatch.audio.decode import decode_track
from audiopatch.bench.measure import time_runs
from audiopatch.bench.sweep import Row
from audiopatch.bench.trial import pace, startup_s
from audiopatch.errors import UsageError
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.models.tagger import Tagger
from audiopatch.types import CutSpec, Decoded, Segment, Track

_N_WHOLE = 3


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
    """Time a whole run and its stages, tagging ``tracks`` as in ``row``; its runs are stopped after ``at_most_s``."""
    analysis = Analysis(model=row.model, patchout=row.patchout)
    (segment,) = real_segments(tagger, tracks, 1)
    decoding = decode_all(tracks, cut_spec(tagger))
    music_s = decoding.audio_s / decoding.n_segments  # that one segment stands for
    return WholeRun(
        row.model,
        row.patchout,
        row.engine,
        row.dtype,
        decode=decoding.rate,
        frontend=_frontend_rate(tagger) * music_s,
        network=row.minutes_per_s * 60 / tagger.card.segment_s * music_s,
        whole=median(pace(tracks, analysis, runtime, at_most_s=at_most_s / _N_WHOLE) for _ in range(_N_WHOLE))
        * music_s,
        startup_s=startup_s(segment.track, analysis, runtime),
    )


def cut_spec(tagger: Tagger, *, n_segments: int | None = None) -> CutSpec:
    """How ``tag`` cuts tracks for this model."""
    return CutSpec(tagger.frontend.sample_rate, tagger.card.segment_s, n_segments=n_segments, min_s=tagger.min_s)


def real_segments(tagger: Tagger, tracks: Sequence[Track], n: int) -> list[Segment]:
    """One whole segment from the middle of each of up to ``n`` tracks; shorter tracks are repeated to fill one."""
    spec = cut_spec(tagger, n_segments=1)
    found: list[Segment] = []
    for track in tracks:
        if len(found) == n:
            break
        segments = [outcome for outcome in decode_track(track, spec) if isinstance(outcome, Segment)]
        found += [Segment(s.track, 0, 0.0, spec.segment_s, np.resize(s.wave, spec.segment_samples)) for s in segments]
    if not found:
        raise UsageError(f"none of {len(tracks)} tracks could be decoded; see: audiopatch doctor")
    return found


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


def decode_all(tracks: Sequence[Track], spec: CutSpec) -> Decoding:
    """Decode and cut whole tracks, one after the other; those that fail give nothing."""
    before = time.process_time()
    decoded = [outcome for track in tracks for outcome in decode_track(track, spec) if isinstance(outcome, Decoded)]
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
