"""Measure many cases in one run, so that their ratios mean something."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache

import torch

from audiopatch.bench.baselines import build_baseline
from audiopatch.bench.contender import Case, Contender, Hopeless, from_tagger
from audiopatch.bench.measure import Run, Timing, matmul, promised_flops, time_runs
from audiopatch.bench.quality import Judge, Unreduced
from audiopatch.errors import EnvironmentProblem
from audiopatch.events import Doing, Note, Observer, counted, silent
from audiopatch.inference.budget import peak_extra_mb
from audiopatch.inference.extract import GPU_BATCH
from audiopatch.models.processor import processor
from audiopatch.models.tagger import Tagger
from audiopatch.types import Segment
from audiopatch.zoo.load import find_device, load_model

_SAME_SIZE = 0.05  # parameters of one network in two implementations differ by a head at most


@dataclass(frozen=True)
class Row:
    """One measured case; these are the columns of ``bench.parquet``.

    minutes_per_s   minutes of audio analysed per second by front-end and network, segments counted without overlap
    spread          interquartile range over median of the times that rate is the median of
    latency_ms      one segment alone, from samples to scores, median
    peak_share      of this machine's own matrix-product rate in the row's number format; None where torch has none, and
                    in a format that a CPU only emulates
    mfu             of what the GPU's maker promises in half precision
    memory_mb       what a few batches need beyond the weights
    error           of the scores' log-odds (logits, within -16 to 16, where labels may coexist) or of embeddings on
                    real segments, relative to the unreduced model in float32
    quality         what ``quality_name`` says
    times_baseline  how many times as fast as ``baseline``, other people's code for the same network
    published       the figure that the model's authors state, such as ``mAP, AudioSet eval 0.476``: of the unreduced
                    model, on their data
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
    published: str | None


@dataclass(frozen=True)
class Skipped:
    """A baseline or a setting that could not take part."""

    model: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure, and where. ``judge`` None compares with the unreduced model.

    ``budget_s`` is for everything: preparing gets two fifths of it, timing what is left of three quarters, and judging
    the rest (a ``judge`` of labelled clips takes what it takes). What no time is left for is skipped in words, all but
    the first setting. ``stop`` ends it early, with rows for what has been timed, judged in the quickest way.
    """

    judge: Judge | None = None
    device: str = "auto"
    repeats: int = 7
    budget_s: float = 60.0
    clock: str = "wall"
    stop: Callable[[], bool] = lambda: False


PREPARE, TIME, HOPELESS = 0.4, 0.75, 0.15  # shares of the budget: until when, and what one segment may take


def sweep(
    cases: Sequence[Case],
    segments: Mapping[str, Sequence[Segment]],
    settings: Settings,
    baselines: Sequence[str] = (),
    *,
    observer: Observer = silent,
) -> tuple[list[Row], list[Skipped]]:
    """A row per case and per baseline that can be had. ``segments``: model -> whole real ones.

    ``observer`` hears of each setting as it gets ready.
    """
    device, began = find_device(settings.device), time.perf_counter()
    left_s = lambda share: began + share * settings.budget_s - time.perf_counter()  # noqa: E731
    contenders, skipped = _contenders(cases, segments, settings, left_s, observer)
    built, missing = _baselines(() if settings.stop() else baselines, device)
    timed = _timed([*contenders, *built], device, settings, left_s(TIME), observer)
    stopped = settings.stop()
    few = _few(segments, timed, 0.0 if stopped else left_s(1.0))
    unreduced = Unreduced(few, str(device))
    judge = unreduced if stopped or settings.judge is None else settings.judge
    rows = []
    for done, one in enumerate(timed):
        if settings.stop() and not stopped:
            break
        observer(Doing("judging", done, len(timed)))
        rows.append(_row(one, device, _same_network(one, timed), unreduced, judge))
    return rows, [*skipped, *missing]


def _contenders(
    cases: Sequence[Case],
    segments: Mapping[str, Sequence[Segment]],
    settings: Settings,
    left_s: Callable[[float], float],
    observer: Observer,
) -> tuple[list[Contender], list[Skipped]]:
    """Cases of the same weights and number format share one model in memory."""

    @cache
    def tagger(model: str, engine: str, dtype: str) -> Tagger:
        return load_model(model, device=settings.device, engine=engine, dtype=dtype)

    made: list[Contender] = []
    skipped: list[Skipped] = []
    for done, case in enumerate(cases):
        observer(Doing("preparing", done, len(cases)))
        name = " ".join(filter(None, (case.model, case.patchout, case.engine, case.dtype.removeprefix("auto"))))
        if settings.stop():
            break
        if done and left_s(PREPARE) <= 0:
            skipped.append(Skipped(name, "no time was left to prepare it; give more with --budget TIME"))
            continue
        try:
            network = tagger(case.model, case.engine, case.dtype)
            limit_s = HOPELESS * settings.budget_s
            made.append(from_tagger(case, network, segments[case.model], hopeless_s=limit_s))
        except Hopeless as hopeless:
            skipped.append(Skipped(name, f"hopeless here: {hopeless}"))
            observer(Note(f"{name}: hopeless here, {hopeless}"))
            continue
        observer(Note(f"{name}: {_first_look(made[-1]):.2g} min of audio a second at first sight"))
    return made, skipped


def _first_look(contender: Contender) -> float:
    """Minutes of audio per second, from one segment alone."""
    began = time.perf_counter()
    contender.run_one()
    return contender.segment_s / 60 / (time.perf_counter() - began)


def _baselines(names: Sequence[str], device: torch.device) -> tuple[list[Contender], list[Skipped]]:
    built, skipped = [], []
    for name in names:
        try:
            built.append(build_baseline(name, device=device, batch=GPU_BATCH if device.type == "cuda" else 1))
        except EnvironmentProblem as problem:
            skipped.append(Skipped(name, str(problem)))
    return built, skipped


def _timed(
    contenders: Sequence[Contender], device: torch.device, settings: Settings, budget_s: float, observer: Observer
) -> list[_Timed]:
    """Everything in turn, this machine's own matrix products too; contenders that no time was left for are left out."""
    peaks = products({contender.dtype for contender in contenders}, device)
    for run, _ in peaks.values():
        run()
    runs = [run for contender in contenders for run in (contender.run, contender.run_one)]
    timings = time_runs(
        [*runs, *(run for run, _ in peaks.values())],
        repeats=settings.repeats,
        budget_s=budget_s,
        clock=settings.clock,
        progress=counted(observer, "timing"),
        stop=settings.stop,
    )
    peak_rates = {
        dtype: macs / timing.best_s
        for (dtype, (_, macs)), timing in zip(peaks.items(), timings[len(runs) :], strict=True)
        if timing
    }
    pairs = zip(contenders, timings[::2], timings[1::2], strict=False)
    return [
        _Timed(contender, many, one, peak_rates.get(contender.dtype)) for contender, many, one in pairs if many and one
    ]


def products(dtypes: Set[str], device: torch.device) -> dict[str, tuple[Run, int]]:
    """The matrix product in each format, but in none that a CPU only emulates: it would take a minute (bfloat16 on a
    Zen 3), and a share of it would say nothing."""
    known = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16") if name in dtypes}
    return {
        name: matmul(dtype, device)
        for name, dtype in known.items()
        if device.type != "cpu" or processor().computes(dtype)
    }


def _few(
    segments: Mapping[str, Sequence[Segment]], timed: Sequence[_Timed], left_s: float
) -> dict[str, Sequence[Segment]]:
    """As many segments of each model as can be judged in time, two at least; the unreduced model answers, too."""
    a_segment_s = sum(one.one.median_s for one in timed) + sum(
        {o.contender.case.model: o.one.median_s for o in timed}.values()
    )
    n = max(2, int(left_s / a_segment_s)) if a_segment_s else 2
    return {model: found[:n] for model, found in segments.items()}


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


def _published(contender: Contender) -> str | None:
    """The first mAP of the model's card, without where it was read; agreement with a teacher is none."""
    scores = contender.tagger.card.scores if contender.tagger else {}
    named = ((name.partition(" (")[0], value) for name, value in scores.items() if name.startswith("mAP"))
    return next((f"{name} {value:.3f}" for name, value in named), None)


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
        published=_published(contender),
    )
