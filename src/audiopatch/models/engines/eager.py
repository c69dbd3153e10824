"""The torch engine: the network as it is, in the number formats that this machine computes fastest."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn

from audiopatch.errors import UsageError
from audiopatch.models.processor import emulation_cost
from audiopatch.models.tagger import Tagger
from audiopatch.models.transformer import SpectrogramTransformer

log: logging.Logger = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_MAX_ERROR = 1e-5  # relative; what "medium" may cost on float32 products and still be called float32


def prepare(tagger: Tagger, dtype: str) -> None:
    """Set the precision of ``tagger``; "auto" is bfloat16 on a GPU and float32 on a CPU.

    The weights of linear layers are stored in ``dtype``, so that autocast need not convert them at every forward pass;
    residuals and norms stay in float32. In bfloat16 on a GPU, where they are bound by memory, a plain transformer's are
    in bfloat16, too: MAEST-30s takes 0.82 of the time (H200), with an error of 9e-3 instead of 7e-3.
    """
    on_cpu = tagger.device.type == "cpu"
    if dtype == "auto":
        dtype = "float32" if on_cpu else "bfloat16"
    if dtype not in _DTYPES:
        raise UsageError(f"--engine torch cannot compute in '{dtype}'; choose auto, {', '.join(_DTYPES)}")
    if on_cpu and (cost := emulation_cost(_DTYPES[dtype])):
        log.warning("%s; --dtype auto avoids that", cost)
    tagger.dtype = _DTYPES[dtype]
    if not on_cpu and tagger.dtype == torch.bfloat16:
        unmix(tagger)
    for module in tagger.backbone.modules():
        if isinstance(module, nn.Linear):
            module.to(tagger.dtype)


def unmix(tagger: Tagger) -> None:
    """Let all tokens of a transformer without convolutions be of ``tagger.dtype``; other networks stay mixed."""
    network = tagger.backbone
    if type(network) is not SpectrogramTransformer or network.config.stem:
        return
    for part in (network.patch_embed, network.blocks, network.norm, getattr(network, "pre_norm", None)):
        if part is not None:
            part.to(tagger.dtype)
    tagger.mixed = False


class _Users:
    """How many are at work under the faster products, and what precision was there before the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n = 0
        self._before = "highest"

    def enter(self) -> None:
        with self._lock:
            if self._n == 0:
                self._before = torch.get_float32_matmul_precision()
                torch.set_float32_matmul_precision(fast_precision() or self._before)
            self._n += 1

    def leave(self) -> None:
        with self._lock:
            self._n -= 1
            if self._n == 0:
                torch.set_float32_matmul_precision(self._before)


USERS = _Users()


@contextmanager
def fast_float32() -> Iterator[None]:
    """Lets torch multiply float32 matrices as fast as this machine can within float32; put back at the end."""
    USERS.enter()
    try:
        yield
    finally:
        USERS.leave()


@cache
def fast_precision() -> str | None:
    """ "medium" where oneDNN's kernels are still float32 here, else None, which leaves torch as it is.

    "medium" permits oneDNN to round to bfloat16. Without AMX it does not, and is about twice as fast as MKL on AMD
    cores; with AMX it may, so the error is measured once.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    error = _matmul_error()
    torch.set_float32_matmul_precision(before)
    if error <= _MAX_ERROR:
        return "medium"
    log.info("float32 products stay at precision '%s': 'medium' has a relative error of %.1e here", before, error)
    return None


def _matmul_error() -> float:
    """Relative error of a product as a ViT-B layer makes them, (512, 768) by (768, 768), against float64."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(512, 768, generator=generator), torch.randn(768, 768, generator=generator)
    exact = a.double() @ b.double()
    return float(((a @ b).double() - exact).norm() / exact.norm())
