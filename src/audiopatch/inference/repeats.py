"""Audio that one run meets twice: inferred once, its rows handed on to every other file that holds it.

Equal files, and copies that differ only in their tags, decode to equal samples. A track whose first segment was heard
before is therefore kept from the model; once the earlier track has rows, the hash of the whole audio decides.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import astuple
from itertools import islice

import numpy as np

from audiopatch.audio.decode import Outcome
from audiopatch.audio.wire import outcome_from, outcome_head
from audiopatch.inference.journal import Journal, Plan, empty_plan
from audiopatch.inference.output import Output
from audiopatch.inference.recognise import AT_ONCE, hand_on, is_same, known_rows
from audiopatch.sinks.inherit import Heir
from audiopatch.types import Decoded, Segment, Track

_SPOOL_BYTES = 4 << 20
_NO_WAVE = np.empty(0, np.float32)


class Repeats:
    """The tracks of one run that were set aside, on disk beyond some size. A context manager: leaving it frees them."""

    def __init__(self, output: Output):
        self._output = output
        self._beginnings = Beginnings()
        self._spool = tempfile.SpooledTemporaryFile(_SPOOL_BYTES, dir=output.home.spool)  # noqa: SIM115 (closed by __exit__)
        self.n_aside = 0

    def __enter__(self) -> Repeats:
        return self

    def __exit__(self, *error: object) -> None:
        self._spool.close()

    def set_aside(self, outcomes: Generator[Outcome]) -> Generator[Outcome]:
        """What the decoders give, without the tracks that begin like an earlier one and decode to their end."""
        before: dict[str, str] = {}  # tracks being decoded and set aside -> the track that began so first
        with closing(outcomes):
            for outcome in outcomes:
                track_id = outcome.track.track_id
                if isinstance(outcome, Segment):
                    if outcome.index == 0 and (first := self._beginnings.first(outcome)) != track_id:
                        before[track_id] = first
                    if track_id not in before:
                        yield outcome
                elif (first := before.pop(track_id, None)) is not None and isinstance(outcome, Decoded):
                    self._add(outcome, first)
                else:
                    yield outcome

    def settle(self, journal: Journal, recognised: Callable[[Decoded], None]) -> Plan:
        """Give the tracks set aside the rows of their audio, and tell ``recognised`` of each.

        ``journal`` knows what the run has committed. Tracks that only began alike are the plan that comes back.
        """
        rest = empty_plan(self._output.home.spool)
        aside = self._aside()
        while shard := list(islice(aside, AT_ONCE)):
            sources = {decoded.track.track_id: journal.rows_under(first) for decoded, first in shard}
            known = known_rows(self._output.store, sources.values())
            heirs: list[Heir] = []
            for decoded, first in shard:
                source = sources[decoded.track.track_id]
                if source is not None and is_same(decoded, known.get(first)):
                    heirs.append(Heir(decoded, *source))
                else:
                    rest.add(decoded.track)
            hand_on(heirs, known, journal, self._output)
            for heir in heirs:
                recognised(heir.decoded)
        return rest

    def _add(self, decoded: Decoded, first: str) -> None:
        line = [first, astuple(decoded.track), outcome_head(decoded)]
        self._spool.write(json.dumps(line).encode() + b"\n")
        self.n_aside += 1

    def _aside(self) -> Iterator[tuple[Decoded, str]]:
        self._spool.seek(0)
        for line in self._spool:
            first, track, head = json.loads(line)
            decoded = outcome_from(head, _NO_WAVE, Track(*track))
            assert isinstance(decoded, Decoded)
            yield decoded, first


class Beginnings:
    """Which track was the first to begin with some samples, in 16 bytes per track.

    Sorted arrays, and a dictionary for the latest; it is merged in whenever it has grown by a quarter of them, which
    keeps the time of all merges linear.
    """

    def __init__(self, *, n_latest: int = 1 << 16):
        self._n_latest = n_latest
        self._keys = self._ids = np.empty(0, np.uint64)
        self._latest: dict[int, int] = {}

    def first(self, segment: Segment) -> str:
        """The id of the track whose first segment had these samples before any other; perhaps the segment's own."""
        key = int.from_bytes(hashlib.blake2b(segment.wave.data, digest_size=8).digest(), "big")
        track_id = self._find(key)
        if track_id is None:
            track_id = self._latest[key] = int(segment.track.track_id, 16)
            if len(self._latest) >= max(self._n_latest, len(self._keys) // 4):
                self._merge()
        return f"{track_id:016x}"

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
