"""The runner of a Ray cluster: models on its GPUs or nodes, decoders on its CPUs, the tables in this process's hands.

Exactly once: only this process commits, under the output's lock, so workers need to reach the music but not the
tables. A shard whose worker, decoder or node is lost is given out again without the tracks that have come back.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import replace
from typing import Self

from audiopatch.errors import EnvironmentProblem
from audiopatch.inference.runner import Job
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.inference.stages import Finished
from audiopatch.models.tagger import Tagger
from audiopatch.runners.ray_beginnings import shared_beginnings
from audiopatch.runners.ray_connect import Connection, device_of, gpu_numbers
from audiopatch.runners.ray_crew import Crew, posts
from audiopatch.runners.ray_shards import Shards
from audiopatch.tables.journal import WorkList
from audiopatch.types import Failed
from audiopatch.zoo.load import prepare, read_model

_MAX_SHARD = 32  # tracks: what a lost worker can cost, and what has to pay for the start of a decoder
_SHARDS_PER_PLACE = 4  # where there are tracks enough, so that nobody waits long for the last one


class Cluster:
    """A Ray cluster, or one that this process starts for itself on this machine."""

    def __init__(self, runtime: Runtime):
        several = runtime.place == "ray" and runtime.runner != "ray"
        self._connection = Connection(runtime.address, gpus=gpu_numbers(runtime.device) if several else None)
        self._runtime = replace(runtime, device="cuda") if several else runtime
        self._crew: Crew | None = None

    def __enter__(self) -> Self:
        self._connection.open()
        try:
            device = device_of(self._runtime.device)
        except BaseException:
            self._connection.close()
            raise
        # What "auto" means must not depend on the node: the tables may hold one precision only.
        dtype = "bfloat16" if (self._runtime.dtype, device) == ("auto", "cuda") else self._runtime.dtype
        self._runtime = replace(self._runtime, device=device, dtype=dtype)
        return self

    def __exit__(self, *error: object) -> None:
        if self._crew is not None:
            self._crew.dismiss()
        self._connection.close()

    def load(self, analysis: Analysis) -> Tagger:
        """The model on this machine's CPU, to know it by; all workers compute with copies of the same weights."""
        import ray

        tagger = read_model(analysis.model, offline=self._runtime.offline)
        self._weights = ray.put(tagger)
        return prepare(tagger, device="cpu", dtype=self._runtime.dtype, engine=self._runtime.engine)

    def device(self, tagger: Tagger) -> str:
        return self._runtime.device

    def describe(self, runtime: Runtime) -> str:
        found = posts(self._runtime)
        return f"Ray: {len(found)} models ({self._runtime.device}) on {len({post.node_id for post in found})} nodes"

    def finished(self, job: Job, work: WorkList, stop: threading.Event, *, once: bool = False) -> Generator[Finished]:
        """Hand out shards and take back rows."""
        if self._crew is None:
            self._crew = Crew(self._weights, replace(job, runtime=self._runtime))
        n_places = sum(post.n_places for post in posts(self._runtime))
        n_tracks = min(_MAX_SHARD, max(1, work.n_todo // (_SHARDS_PER_PLACE * max(1, n_places))))
        with shared_beginnings() if once else nullcontext() as beginnings:
            for step in Shards(self._crew, work.shards(n_tracks), beginnings).finished(stop):
                for row in step.rows:
                    if isinstance(row, Failed):
                        check_reachable(row)
                yield step


def check_reachable(failed: Failed) -> None:
    """A file that only the workers miss is no fault of the file."""
    path = failed.track.path
    if failed.code == "E_VANISHED" and os.path.exists(path):  # noqa: PTH110 (a name need not be a valid path)
        raise EnvironmentProblem(
            f"{path} is here, but not on every node of the cluster: the music must have the same path on all of them"
        )
