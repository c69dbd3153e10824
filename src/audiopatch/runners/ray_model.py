"""The actor of a cluster that holds a model: shards of tracks in, rows out."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import torch

from audiopatch.audio.decode import Outcome
from audiopatch.inference.runner import Job
from audiopatch.inference.stages import Finished, Stages
from audiopatch.models.tagger import Tagger
from audiopatch.runners.ray_beginnings import asking
from audiopatch.runners.ray_decode import decode
from audiopatch.types import Track
from audiopatch.zoo.load import prepare

_CHUNKS_AHEAD = 2  # per decode task; it sleeps until they are taken


class Model:
    """Decodes and infers several shards at once, so that the model has work while the next decoder starts.

    Its decode tasks run wherever the cluster has CPUs. It owns them: if it dies, they end.
    """

    def prepare(self, tagger: Tagger, job: Job, n_threads: int) -> None:
        """Take the weights to the device; what cannot work raises here."""
        torch.set_num_threads(n_threads)
        runtime = job.runtime
        prepare(tagger, device=runtime.device, dtype=runtime.dtype, engine=runtime.engine)
        self._stages = Stages(tagger, job.analysis, batch_size=runtime.batch)
        self._job = job

    def finished(self, tracks: Sequence[Track], beginnings: Any) -> Iterator[Finished]:
        """A step whenever tracks are finished, and one at the end. ``beginnings`` is an actor to ask, or None."""
        n_inferences = 0
        first = asking(beginnings) if beginnings is not None else None
        for step in self._stages.finished(self._decoded(tracks), threading.Event(), first):
            n_inferences += step.n_inferences
            if step.rows:
                yield Finished(step.rows, n_inferences)
                n_inferences = 0
        yield Finished((), n_inferences)

    def _decoded(self, tracks: Sequence[Track]) -> Generator[Outcome]:
        """As ``decode_tracks``, by a task elsewhere. Ray shall not retry it: half of a track may be here already."""
        import ray

        task = ray.remote(decode).options(
            num_cpus=1, max_retries=0, num_returns="streaming", _generator_backpressure_num_objects=_CHUNKS_AHEAD
        )
        chunks: Any = task.remote(tracks, self._job.cut, self._job.runtime.decode_timeout)
        try:
            for chunk in chunks:
                yield from ray.get(chunk)
        finally:
            ray.cancel(chunks, force=True)
