"""Audio that one run meets twice: inferred once, its rows handed on to every other file that holds it.

A track that begins like an earlier one is kept from the model (``inference.beginnings``); once the earlier track has
rows, the hash of the whole audio decides.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import astuple
from itertools import islice

import numpy as np

from audiopatch.audio.worker import outcome_from, outcome_head
from audiopatch.inference.journal import Journal, Plan, empty_plan
from audiopatch.inference.output import Output
from audiopatch.inference.recognise import AT_ONCE, hand_on, is_same, known_rows
from audiopatch.sinks.inherit import Heir
from audiopatch.types import Aside, Decoded, Track

_SPOOL_BYTES = 4 << 20
_NO_WAVE = np.empty(0, np.float32)


class Repeats:
    """The tracks of one run that were set aside, on disk beyond some size. A context manager: leaving it frees them."""

    def __init__(self, output: Output):
        self._output = output
        self._spool = tempfile.SpooledTemporaryFile(_SPOOL_BYTES, dir=output.home.spool)  # noqa: SIM115 (closed by __exit__)
        self.n_aside = 0

    def __enter__(self) -> Repeats:
        return self

    def __exit__(self, *error: object) -> None:
        self._spool.close()

    def add(self, aside: Aside) -> None:
        """One more track that was set aside."""
        line = [aside.first, astuple(aside.track), outcome_head(aside.decoded)]
        self._spool.write(json.dumps(line).encode() + b"\n")
        self.n_aside += 1

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

    def _aside(self) -> Iterator[tuple[Decoded, str]]:
        self._spool.seek(0)
        for line in self._spool:
            first, track, head = json.loads(line)
            decoded = outcome_from(head, _NO_WAVE, Track(*track))
            assert isinstance(decoded, Decoded)
            yield decoded, first
