"""Shards of a plan given out to the crew, until every track has come back once."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from audiopatch.inference.stages import Step
from audiopatch.runners.ray_crew import Crew, Member, reason_of
from audiopatch.types import Failed, Track

_WAIT_S = 0.5
_MAX_LOSSES = 4


@dataclass
class Shard:
    """Tracks that have not come back yet, by id, and how often in a row everything that worked on them was lost."""

    left: dict[str, Track]
    n_losses: int = 0

    @classmethod
    def of(cls, tracks: list[Track]) -> Shard:
        return cls({track.track_id: track for track in tracks})


@dataclass
class Shards:
    """What is to do, and what is being done: stream of steps -> who gives it, and what of."""

    crew: Crew
    todo: Iterator[list[Track]]
    beginnings: Any = None  # the actor that models ask, where tracks that begin alike are set aside
    _again: deque[Shard] = field(default_factory=deque)
    _streams: dict[Any, tuple[Member, Shard]] = field(default_factory=dict)

    def finished(self, stop: threading.Event) -> Generator[Step]:
        """Steps as they come, until all tracks are back or ``stop`` is set. Back-pressure: a step waits to be taken."""
        while not stop.is_set():
            self.crew.tend()
            if not self._give_out() and not self._streams:
                return
            for stream in self._ready():
                step = self._advance(stream)
                if step is not None:
                    yield step

    def _give_out(self) -> bool:
        """Shards to whoever is free; whether there are still some to give."""
        while (member := self.crew.most_free()) is not None:
            if (shard := self.next()) is None:
                return False
            self._streams[member.begin(list(shard.left.values()), self.beginnings)] = member, shard
        return True

    def next(self) -> Shard | None:
        """What to do next; what was lost comes first."""
        if self._again:
            return self._again.popleft()
        tracks = next(self.todo, None)
        return None if tracks is None else Shard.of(tracks)

    def _ready(self) -> list[Any]:
        """Streams that have something for us, once there is one."""
        import ray

        watched = [*self._streams, *self.crew.starting()]
        if not watched:  # no node is left: perhaps one will join
            time.sleep(_WAIT_S)
            return []
        if not ray.wait(watched, timeout=_WAIT_S)[0]:
            return []
        ready, _ = ray.wait(watched, num_returns=len(watched), timeout=0)
        return [stream for stream in ready if stream in self._streams]

    def _advance(self, stream: Any) -> Step | None:
        """The next step of a stream. One that was lost is no step: what is left of its shard is done again."""
        import ray
        from ray.exceptions import RayActorError, RayError

        member, shard = self._streams[stream]
        try:
            step: Any = ray.get(next(stream))
        except StopIteration:
            self._end(stream)
            return self.lost(shard) if shard.left else None
        except RayError as error:
            if (reason := reason_of(error)) is not None:
                raise reason from error
            self._end(stream)
            if isinstance(error, RayActorError):
                self.crew.lose(member)
            return self.lost(shard)
        shard.n_losses = 0 if step.rows else shard.n_losses
        for row in step.rows:
            del shard.left[row.track.track_id]
        return step

    def _end(self, stream: Any) -> None:
        member, _ = self._streams.pop(stream)
        member.n_free += 1

    def lost(self, shard: Shard) -> Step | None:
        """Do it again: as a whole at first, then track by track, so that one that kills whoever has it fails alone."""
        shard.n_losses += 1
        if len(shard.left) == 1 and shard.n_losses >= _MAX_LOSSES:
            (track,) = shard.left.values()
            message = f"{shard.n_losses} workers were lost while they had it"
            return Step([Failed(track, "E_WORKER_CRASH", "infer", message)])
        if shard.n_losses == 1:
            self._again.append(shard)
        else:
            self._again.extend(Shard({name: track}, shard.n_losses) for name, track in shard.left.items())
        return None
