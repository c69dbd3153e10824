"""Which tracks begin alike: equal files do, and copies that differ only in their tags. They decode to equal samples."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from audiopatch.types import Aside, Decoded, Segment

if TYPE_CHECKING:
    from audiopatch.audio.decode import Outcome

First = Callable[[int, str], str]  # ``Beginnings.first``, perhaps of another process


def set_aside(outcomes: Generator[Outcome], first: First) -> Generator[Outcome | Aside]:
    """What the decoders give; of tracks that begin like an earlier one and decode to their end only that they do."""
    before: dict[str, str] = {}  # tracks being decoded and set aside -> the track that began so first
    with closing(outcomes):
        for outcome in outcomes:
            track_id = outcome.track.track_id
            if isinstance(outcome, Segment):
                if outcome.index == 0 and (earlier := first(beginning_of(outcome), track_id)) != track_id:
                    before[track_id] = earlier
                if track_id not in before:
                    yield outcome
            elif (earlier := before.pop(track_id, None)) is not None and isinstance(outcome, Decoded):
                yield Aside(outcome, earlier)
            else:
                yield outcome


def beginning_of(segment: Segment) -> int:
    """64 bits that are equal where the samples are."""
    return int.from_bytes(hashlib.blake2b(segment.wave.data, digest_size=8).digest(), "big")


class Beginnings:
    """Which track was the first to begin with some samples, in 16 bytes per track; some 75 while it merges.

    Sorted arrays, and a dictionary for the latest; it is merged in whenever it has grown by a quarter of them, which
    keeps the time of all merges linear. Several threads may ask at once.
    """

    def __init__(self, *, n_latest: int = 1 << 16):
        self._n_latest = n_latest
        self._keys = self._ids = np.empty(0, np.uint64)
        self._latest: dict[int, int] = {}
        self._lock = threading.Lock()

    def first(self, beginning: int, track_id: str) -> str:
        """The id of the track that was the first to begin so: ``track_id`` itself if none did before."""
        with self._lock:
            known = self._find(beginning)
            if known is None:
                known = self._latest[beginning] = int(track_id, 16)
                if len(self._latest) >= max(self._n_latest, len(self._keys) // 4):
                    self._merge()
        return f"{known:016x}"

    def _find(self, key: int) -> int | None:
        if key in self._latest:
            return self._latest[key]
        place = int(np.searchsorted(self._keys, np.uint64(key)))
        return int(self._ids[place]) if place < len(self._keys) and self._keys[place] == key else None

    def _merge(self) -> None:
        keys = np.concatenate([self._keys, np.fromiter(self._latest.keys(), np.uint64, len(self._latest))])
        ids = np.concatenate([self._ids, np.fromiter(self._latest.values(), np.uint64, len(self._latest))])
        order = np.argsort(keys)
        self._keys, self._ids = keys[order], ids[order]
        self._latest.clear()
