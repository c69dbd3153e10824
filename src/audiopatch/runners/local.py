"""The runner of one machine: decoders in processes of their own, the model in this one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator
from typing import Self

import torch

from audiopatch.audio.pool import decode_tracks
from audiopatch.inference.beginnings import Beginnings
from audiopatch.inference.runner import Job
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.inference.stages import Stages, Step
from audiopatch.models.tagger import Tagger
from audiopatch.tables.journal import WorkList
from audiopatch.zoo import load_model


class Local:
    """Needs nothing but what ``runtime`` says."""

    def __init__(self, runtime: Runtime):
        self.runtime: Runtime = runtime
        self._tagger: Tagger | None = None

    def __enter__(self) -> Self:
        self._n_threads = torch.get_num_threads()
        return self

    def __exit__(self, *error: object) -> None:
        torch.set_num_threads(self._n_threads)

    def load(self, analysis: Analysis) -> Tagger:
        """The model that will do the work."""
        wanted = self.runtime
        if wanted.threads:
            torch.set_num_threads(wanted.threads)
        self._tagger = load_model(
            analysis.model, device=wanted.device, dtype=wanted.dtype, engine=wanted.engine, offline=wanted.offline
        )
        return self._tagger

    def device(self, tagger: Tagger) -> str:
        return str(tagger.device)

    def describe(self, runtime: Runtime) -> str:
        assert self._tagger is not None
        n_threads, n_decoders = torch.get_num_threads(), runtime.n_workers
        threads = "1 thread" if n_threads == 1 else f"{n_threads} threads"
        decoders = {0: "decoding in this process", 1: "1 decoder"}.get(n_decoders, f"up to {n_decoders} decoders")
        return f"{self._tagger.device}, {threads}, {decoders}"

    def finished(self, job: Job, work: WorkList, stop: threading.Event, *, once: bool = False) -> Generator[Step]:
        """The caller's thread infers while another feeds it, and the decoders' processes are at work."""
        assert self._tagger is not None
        runtime = job.runtime
        with Stages(self._tagger, job.analysis, batch_size=runtime.batch) as stages:
            decoding = decode_tracks(
                itertools.takewhile(lambda _: not stop.is_set(), work),
                job.cut,
                workers=runtime.n_workers,
                timeout_s=runtime.decode_timeout,
                memory_mb=runtime.decoder_mb,
                queue_segments=stages.queue_segments,
            )
            yield from stages.finished(decoding, stop, Beginnings().first if once else None)
