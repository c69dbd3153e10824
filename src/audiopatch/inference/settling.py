"""New and changed files, held back until nobody writes to them any more."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from audiopatch.inference.journal import Journal
from audiopatch.types import Track

_MOST_HELD = 100_000  # of more files than this the rest waits for its turn


class Settling:
    """Lets a file through once its size and time have stayed the same for ``quiet_s``."""

    def __init__(self, quiet_s: float):
        self._quiet_s = quiet_s
        self._held: dict[str, tuple[int, int, float]] = {}  # path -> size, time, and since when they are so

    @property
    def paths(self) -> frozenset[str]:
        """The files held back: the next look must hold them all."""
        return frozenset(self._held)

    def look(self, tracks: Iterable[Track], journal: Journal) -> Iterator[Track]:
        """Of the tracks there are now, those to do that are quiet. What a look does not see is forgotten."""
        before, self._held = self._held, {}
        now = time.monotonic()
        for track in tracks:
            known = journal.find(track)
            if known is not None and known[2]:
                continue
            size, mtime, since = before.get(track.path, (None, None, now))
            if (size, mtime) != (track.size_bytes, track.mtime_ns):
                since = now
            if now - since >= self._quiet_s:
                yield track
            elif len(self._held) < _MOST_HELD:
                self._held[track.path] = track.size_bytes, track.mtime_ns, since
