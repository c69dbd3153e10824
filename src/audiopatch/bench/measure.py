"""What runs take, in time and memory, on what machine, and which of them are worth making."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

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


T = TypeVar("T")


def pareto_front(items: Iterable[T], *, speed: Callable[[T], float], quality: Callable[[T], float]) -> list[T]:
    """The items that no other beats in one respect without losing in the other, from fast to slow."""
    front: list[T] = []
    for item in sorted(items, key=lambda item: (-speed(item), -quality(item))):
        if not front or quality(item) > quality(front[-1]):
            front.append(item)
    return front


_SIZE = {"cpu": 2048, "cuda": 8192}
_BF16_TFLOPS = {"H200": 989, "H100": 989, "A100": 312, "L4": 121}  # dense (NVIDIA's data sheets)
_SLOWER = {"PCIe", "NVL", "MIG"}  # boards of the same names, and parts of one, that are promised less


def describe(device: torch.device) -> dict[str, Any]:
    """The machine and the versions, as JSON values: what someone needs to judge a figure from elsewhere."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "cpu": cpu_name(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "memory_gb": _memory_gb(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: version for name in ("openvino", "transformers") if (version := _version(name))},
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def matmul(dtype: torch.dtype, device: torch.device) -> tuple[Run, int]:
    """A large square matrix product, the fastest thing this machine does, and its multiply-adds."""
    size = _SIZE[device.type]
    a, b = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    return lambda: a @ b, size**3


def promised_flops(device: torch.device) -> float | None:
    """What the maker promises of this GPU in half precision, in FLOP/s: what MFU is a share of. None if not known."""
    if device.type != "cuda":
        return None
    words = torch.cuda.get_device_name(device).replace("-", " ").split()
    if _SLOWER.intersection(words):
        return None
    return next((tflops * 1e12 for name, tflops in _BF16_TFLOPS.items() if name in words), None)


def cpu_name() -> str:
    """The processor's own name, where the system tells it."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
