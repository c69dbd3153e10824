"""What takes part in a benchmark: one model, made ready to run one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from audiopatch.bench.measure import Run
from audiopatch.inference.extract import Extractor, Lanes, batch_size_for, find_plan
from audiopatch.inference.settings import Analysis, Stack
from audiopatch.models.cost import cost_of
from audiopatch.models.engines.openvino import OpenVinoBackbone
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import Plan
from audiopatch.types import Segment

_RUN_S, _MAX_TIMES = 0.15, 16


@dataclass(frozen=True)
class Case:
    """One row to measure. ``batch`` None is what ``tag`` would take; ``block`` leaves the network there, for its
    embedding, and None runs all of it, for scores.
    """

    model: str
    patchout: str = "F0T0"
    engine: str = "torch"
    dtype: str = "auto"
    batch: int | None = None
    block: int | None = None

    @property
    def analysis(self) -> Analysis:
        """What ``tag`` or ``embed`` would be asked for."""
        stack = None if self.block is None else Stack(blocks=(self.block,))
        return Analysis(
            model=self.model, tags=stack is None, embeddings=stack is not None, stack=stack, patchout=self.patchout
        )


class Network(NamedTuple):
    """What is computed, whoever does it: rows with the same may be compared."""

    family: str
    segment_s: float
    block: int | None


@dataclass(frozen=True)
class Contender:
    """A case ready to run: ``run`` computes ``n_segments``, ``run_one`` a single one, of ``segment_s`` seconds each.

    A model of the zoo runs in ``tag``'s own lanes, front-end included, a single segment with all threads. A baseline,
    which has no ``tagger``, is fed its mels.
    ``macs`` are those of one segment.
    """

    case: Case
    run: Run
    run_one: Run
    n_segments: int
    batch: int
    segment_s: float
    n_params: int
    macs: int
    n_tokens: int | None = None
    dtype: str = "float32"
    network: Network | None = None
    tagger: Tagger | None = None


class Hopeless(Exception):
    """One segment alone took ``seconds``: more than a measurement has."""

    def __init__(self, seconds: float):
        super().__init__(f"one segment took {seconds:.0f} s")
        self.seconds = seconds


def from_tagger(
    case: Case, tagger: Tagger, segments: Sequence[Segment], *, hopeless_s: float = float("inf")
) -> Contender:
    """A model of the zoo under ``case``, warmed up; ``segments`` are whole real ones, repeated as often as it takes.

    ``Hopeless`` where one segment takes longer than ``hopeless_s``, what had to be compiled included.
    """
    plan = find_plan(tagger, case.patchout)
    batch = case.batch or batch_size_for(tagger)
    extractor = Extractor(tagger, case.analysis, batch_size=batch)
    lanes = Lanes(extractor)
    cost = cost_of(tagger.card, plan)
    last = case.block or len(cost.block_macs)
    _calibrate(case, tagger, plan, segments)

    started = time.perf_counter()
    extractor(segments[:1])
    if (took_s := time.perf_counter() - started) > hopeless_s:
        raise Hopeless(took_s)

    def run(n_batches: int) -> None:
        try:
            for _ in lanes.map([_repeated(segments, batch)] * n_batches):
                pass
        finally:
            lanes.restore_threads()

    n_batches = lanes.n * _enough(lambda: run(lanes.n))
    return Contender(
        case,
        run=lambda: run(n_batches),
        run_one=lambda: extractor(segments[:1]),
        n_segments=n_batches * batch,
        batch=batch,
        segment_s=tagger.card.segment_s,
        n_params=cost.n_params,
        macs=cost.macs if case.block is None else cost.patch_macs + sum(cost.block_macs[:last]),
        n_tokens=cost.tokens[0] if cost.tokens else None,
        dtype=str(tagger.dtype).removeprefix("torch."),
        network=Network(tagger.card.family, tagger.card.segment_s, case.block),
        tagger=tagger,
    )


def _enough(run: Run) -> int:
    """How many times over to run something quick, to time it at all well."""
    run()  # compiles what is compiled
    started = time.perf_counter()
    run()
    return max(1, min(_MAX_TIMES, round(_RUN_S / (time.perf_counter() - started))))


def _repeated(segments: Sequence[Segment], n: int) -> list[Segment]:
    return [segments[index % len(segments)] for index in range(n)]


def mels_of(tagger: Tagger, segments: Sequence[Segment]) -> Tensor:
    """Segments of equal length -> mel (N, n_mels, frames) on the model's device."""
    wave = torch.stack([torch.from_numpy(segment.wave) for segment in segments]).to(tagger.device)
    with torch.inference_mode():
        return tagger.frontend(wave)


def _calibrate(case: Case, tagger: Tagger, plan: Plan, segments: Sequence[Segment]) -> None:
    backbone: Any = tagger.backbone
    if isinstance(backbone, OpenVinoBackbone) and backbone.dtype == "int8":
        taps = () if case.block is None else (case.block,)
        backbone.calibrate(mels_of(tagger, segments), plan, taps, last=case.block)
