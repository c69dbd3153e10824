"""What a figure was measured on, and the yardstick for it: that machine's own matrix product."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from audiopatch.bench.measure import Run

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
