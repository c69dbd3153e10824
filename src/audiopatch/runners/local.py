"""The runner of one machine: decoders in processes of their own, the model in this one."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from dataclasses import dataclass
from typing import Self

import torch

from audiopatch.audio.pool import decode_tracks
from audiopatch.inference.beginnings import Beginnings
from audiopatch.inference.journal import Plan
from audiopatch.inference.pipeline import Run
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.inference.stages import Finished, Stages
from audiopatch.models.tagger import Tagger
from audiopatch.zoo import load_model


@dataclass(frozen=True)
class Local:
    """Needs nothing but what ``runtime`` says."""

    runtime: Runtime

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def load(self, analysis: Analysis) -> Tagger:
        """The model that will do the work."""
        wanted = self.runtime
        if wanted.threads:
            torch.set_num_threads(wanted.threads)
        return load_model(
            analysis.model, device=wanted.device, dtype=wanted.dtype, engine=wanted.engine, offline=wanted.offline
        )

    def device(self, tagger: Tagger) -> str:
        return str(tagger.device)

    def describe(self, run: Run) -> str:
        return f"{run.tagger.device}, {torch.get_num_threads()} threads, up to {run.runtime.n_workers} decoders"

    def finished(self, run: Run, plan: Plan, *, once: bool = False) -> Generator[Finished]:
        """The caller's thread infers while another feeds it, and the decoders' processes are at work."""
        stages = Stages(run.tagger, run.analysis, batch_size=run.runtime.batch_size)
        decoding = decode_tracks(
            itertools.takewhile(lambda _: not run.stop.is_set(), plan),
            run.cut,
            workers=run.runtime.n_workers,
            timeout_s=run.runtime.decode_timeout_s,
            memory_mb=run.runtime.decoder_mb,
            queue_segments=stages.queue_segments,
        )
        yield from stages.finished(decoding, run.stop, Beginnings().first if once else None)
