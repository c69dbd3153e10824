"""The torch engine: the network as it is, in the number formats that this machine computes fastest."""

from __future__ import annotations

import logging
from functools import cache

import torch
from torch import nn

from audiopatch.errors import UsageError
from audiopatch.models.processor import emulation_cost
from audiopatch.models.tagger import Tagger

log = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_MAX_ERROR = 1e-5  # relative; what "medium" may cost on float32 products and still be called float32


def prepare(tagger: Tagger, dtype: str) -> None:
    """Set the precision of ``tagger``; "auto" is bfloat16 on a GPU and float32 on a CPU.

    The weights of linear layers are stored in ``dtype``, so that autocast need not convert them at every forward pass;
    residuals and norms stay in float32.
    """
    on_cpu = tagger.device.type == "cpu"
    if dtype == "auto":
        dtype = "float32" if on_cpu else "bfloat16"
    if dtype not in _DTYPES:
        raise UsageError(f"--engine torch cannot compute in '{dtype}'; choose auto, {', '.join(_DTYPES)}")
    if on_cpu:
        use_fast_float32()
        if cost := emulation_cost(_DTYPES[dtype]):
            log.warning("%s; --dtype auto avoids that", cost)
    tagger.dtype = _DTYPES[dtype]
    for module in tagger.backbone.modules():
        if isinstance(module, nn.Linear):
            module.to(tagger.dtype)


@cache
def use_fast_float32() -> str:
    """Let torch multiply float32 matrices by oneDNN's kernels where that is still float32; says what was chosen.

    "medium" permits oneDNN to round to bfloat16. Without AMX it does not, and is about twice as fast as MKL on AMD
    cores; with AMX it may, so the error is measured once.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    error = _matmul_error()
    if error <= _MAX_ERROR:
        return "medium"
    log.info("float32 products stay at precision '%s': 'medium' has a relative error of %.1e here", before, error)
    torch.set_float32_matmul_precision(before)
    return before


def _matmul_error() -> float:
    """Relative error of a product as a ViT-B layer makes them, (512, 768) by (768, 768), against float64."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(512, 768, generator=generator), torch.randn(768, 768, generator=generator)
    exact = a.double() @ b.double()
    return float(((a @ b).double() - exact).norm() / exact.norm())
