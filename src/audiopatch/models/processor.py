"""What this machine's processor computes natively: asked here, once, by everyone who would choose a number format."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from functools import cache

import torch

_SHAPE = (256, 512, 512)  # rows, inner, columns: large enough that arithmetic counts, done in a millisecond
_ROUNDS = 5
_NATIVE = 1.25  # times float32's time up to which a format is not emulated; emulated ones take 4 to 36 times as long


@dataclass(frozen=True)
class Processor:
    """What a CPU does without emulation.

    isa        the vector instructions that torch uses (AVX2, AVX512 ...)
    bfloat16   products at least as fast as float32's: the processor says so, and a measured product agrees (a library
               may be held down to an older instruction set, and then emulates what the processor could do)
    int8       dot products of 8-bit integers (VNNI)
    amx        tiles, with which "medium" float32 products may be rounded to bfloat16
    """

    isa: str
    bfloat16: bool
    int8: bool
    amx: bool

    def computes(self, dtype: torch.dtype) -> bool:
        """Whether ``dtype`` is worth choosing here; float32 always is, float16 never on a CPU."""
        return {torch.float32: True, torch.bfloat16: self.bfloat16, torch.int8: self.int8}.get(dtype, False)


@cache
def processor() -> Processor:
    """This machine's: read off the processor, and measured in a few milliseconds where that does not settle it."""
    return Processor(
        isa=torch.backends.cpu.get_cpu_capability(),
        bfloat16=_may_have_bfloat16() and _times_float32(torch.bfloat16) <= _NATIVE,
        int8=torch.cpu._is_vnni_supported(),
        amx=torch.cpu._is_amx_tile_supported(),
    )


def _may_have_bfloat16() -> bool:
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return True  # Arm and others: only a measurement tells


def best_float(device: torch.device) -> torch.dtype:
    """The fastest number format for a network on ``device`` that is not emulated: bfloat16 where it is native."""
    return torch.bfloat16 if device.type != "cpu" or processor().bfloat16 else torch.float32


def emulation_cost(dtype: torch.dtype) -> str | None:
    """A sentence for someone who asks for ``dtype`` on this CPU although it is emulated; None where it is native."""
    if processor().computes(dtype) or dtype == torch.int8:
        return None
    name = str(dtype).removeprefix("torch.")
    return (
        f"this processor only emulates {name}: a matrix product takes {_times_float32(dtype):.0f} times float32's time"
    )


@cache
def _times_float32(dtype: torch.dtype) -> float:
    """The time of a matrix product in ``dtype`` over that in float32, each the best of a few."""
    return _product_s(dtype) / _product_s(torch.float32)


def _product_s(dtype: torch.dtype) -> float:
    rows, inner, columns = _SHAPE
    a, b = torch.ones(rows, inner, dtype=dtype), torch.ones(inner, columns, dtype=dtype)
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - began)
    return min(times)
