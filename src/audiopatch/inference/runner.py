"""Places where the stages run: what a run asks of one, and which there are."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from audiopatch.catalog import Catalog
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.inference.stages import Step
from audiopatch.models.tagger import Tagger
from audiopatch.tables.journal import WorkList
from audiopatch.types import CutSpec

RUNNERS = Catalog(
    "runner",
    {
        "local": "audiopatch.runners.local:Local",
        "ray": "audiopatch.runners.ray:Cluster",
    },
)


@dataclass(frozen=True)
class Job:
    """What a runner does with every track: how it is cut, what is asked of the model, and how to go about it."""

    analysis: Analysis
    runtime: Runtime
    cut: CutSpec


class Runner(Protocol):
    """Somewhere to decode and infer; the run itself plans, commits and reports in its own process.

    A context manager: entering it takes what the place needs, leaving it gives all of it back. Once entered,
    ``runtime`` is what was asked for as it is meant here: this device, this precision.
    """

    runtime: Runtime

    def __init__(self, runtime: Runtime): ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def load(self, analysis: Analysis) -> Tagger:
        """The model, with the engine and precision that this place computes it in."""
        ...

    def device(self, tagger: Tagger) -> str:
        """Where the model computes, for the record: ``cpu``, or ``cuda:0, cuda:1``."""
        ...

    def describe(self, runtime: Runtime) -> str:
        """What is at work, for people."""
        ...

    def finished(self, job: Job, work: WorkList, stop: threading.Event, *, once: bool = False) -> Generator[Step]:
        """Decode and infer the tracks of ``work`` until all are done, each exactly once, or ``stop`` is set.

        With ``once`` tracks that begin like an earlier one are set aside, wherever either of them is decoded.
        """
        ...


def find_runner(runtime: Runtime) -> Runner:
    """The runner that was asked for, not yet entered."""
    return RUNNERS.load(runtime.place)(runtime)
