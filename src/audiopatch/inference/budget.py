"""--max-memory: as many decoders and model threads as fit beside the model."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from audiopatch.errors import EnvironmentProblem, UsageError
from audiopatch.inference.extract import Extractor
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.models.tagger import Tagger
from audiopatch.tables.compaction import PART_BYTES
from audiopatch.types import Segment, Track

_ROWS_MB = 64  # rows on their way to the disk, and the segments between decoders and model
_COMMIT_EVERY_N = 64  # tracks, so that the rows stay within that
_DECODER_MB = 256  # the least that is worth to start a decoder with; honest files need 70 to 200


def within(runtime: Runtime, tagger: Tagger, analysis: Analysis) -> Runtime:
    """``runtime`` with numbers of lanes and decoders that fit into ``max_memory_mb``, and a limit for each decoder.

    What the model takes is measured: on one segment, in one lane. Then decoders come first, up to those that are wanted
    (or chosen for the machine); further lanes take what is left. EnvironmentProblem where one of each is too much.
    """
    if runtime.max_memory_mb is None:
        return runtime
    if runtime.place != "local":
        raise UsageError("--max-memory bounds one process: leave it out with --runner ray and several devices")
    if sys.platform != "linux":
        raise EnvironmentProblem("--max-memory measures and limits processes as Linux does; leave it out here")
    lane_mb = _lane_mb(tagger, analysis)
    left_mb = runtime.max_memory_mb - held_mb() - _ROWS_MB
    if left_mb < lane_mb + _DECODER_MB:
        least = runtime.max_memory_mb - left_mb + lane_mb + _DECODER_MB
        raise EnvironmentProblem(
            f"`max_memory` {runtime.max_memory} is too little: {tagger.card.name} with one thread and one "
            f"decoder takes {least:.0f}MB"
        )
    n_decoders = max(1, min(runtime.n_workers, int((left_mb - lane_mb) // _DECODER_MB)))
    n_lanes = 1
    if tagger.device.type == "cpu":
        fitting = (left_mb - n_decoders * _DECODER_MB) // max(lane_mb, 1)
        n_lanes = max(1, min(torch.get_num_threads(), int(fitting)))
        torch.set_num_threads(n_lanes)
    decoder_mb = min(runtime.decoder_mb, int((left_mb - n_lanes * lane_mb) / n_decoders))
    return replace(
        runtime,
        workers=n_decoders,
        threads=n_lanes,
        batch=1 if tagger.device.type == "cpu" else runtime.batch,
        decoder_mb=decoder_mb,
        commit_every_n=min(runtime.commit_every_n, _COMMIT_EVERY_N),
    )


def part_bytes(runtime: Runtime) -> int:
    """How large a part may grow by merging, which takes nine times as much memory while the decoders are gone."""
    if runtime.max_memory_mb is None:
        return PART_BYTES
    return min(PART_BYTES, (runtime.n_workers * runtime.decoder_mb << 20) // 9)


def _lane_mb(tagger: Tagger, analysis: Analysis) -> float:
    """What one segment takes in one lane, at its peak."""
    extractor = Extractor(tagger, analysis, batch_size=1)
    wave = np.random.default_rng(0).standard_normal(extractor.full_samples).astype(np.float32) * 0.1
    segment = Segment(Track("", "", "0" * 16, 0, 0), 0, 0.0, tagger.card.segment_s, wave)
    extractor([segment])  # the first call also builds what later ones share
    return peak_extra_mb(lambda: extractor([segment]), torch.device("cpu")) or 0.0


def peak_extra_mb(run: Callable[[], object], device: torch.device) -> float | None:
    """Peak megabytes that ``run`` adds; None where the system does not tell (a CPU outside Linux)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    if sys.platform != "linux":
        return None
    _return_free_memory()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # lets VmHWM start over (proc(5))
    before = _status_mb("VmRSS")
    run()
    return max(0.0, _status_mb("VmHWM") - before)


def held_mb() -> float:
    """Megabytes this process holds now (Linux)."""
    return _status_mb("VmRSS")


def _return_free_memory() -> None:
    """What earlier runs freed, the allocator keeps; a run that takes it up again would seem to need nothing."""
    with suppress(OSError, AttributeError):  # a libc without it
        ctypes.CDLL(None).malloc_trim(0)


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e6
