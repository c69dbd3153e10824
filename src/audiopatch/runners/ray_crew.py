"""The models of a cluster, one per GPU or node, as actors; replaced where they die, joined by new nodes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from audiopatch.audio.decode import Outcome
from audiopatch.errors import EnvironmentProblem
from audiopatch.events import NOTHING
from audiopatch.inference.beginnings import Beginnings, First
from audiopatch.inference.runner import Job
from audiopatch.inference.settings import Runtime
from audiopatch.inference.stages import Stages, Step
from audiopatch.models.tagger import Tagger
from audiopatch.runners.ray_decode import decode
from audiopatch.types import Track
from audiopatch.zoo.load import prepare


@contextmanager
def shared_beginnings() -> Iterator[Any]:
    """The actor, beside the process that leads: no lost node takes it along.

    Should it die, another goes on that knows nothing: copies of what came before are then computed once more.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    how = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    actor: Any = ray.remote(Beginnings).options(**how).remote()
    try:
        yield actor
    finally:
        ray.kill(actor)


def asking(actor: Any) -> First:
    """``Beginnings.first`` of the actor."""
    import ray

    return lambda beginning, track_id: ray.get(actor.first.remote(beginning, track_id))


_CHUNKS_AHEAD = 2  # per decode task; it sleeps until they are taken


class ModelActor:
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

    def finished(self, tracks: Sequence[Track], beginnings: Any) -> Iterator[Step]:
        """A step whenever tracks are finished, and one at the end. ``beginnings`` is an actor to ask, or None."""
        n_inferences, spent = 0, NOTHING
        first = asking(beginnings) if beginnings is not None else None
        for step in self._stages.finished(self._decoded(tracks), threading.Event(), first):
            n_inferences += step.n_inferences
            spent += step.spent
            if step.rows:
                yield Step(step.rows, n_inferences, spent)
                n_inferences, spent = 0, NOTHING
        yield Step((), n_inferences, spent)

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


_LOOK_EVERY_S = 2.0
_MAX_FALSE_STARTS = 3
_MAX_PLACES = 32
_STEPS_AHEAD = 8  # of rows; a model sleeps when they are not taken, because the disk is behind


@dataclass(frozen=True)
class Post:
    """What a node has for one model: its CPU threads, and how many shards it works on at once, each with a decoder."""

    node_id: str
    host: str
    n_cpus: int
    n_gpus: int
    n_places: int

    @property
    def options(self) -> dict[str, Any]:
        """Of the actor. Half of a node's CPUs are left to the decoders, all of them where there are GPUs."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return {
            "num_cpus": 0 if self.n_gpus else self.n_cpus // 2,
            "num_gpus": self.n_gpus,
            "max_concurrency": self.n_places + 1,
            "max_restarts": 0,
            "max_task_retries": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(self.node_id, soft=False),
        }


@dataclass(eq=False)
class Member:
    """A model at its post. ``starting`` is None once it is ready; ``n_free`` more shards may be given to it then."""

    post: Post
    actor: Any
    starting: Any
    n_free: int = field(init=False)

    def __post_init__(self) -> None:
        self.n_free = self.post.n_places

    def begin(self, tracks: list[Any], beginnings: Any) -> Any:
        """The stream of what becomes of the tracks."""
        self.n_free -= 1
        how = {"num_returns": "streaming", "_generator_backpressure_num_objects": _STEPS_AHEAD}
        return self.actor.finished.options(**how).remote(tracks, beginnings)


class Crew:
    """All members. ``tend`` looks after them from time to time."""

    def __init__(self, weights: Any, job: Job):
        self._weights, self._job = weights, job
        self._members: list[Member] = []
        self._looked = 0.0
        self._n_false_starts = 0

    def tend(self) -> None:
        """Start a model wherever one is missing, and see whether those that were started are ready."""
        import ray

        if time.monotonic() - self._looked > _LOOK_EVERY_S:
            self._looked = time.monotonic()
            self._fill_posts()
        starting = [member for member in self._members if member.starting is not None]
        for member in starting:
            if ray.wait([member.starting], timeout=0)[0]:
                self._started(member)

    def starting(self) -> list[Any]:
        """References that become ready when members do."""
        return [member.starting for member in self._members if member.starting is not None]

    def most_free(self) -> Member | None:
        """The member with the most free places, if any has one."""
        ready = [member for member in self._members if member.starting is None and member.n_free]
        return max(ready, key=lambda member: member.n_free, default=None)

    def lose(self, member: Member) -> None:
        """Give up a member; another takes its post if the node is still there."""
        import ray

        if member in self._members:
            self._members.remove(member)
            ray.kill(member.actor)
            self._looked = 0.0

    def dismiss(self) -> None:
        """End all members, with whatever they are doing."""
        for member in list(self._members):
            self.lose(member)

    def _fill_posts(self) -> None:
        import ray

        taken = Counter(member.post.node_id for member in self._members)
        for post in posts(self._job.runtime):
            if taken[post.node_id]:
                taken[post.node_id] -= 1
                continue
            actor = ray.remote(ModelActor).options(**post.options).remote()
            starting = actor.prepare.remote(self._weights, self._job, self._job.runtime.threads or post.n_cpus)
            self._members.append(Member(post, actor, starting))

    def _started(self, member: Member) -> None:
        """A member that dies at its start is replaced, some times; one that says why it cannot work ends the run."""
        import ray
        from ray.exceptions import RayError

        try:
            ray.get(member.starting)
        except RayError as error:
            self.lose(member)
            if (reason := reason_of(error)) is not None:
                raise reason from error
            self._n_false_starts += 1
            if self._n_false_starts >= _MAX_FALSE_STARTS:
                raise EnvironmentProblem(f"models die on {member.post.host} before they can work: {error}") from error
        else:
            member.starting = None
            self._n_false_starts = 0


def posts(runtime: Runtime) -> list[Post]:
    """One per GPU of the cluster, or on CPUs one per node; each GPU has its share of all CPUs, each node its own."""
    import ray

    on_gpus = runtime.device == "cuda"
    nodes = [(node, node["Resources"]) for node in ray.nodes() if node["Alive"]]
    n_cpus, n_gpus = (sum(int(has.get(kind, 0)) for _, has in nodes) for kind in ("CPU", "GPU"))
    found: list[Post] = []
    for node, has in nodes:
        own = int(has.get("CPU", 0))
        n_decoders = n_cpus // max(1, n_gpus) if on_gpus else own - own // 2
        n_places = runtime.workers or min(_MAX_PLACES, max(2, n_decoders))
        post = Post(node["NodeID"], node["NodeManagerHostname"], max(1, own), int(on_gpus), n_places)
        found += [post] * (int(has.get("GPU", 0)) if on_gpus else min(1, own))
    return found


def reason_of(error: BaseException) -> BaseException | None:
    """What our own code raised on a worker, or None where the worker, its node or an object was lost."""
    from ray.exceptions import RayError, RayTaskError

    while isinstance(error, RayTaskError):
        error = error.cause  # pyright: ignore[reportAttributeAccessIssue]
    return None if isinstance(error, RayError) else error
