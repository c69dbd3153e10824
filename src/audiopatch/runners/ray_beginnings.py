"""The actor of a cluster that remembers how tracks begin, asked by all models once per track."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from audiopatch.inference.beginnings import Beginnings, First


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
