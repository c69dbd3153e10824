"""What a run is asked for: ``Analysis`` decides every number in the tables, ``Runtime`` only how they are made."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from audiopatch.catalog import unknown_name
from audiopatch.errors import UsageError
from audiopatch.types import DECODER_MB

TOKENS = ("cls", "dist", "avg")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """An embedding made of tokens after some blocks (counted from 1): for each block, each of ``tokens``."""

    blocks: tuple[int, ...]
    tokens: tuple[str, ...] = TOKENS


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything that decides a number in the tables; two runs may share a folder only if theirs are equal.

    ``tags`` and ``embedding`` say what is wanted; ``stack`` takes the embedding from inside the network instead of the
    pooled features before the head. ``n_segments`` limits a track to that many evenly spread segments. ``thresholds``
    drops tags below the score that ``evaluate`` found to mean them.
    """

    model: str
    tags: bool = True
    embedding: bool = False
    stack: Stack | None = None
    dense: bool = False
    timeline: bool = False
    top_k: int | None = 10
    min_score: float = 0.0
    thresholds: bool = False
    patchout: str | None = None
    overlap: float = 0.5
    n_segments: int | None = None
    pool: str = "mean"
    vectors: str = "float16"
    seed: int = 0

    def __post_init__(self):
        find_pool(self.pool)
        check_overlap(self.overlap)
        if self.n_segments is not None and self.n_segments < 1:
            raise UsageError(f"--segments {self.n_segments} cannot work; analyse at least 1")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"--top {self.top_k} cannot work; keep at least 1 tag")
        if self.vectors not in ("float16", "float32"):
            raise UsageError(f"unknown vector type '{self.vectors}'; choose float16 or float32")


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """How a run goes about it. ``batch_size`` and ``workers`` None are chosen for the machine.

    ``runner`` names the place where it works (``inference.runner``), ``address`` the cluster for it.
    ``decode_timeout_s`` gives up on a file whose decoder hangs; ``commit_every_s`` bounds the work a crash can cost.
    ``max_memory_mb`` bounds what this process and its decoders hold together, ``decoder_mb`` what each decoder may.
    """

    runner: str = "local"
    address: str = "local"
    device: str = "auto"
    dtype: str = "auto"
    engine: str = "torch"
    offline: bool = False
    batch_size: int | None = None
    workers: int | None = None
    threads: int | None = None
    max_memory_mb: int | None = None
    decoder_mb: int = DECODER_MB
    decode_timeout_s: float = 120.0
    commit_every_s: float = 10.0
    commit_every_n: int = 512
    force: bool = False
    retry_failed: bool = False

    @property
    def place(self) -> str:
        """The runner by name: several devices of this machine are Ray's to share out."""
        several = self.device == "all" or "," in self.device
        return "ray" if several else self.runner

    @property
    def n_workers(self) -> int:
        """Decoders at most: by default one per CPU, of which no more start than the model needs.

        0 decodes in this process, without protection from crashes and hangs.
        """
        return n_cpus() if self.workers is None else self.workers


def n_cpus() -> int:
    """The CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_overlap(overlap: float) -> None:
    """One that leaves segments no way forward is a UsageError."""
    if not 0 <= overlap < 1:
        raise UsageError(f"--overlap {overlap} cannot work; it is a share from 0 to below 1")


Pool = Callable[[np.ndarray], np.ndarray]


def _noisy_or(scores: np.ndarray) -> np.ndarray:
    """1 - Π (1 - s): the chance that a label shows in at least one segment, were segments independent."""
    return 1 - np.prod(1 - scores, axis=0)


POOLS: dict[str, Pool] = {
    "mean": lambda scores: scores.mean(axis=0),
    "max": lambda scores: scores.max(axis=0),
    "median": lambda scores: np.median(scores, axis=0),
    "noisy-or": _noisy_or,
}


def find_pool(name: str) -> Pool:
    """(n_segments, C) -> (C,), by name."""
    if name not in POOLS:
        raise UsageError(unknown_name("pooling", name, POOLS))
    return POOLS[name]
