"""How much memory this process holds, and what a call needs beyond that."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch


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
