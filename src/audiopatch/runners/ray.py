"""The runner of a Ray cluster: models on its GPUs or nodes, decoders on its CPUs, the tables in this process's hands.

Exactly once: only this process commits, under the output's lock, so workers need to reach the music but not the
tables. A shard whose worker, decoder or node is lost is given out again without the tracks that have come back.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any, Self

from audiopatch.errors import EnvironmentProblem, UsageError, missing_extra
from audiopatch.inference.runner import Job
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.inference.stages import Step
from audiopatch.models.tagger import Tagger
from audiopatch.runners.ray_crew import Crew, posts, shared_beginnings
from audiopatch.runners.ray_shards import Shards
from audiopatch.tables.journal import WorkList
from audiopatch.types import Failed
from audiopatch.zoo.load import prepare, read_model

LOCAL, AUTO = "local", "auto"
_PROBE_S = 5.0


class Connection:
    """``local`` starts Ray on this machine and ends it; ``auto`` and ``HOST:PORT`` join a cluster that is running.

    ``gpus`` are the numbers of those that a Ray of our own may use; None leaves it all there are.
    """

    def __init__(self, address: str, *, gpus: Sequence[int] | None = None):
        self._address = address
        self._gpus = gpus
        self._is_ours = False

    def open(self) -> None:
        """EnvironmentProblem where Ray is missing or does not answer. A connection that the program has is kept."""
        try:
            import ray
            from ray.exceptions import RayError
        except ImportError as error:
            asked = "--runner ray" if self._gpus is None else "sharing several devices out"
            raise missing_extra(asked, "ray") from error
        if ray.is_initialized():
            return
        _probe(self._address)
        with _own_signals(), visible(self._gpus):
            try:
                ray.init(self._address, log_to_driver=False, logging_level=logging.ERROR, **self._options())
            except (ConnectionError, RuntimeError, ValueError, TimeoutError, RayError) as error:
                first = str(error).strip().splitlines()[0]
                raise EnvironmentProblem(f"Ray at '{self._address}' cannot be used: {first}") from error
        self._is_ours = True

    def close(self) -> None:
        """Leave the cluster, or end the one that was started."""
        import ray

        if self._is_ours:
            ray.shutdown()
            self._is_ours = False

    def _options(self) -> dict[str, Any]:
        if self._address != LOCAL:
            return {}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no command touches the network unasked
        os.environ.setdefault("RAY_worker_niceness", "0")  # 15 by itself: starved by any other job
        return {"include_dashboard": False} | ({} if self._gpus is None else {"num_gpus": len(self._gpus)})


def device_of(device: str) -> str:
    """``auto`` is cuda if any node has a GPU; what the cluster lacks is an EnvironmentProblem."""
    import ray

    has = ray.cluster_resources()
    if device == "auto":
        device = "cuda" if has.get("GPU") else "cpu"
    if device not in ("cpu", "cuda"):
        raise UsageError(f"--device {device} cannot work with --runner ray, which gives each model a GPU; use cuda")
    if device == "cuda" and not has.get("GPU"):
        raise EnvironmentProblem("--device cuda was asked for, but no node of the Ray cluster has a GPU")
    if not has.get("CPU"):
        raise EnvironmentProblem("no node of the Ray cluster has a CPU to decode with")
    return device


def gpu_numbers(devices: str) -> list[int]:
    """``cuda:0,cuda:2`` -> [0, 2]; ``all`` are those that torch sees. What is no GPU, or not there, is an error."""
    import torch

    from audiopatch.zoo.load import find_device

    if devices == "all":
        find_device("cuda")
        return list(range(torch.cuda.device_count()))
    found = [find_device(name.strip()) for name in devices.split(",")]
    if any(device.type != "cuda" or device.index is None for device in found):
        raise UsageError(f"--devices {devices} cannot work; name GPUs as in cuda:0,cuda:1, or all")
    return [device.index for device in found]


@contextmanager
def visible(gpus: Sequence[int] | None) -> Iterator[None]:
    """Let what is started meanwhile see these GPUs only; numbers are those that this process sees them by."""
    if gpus is None:
        yield
        return
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    known = before.split(",") if before else None
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(known[gpu] if known else str(gpu) for gpu in gpus)
    try:
        yield
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def _probe(address: str) -> None:
    """Ray itself tries for a minute before it gives up."""
    if address in (LOCAL, AUTO):
        return
    if "://" in address:
        raise UsageError(
            f"--address {address} cannot work: run audiopatch on a node of the cluster, with --address auto"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--address {address} is none; use local, auto or HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=_PROBE_S).close()
    except OSError as error:
        raise EnvironmentProblem(f"no Ray answers at {address}: {error.strerror or error}") from error


class _own_signals:
    """Ray puts a handler of its own for SIGTERM in the place of ours."""

    def __enter__(self) -> None:
        self._is_main = threading.current_thread() is threading.main_thread()
        self._before = signal.getsignal(signal.SIGTERM)

    def __exit__(self, *error: object) -> None:
        if self._is_main:
            with suppress(TypeError):
                signal.signal(signal.SIGTERM, self._before)


_MAX_SHARD = 32  # tracks: what a lost worker can cost, and what has to pay for the start of a decoder
_SHARDS_PER_PLACE = 4  # where there are tracks enough, so that nobody waits long for the last one


class Cluster:
    """A Ray cluster, or one that this process starts for itself on this machine."""

    def __init__(self, runtime: Runtime):
        several = runtime.place == "ray" and runtime.runner != "ray"
        self._connection = Connection(runtime.address, gpus=gpu_numbers(runtime.device) if several else None)
        self.runtime: Runtime = runtime
        self._device = "cuda" if several else runtime.device
        self._crew: Crew | None = None

    def __enter__(self) -> Self:
        self._connection.open()
        try:
            device = device_of(self._device)
        except BaseException:
            self._connection.close()
            raise
        # What "auto" means must not depend on the node: the tables may hold one precision only.
        dtype = "bfloat16" if (self.runtime.dtype, device) == ("auto", "cuda") else self.runtime.dtype
        self.runtime = replace(self.runtime, runner="ray", device=device, dtype=dtype)
        return self

    def __exit__(self, *error: object) -> None:
        if self._crew is not None:
            self._crew.dismiss()
        self._connection.close()

    def load(self, analysis: Analysis) -> Tagger:
        """The model on this machine's CPU, to know it by; all workers compute with copies of the same weights."""
        import ray

        tagger = read_model(analysis.model, offline=self.runtime.offline)
        self._weights = ray.put(tagger)
        return prepare(tagger, device="cpu", dtype=self.runtime.dtype, engine=self.runtime.engine)

    def device(self, tagger: Tagger) -> str:
        return self.runtime.device

    def describe(self, runtime: Runtime) -> str:
        found = posts(runtime)
        return f"Ray: {len(found)} models ({runtime.device}) on {len({post.node_id for post in found})} nodes"

    def finished(self, job: Job, work: WorkList, stop: threading.Event, *, once: bool = False) -> Generator[Step]:
        """Hand out shards and take back rows."""
        if self._crew is None:
            self._crew = Crew(self._weights, job)
        n_places = sum(post.n_places for post in posts(job.runtime))
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
