"""Measure many cases in one run, so that their ratios mean something."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from audiopatch.bench.baselines import build_baseline
from audiopatch.bench.contender import Case, Contender, from_tagger
from audiopatch.bench.machine import matmul, promised_flops
from audiopatch.bench.measure import Timing, time_runs
from audiopatch.bench.quality import Judge, Unreduced
from audiopatch.errors import EnvironmentProblem
from audiopatch.inference.budget import peak_extra_mb
from audiopatch.inference.lanes import GPU_BATCH
from audiopatch.models.tagger import Tagger
from audiopatch.types import Segment
from audiopatch.zoo.load import find_device, load_model

_SAME_SIZE = 0.05  # parameters of one network in two implementations differ by a head at most

Note = Callable[[str], None]
Progress = Callable[[str, int, int], None]  # what is being done, how many of how many are done


@dataclass(frozen=True)
class Row:
    """One measured case; these are the columns of ``bench.parquet``.

    minutes_per_s   minutes of audio analysed per second by front-end and network, segments counted without overlap
    spread          interquartile range over median of the times that rate is the median of
    latency_ms      one segment alone, from samples to scores, median
    peak_share      of this machine's own matrix-product rate in the row's number format; None where torch has none
    mfu             of what the GPU's maker promises in half precision
    memory_mb       what a few batches need beyond the weights
    error           of logits or embeddings on real segments, relative to the unreduced model in float32
    quality         what ``quality_name`` says
    times_baseline  how many times as fast as ``baseline``, other people's code for the same network
    """

    model: str
    patchout: str
    engine: str
    dtype: str
    device: str
    batch: int
    block: int | None
    minutes_per_s: float
    spread: float
    latency_ms: float
    n_repeats: int
    gmacs: float
    n_tokens: int | None
    mparams: float
    peak_share: float | None
    mfu: float | None
    memory_mb: float | None
    error: float | None
    quality: float | None
    quality_name: str | None
    baseline: str | None
    times_baseline: float | None


@dataclass(frozen=True)
class Skipped:
    """A baseline that could not take part."""

    model: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure: where, and as ``measure.time_runs`` says. ``judge`` None compares with the unreduced model.

    After ``prepare_s`` cases of engines that take long to make ready (to compile) are left out, all but their first.
    """

    judge: Judge | None = None
    device: str = "auto"
    repeats: int = 7
    budget_s: float = 60.0
    clock: str = "wall"
    prepare_s: float = float("inf")


def sweep(
    cases: Sequence[Case],
    segments: Mapping[str, Sequence[Segment]],
    settings: Settings,
    baselines: Sequence[str] = (),
    *,
    progress: Progress,
) -> tuple[list[Row], list[Skipped]]:
    """A row per case and per baseline that can be had. ``segments``: model -> whole real ones."""
    device = find_device(settings.device)
    built, skipped = _baselines(baselines, device)
    contenders = [*_contenders(cases, segments, settings, progress), *built]
    peaks = {dtype: matmul(getattr(torch, dtype), device) for dtype in _torch_dtypes(contenders)}
    runs = [run for contender in contenders for run in (contender.run, contender.run_one)]
    timings = time_runs(
        [*runs, *(run for run, _ in peaks.values())],
        repeats=settings.repeats,
        budget_s=settings.budget_s,
        clock=settings.clock,
        progress=lambda done, total: progress("timing", done, total),
    )
    peak_rates = {
        dtype: macs / timing.best_s
        for (dtype, (_, macs)), timing in zip(peaks.items(), timings[len(runs) :], strict=True)
    }
    timed = [
        _Timed(contender, many, one, peak_rates.get(contender.dtype))
        for contender, many, one in zip(contenders, timings[::2], timings[1::2], strict=False)
    ]
    unreduced = Unreduced(segments, str(device))
    rows = []
    for done, one in enumerate(timed):
        progress("judging", done, len(timed))
        rows.append(_row(one, device, _same_network(one, timed), unreduced, settings.judge or unreduced))
    return rows, skipped


def _torch_dtypes(contenders: Sequence[Contender]) -> list[str]:
    return [dtype for dtype in ("float32", "bfloat16", "float16") if dtype in {c.dtype for c in contenders}]


def _contenders(
    cases: Sequence[Case], segments: Mapping[str, Sequence[Segment]], settings: Settings, progress: Progress
) -> list[Contender]:
    """Cases of the same weights and number format share one model in memory."""

    @cache
    def tagger(model: str, engine: str, dtype: str) -> Tagger:
        return load_model(model, device=settings.device, engine=engine, dtype=dtype)

    made: list[Contender] = []
    longest_s: dict[tuple[str, str], float] = {}
    end = time.perf_counter() + settings.prepare_s
    for done, case in enumerate(cases):
        progress("preparing", done, len(cases))
        started, engine = time.perf_counter(), (case.engine, case.dtype)
        if engine in longest_s and started + longest_s[engine] > end:
            continue
        made.append(from_tagger(case, tagger(case.model, case.engine, case.dtype), segments[case.model]))
        longest_s[engine] = max(longest_s.get(engine, 0.0), time.perf_counter() - started)
    return made


def _baselines(names: Sequence[str], device: torch.device) -> tuple[list[Contender], list[Skipped]]:
    built, skipped = [], []
    for name in names:
        try:
            built.append(build_baseline(name, device=device, batch=GPU_BATCH if device.type == "cuda" else 1))
        except EnvironmentProblem as problem:
            skipped.append(Skipped(name, str(problem)))
    return built, skipped


@dataclass(frozen=True)
class _Timed:
    """A contender with its times; ``peak_rate`` is the machine's, in MACs per second."""

    contender: Contender
    many: Timing
    one: Timing
    peak_rate: float | None

    @property
    def per_segment_s(self) -> float:
        return self.many.median_s / self.contender.n_segments


def _same_network(one: _Timed, all_timed: Sequence[_Timed]) -> _Timed | None:
    """The baseline that computes what ``one`` computes."""
    ours = one.contender
    for other in all_timed:
        theirs = other.contender
        alike = theirs.network == ours.network and abs(theirs.n_params / ours.n_params - 1) < _SAME_SIZE
        if alike and theirs.tagger is None and ours.tagger is not None:
            return other
    return None


def _row(one: _Timed, device: torch.device, baseline: _Timed | None, unreduced: Unreduced, judge: Judge) -> Row:
    contender, case = one.contender, one.contender.case
    zoo = contender.tagger is not None
    quality = judge.quality(contender) if zoo else None
    promised = promised_flops(device)
    macs_per_s = contender.macs / one.per_segment_s
    return Row(
        model=case.model,
        patchout=case.patchout,
        engine=case.engine,
        dtype=contender.dtype,
        device=str(device),
        batch=contender.batch,
        block=case.block,
        minutes_per_s=contender.segment_s / 60 / one.per_segment_s,
        spread=one.many.spread,
        latency_ms=one.one.median_s * 1e3,
        n_repeats=one.many.n,
        gmacs=contender.macs / 1e9,
        n_tokens=contender.n_tokens,
        mparams=contender.n_params / 1e6,
        peak_share=macs_per_s / one.peak_rate if one.peak_rate else None,
        mfu=2 * macs_per_s / promised if promised else None,
        memory_mb=peak_extra_mb(contender.run, device),
        error=unreduced.error(contender) if zoo else None,
        quality=quality.value if quality else None,
        quality_name=quality.name if quality else None,
        baseline=baseline.contender.case.model if baseline else None,
        times_baseline=baseline.per_segment_s / one.per_segment_s if baseline else None,
    )
