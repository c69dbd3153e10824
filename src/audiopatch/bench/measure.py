"""What runs take: time against each other (warmed up, synchronised, interleaved), and memory beyond what was there."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Run = Callable[[], object]

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Timing:
    """Seconds of one run: the best and the median of ``n``, and its ``spread`` (interquartile range over median)."""

    best_s: float
    median_s: float
    spread: float
    n: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        best_s, median_s = min(seconds), statistics.median(seconds)
        low, high = best_s, max(seconds)
        if len(seconds) > 3:
            low, _, high = statistics.quantiles(seconds, n=4)
        return cls(best_s, median_s, (high - low) / median_s, len(seconds))


def time_runs(
    runs: Sequence[Run],
    *,
    repeats: int,
    budget_s: float = float("inf"),
    clock: str = "wall",
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Timing | None]:
    """Every run ``repeats`` times, in rounds that take each once, so that a change of the machine's pace meets all.

    Runs are warm: who makes one has run it. No round starts after ``budget_s``, but one is always measured, unless
    ``stop`` says so before a run: what has no time then is None. ``clock`` "cpu" counts CPU seconds over all threads,
    for a machine that is busy with other things too. ``progress`` hears how many of how many runs are done.
    """
    seconds: list[list[float]] = [[] for _ in runs]
    started = time.perf_counter()
    for round_ in range(repeats):
        if round_ > 0 and time.perf_counter() - started > budget_s:
            break
        for number, (run, kept) in enumerate(zip(runs, seconds, strict=True)):
            if stop():
                return [Timing.of(kept) if kept else None for kept in seconds]
            progress(round_ * len(runs) + number, repeats * len(runs))
            kept.append(_time(run, CLOCKS[clock]))
    return [Timing.of(kept) for kept in seconds]


def _time(run: Run, clock: Callable[[], float]) -> float:
    _synchronise()
    before = clock()
    run()
    _synchronise()
    return clock() - before


def _synchronise() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
