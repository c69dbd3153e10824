"""What a run is asked for: ``Analysis`` decides every number in the tables, ``Runtime`` only how they are made."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audiopatch.catalog import unknown_name
from audiopatch.errors import UsageError
from audiopatch.option import MACHINE, MODEL, OUTPUT, TIME, TIME_FORMS, WHAT, check_bounds, option
from audiopatch.types import DECODER_MB
from audiopatch.zoo import DEFAULT_MODEL

if TYPE_CHECKING:
    import numpy as np

TOKENS = ("cls", "dist", "avg")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """An embedding made of tokens after some blocks (counted from 1): for each block, each of ``tokens``."""

    blocks: tuple[int, ...]
    tokens: tuple[str, ...] = TOKENS

    @classmethod
    def of(cls, block: int | Sequence[int] | None, tokens: Sequence[str] = TOKENS) -> Stack | None:
        """After one block or several; None without any: the pooled features are wanted then."""
        blocks = (block,) if isinstance(block, int) else tuple(block or ())
        return cls(blocks=blocks, tokens=tuple(tokens)) if blocks else None

    @classmethod
    def parse(cls, block: str | None, tokens: str) -> Stack | None:
        """``7`` or ``6,7`` and ``cls,dist,avg``; None without blocks: the pooled features are wanted then."""
        if block is None:
            return None
        names = tuple(token.strip() for token in tokens.split(","))
        unknown = [name for name in names if name not in TOKENS]
        if unknown:
            raise UsageError(f"unknown token '{unknown[0]}'; choose from: {', '.join(TOKENS)}")
        try:
            return cls(blocks=tuple(int(number) for number in block.split(",")), tokens=names)
        except ValueError as error:
            raise UsageError(f"`block` {block} cannot work; write a number from 1, or several as in 6,7") from error


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything that decides a number in the tables; two runs may share a folder only if theirs are equal.

    ``tags`` says whether they are wanted; ``stack`` takes the embedding from inside the network instead of the pooled
    features before the head.
    """

    model: str = option(
        DEFAULT_MODEL, "A name from 'models list', or a weights file or folder.", MODEL, "-m", first=True
    )
    patchout: str | None = option(
        None,
        "Drop tokens for speed, as F3T2 or topk:0.7; see 'audiopatch help plans'.",
        MODEL,
        values="PLAN",
        first=True,
    )
    tags: bool = True
    top: int = option(10, "Tags per track; 0 keeps all.", WHAT, "-k", least=0, first=True)
    min_score: float = option(0.0, "Leave out tags below this score, from 0 to 1.", WHAT, least=0, most=1)
    thresholds: bool = option(
        False, "Keep only tags that reach the threshold which 'evaluate' measured for their label.", WHAT
    )
    pool: str = option("mean", "Segments to track: mean, max, median, noisy-or.", WHAT)
    segments: int | None = option(
        None,
        "Analyse only N evenly spread segments per track.",
        WHAT,
        values="N",
        least=1,
        shown="all",
        first=True,
    )
    overlap: float = option(0.5, "Share that two neighbouring segments have in common.", WHAT)
    timeline: bool = option(False, "Also write a row per segment.", WHAT)
    dense: bool = option(False, "Also write every label's score as a vector.", WHAT)
    embeddings: bool = option(False, "Also write embeddings, in the same pass.", WHAT)
    stack: Stack | None = None
    vectors: str = option("float16", "Type of the numbers in vectors: float16 or float32.", WHAT)
    seed: int = option(0, "For models and plans that draw at random.", WHAT)

    def __post_init__(self) -> None:
        check_bounds(self, UsageError)
        find_pool(self.pool)
        check_overlap(self.overlap)
        if self.vectors not in ("float16", "float32"):
            raise UsageError(f"unknown vector type '{self.vectors}'; choose float16 or float32")


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """How a run goes about it. What is None is chosen for the machine.

    ``commit_every_s`` bounds the work a crash can cost, ``decoder_mb`` what each decoder may hold.
    """

    force: bool = option(
        False, "Recompute; the old tables stay until all of the new ones are there.", OUTPUT, first=True
    )
    retry_failed: bool = option(False, "Try files again that failed before or came out damaged.", OUTPUT)
    prune: bool = option(False, "Remove the rows of files that no longer exist.", OUTPUT, first=True)
    offline: bool = option(False, "Never touch the network: weights must be cached.", MODEL)
    runner: str = option("local", "local, or ray: decoders and models on a Ray cluster.", MACHINE)
    address: str = option(
        "local",
        "With --runner ray: the cluster this machine belongs to, one of its own, or the one whose head is there.",
        MACHINE,
        values="auto|local|HOST:PORT",
    )
    device: str = option(
        "auto",
        "auto, cpu, cuda or cuda:N; several as in cuda:0,cuda:1, or all, a model on each (with Ray). "
        "One that is not there is an error.",
        MACHINE,
        "--devices",
        first=True,
    )
    dtype: str = option(
        "auto",
        "auto, float32, bfloat16, float16 or int8 (openvino); auto is bfloat16 on a GPU and with openvino.",
        MACHINE,
    )
    engine: str = option(
        "torch",
        "torch; openvino: faster on CPUs, if installed; or auto: the faster of them in float32.",
        MACHINE,
    )
    batch: int | None = option(None, "Segments per model call.", MACHINE, least=1, shown="auto")
    workers: int | None = option(
        None, "Decoding processes at most.", MACHINE, least=0, shown="as the model needs, up to the CPUs"
    )
    threads: int | None = option(None, "CPU threads of the model.", MACHINE, least=1, shown="auto")
    max_memory: str | None = option(
        None,
        "What the run may hold, as in 2GB: as many decoders and model threads as fit (Linux).",
        MACHINE,
        values="SIZE",
    )
    decode_timeout: float = option(
        120.0,
        f"Give up on a file whose decoder hangs for so long ({TIME_FORMS}).",
        MACHINE,
        values=TIME,
        least=0,
        shown="2m",
    )
    decoder_mb: int = DECODER_MB
    commit_every_s: float = 10.0
    commit_every_n: int = 512

    def __post_init__(self) -> None:
        check_bounds(self, UsageError)
        megabytes(self.max_memory)

    @property
    def max_memory_mb(self) -> int | None:
        """``max_memory`` as a number."""
        return megabytes(self.max_memory)

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


_FACTORS = {"M": 1, "MB": 1, "MIB": 1.048576, "G": 1000, "GB": 1000, "GIB": 1073.741824}


def megabytes(text: str | None) -> int | None:
    """``2GB``, ``800 MB``, ``1.5GiB`` -> megabytes."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]+)", text.strip().upper())
    if match is None or match[2] not in _FACTORS:
        raise UsageError(f"`max_memory` {text} is no size; write it as in 2GB or 800MB")
    return int(float(match[1]) * _FACTORS[match[2]])


def check_overlap(overlap: float) -> None:
    """One that leaves segments no way forward is a UsageError."""
    if not 0 <= overlap < 1:
        raise UsageError(f"`overlap` {overlap} cannot work; it is a share from 0 to below 1")


Pool = Callable[["np.ndarray"], "np.ndarray"]


def _noisy_or(scores: np.ndarray) -> np.ndarray:
    """1 - Π (1 - s): the chance that a label shows in at least one segment, were segments independent."""
    return 1 - (1 - scores).prod(axis=0)


def _median(scores: np.ndarray) -> np.ndarray:
    import numpy as np  # whoever only asks for help does without

    return np.median(scores, axis=0)


POOLS: dict[str, Pool] = {
    "mean": lambda scores: scores.mean(axis=0),
    "max": lambda scores: scores.max(axis=0),
    "median": _median,
    "noisy-or": _noisy_or,
}


def find_pool(name: str) -> Pool:
    """(n_segments, C) -> (C,), by name."""
    if name not in POOLS:
        raise UsageError(unknown_name("pooling", name, POOLS))
    return POOLS[name]
