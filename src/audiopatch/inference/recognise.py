"""Audio that is known: of files only moved or retagged, and of files that one run meets twice.

All are decoded to be sure; their rows are handed on, and the model is not asked again. Within a run, a track that
begins like an earlier one is kept from the model (``inference.beginnings``); once the earlier track has rows, the hash
of the whole audio decides.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple
from itertools import islice
from typing import Any

import numpy as np

from audiopatch.audio.inputs import Inputs
from audiopatch.audio.pool import decode_tracks
from audiopatch.audio.worker import outcome_from, outcome_head
from audiopatch.errors import NoAudioError
from audiopatch.inference.settings import Runtime
from audiopatch.storage.place import is_remote
from audiopatch.storage.store import exists
from audiopatch.tables import FORMATS
from audiopatch.tables.inherit import Heir, inherited, rows_of
from audiopatch.tables.journal import Journal, KnownSource, WorkList, empty_work, part_name
from audiopatch.tables.output import Output, folder_at, read_run
from audiopatch.tables.parts import PartStore
from audiopatch.types import Aside, CutSpec, Decoded, Track

_LOOKED_AT = 100_000  # files of a library that may have moved
_COMPARED_HZ = 8000  # hashes are of packets: the rate only has to be cheap
AT_ONCE = 512  # tracks in a commit


def recognise(
    work: WorkList,
    journal: Journal,
    output: Output,
    cut: CutSpec,
    runtime: Runtime,
    *,
    note: Callable[[str], None],
    stop: Callable[[], bool] = lambda: False,
) -> WorkList:
    """``work`` without the files whose audio has rows already; those are given to them, and count as up to date.

    Looked at are changed files, and new ones with the size and time of a known one. Tables hold the hash of the whole
    audio, so each is decoded to its end, and nothing is taken on trust.
    """
    n_candidates = sum(journal.source_of(track) is not None for track in work) if len(journal) else 0
    if not n_candidates:
        return work
    one = n_candidates == 1
    note(
        f"{n_candidates} {'file' if one else 'files'} may only have been moved or retagged: "
        f"comparing {'its' if one else 'their'} audio with what is known"
    )
    rest = empty_work(output.home.spool)
    rest.n_up_to_date, rest.n_failed_before, rest.complete = work.n_up_to_date, work.n_failed_before, work.complete
    for shard in work.shards(AT_ONCE):
        sources = {track.track_id: source for track in shard if (source := journal.source_of(track)) is not None}
        known = known_rows(output.store, sources.values())
        candidates = [track for track in shard if track.track_id in sources]
        decoded = [] if stop() else _decoded(candidates, cut, runtime, stop)
        found = [(one, sources[one.track.track_id]) for one in decoded]
        heirs = [Heir(one, *source) for one, source in found if is_same(one, known.get(source.track_id))]
        hand_on(heirs, known, journal, output)
        recognised = {heir.decoded.track.track_id for heir in heirs}
        rest.n_up_to_date += len(recognised)
        for track in shard:
            if track.track_id not in recognised:
                rest.add(track)
    note(f"rows kept for {rest.n_up_to_date - work.n_up_to_date} of {n_candidates}")
    return rest


def _decoded(tracks: Sequence[Track], cut: CutSpec, runtime: Runtime, stop: Callable[[], bool]) -> Iterator[Decoded]:
    """Those of the tracks that can be decoded to their end."""
    decoding = decode_tracks(
        tracks,
        cut,
        workers=runtime.n_workers,
        timeout_s=runtime.decode_timeout,
        memory_mb=runtime.decoder_mb,
    )
    with closing(decoding) as outcomes:
        for outcome in outcomes:
            if stop():
                return
            if isinstance(outcome, Decoded):
                yield outcome


def known_rows(store: PartStore, sources: Iterable[KnownSource | None]) -> dict[str, dict[str, Any]]:
    """What ``tracks`` says of each source that is still there, by its id."""
    wanted: dict[str, set[str]] = {}
    for source in sources:
        if source is not None:
            wanted.setdefault(source.part, set()).add(source.track_id)
    return rows_of(store, wanted)


def is_same(now: Decoded, before: dict[str, Any] | None, *, n_segments: bool = True) -> bool:
    """Damaged audio is never recognised: it has two tables to agree with, and little to save.

    ``n_segments``: whether they must have been cut into as many.
    """
    return (
        before is not None
        and (before["status"], now.damaged) == ("ok", False)
        and now.audio_hash is not None
        and before["audio_hash"] == now.audio_hash
        and (before["n_segments"] == now.n_segments or not n_segments)
    )


_SAMPLE = 24  # files of a library that are compared before all of it counts as moved


def find_root(
    inputs: Inputs, folder: str | os.PathLike[str], runtime: Runtime
) -> tuple[str | None, tuple[str, str] | None]:
    """What the ids of an output folder are relative to (None: it is new); if its library moved, from where to where.

    A root that cannot be seen now may have moved to where the inputs are, or be another disk that has the same names:
    recorders without a clock give equal names, sizes and times. A sample of the audio decides.
    """
    run = read_run(folder_at(folder))
    old = (run or {}).get("root")
    if run is None or old is None or exists(old):
        return old, None
    try:
        tracks = inputs.tracks()
    except NoAudioError:
        return old, None
    first = next(tracks)
    if first.root == old or is_remote(first.root) != is_remote(old):
        return old, None
    store = PartStore(folder_at(folder), FORMATS.load(run["parameters"]["format"])())
    journal = Journal.of(store)
    known: dict[str, tuple[Track, KnownSource]] = {}
    for track in islice(itertools.chain([first], tracks), _LOOKED_AT):
        found, source = journal.find(track), journal.rows_under(track.track_id)
        if found is not None and found.unchanged and source is not None:
            known[track.track_id] = track, source
    sample = [known[track_id] for track_id in random.Random(0).sample(sorted(known), min(_SAMPLE, len(known)))]
    before = known_rows(store, [source for _, source in sample])
    decoded = list(_decoded([track for track, _ in sample], CutSpec(_COMPARED_HZ, 30.0), runtime, lambda: False))
    same = [is_same(one, before.get(one.track.track_id), n_segments=False) for one in decoded]
    return (first.root, (old, first.root)) if same and all(same) else (old, None)


def hand_on(heirs: Sequence[Heir], known: Mapping[str, dict[str, Any]], journal: Journal, output: Output) -> None:
    """Commit the heirs' rows; those of a file that is no longer at its old place leave the tables."""
    if not heirs:
        return
    tracks = [heir.decoded.track for heir in heirs]
    replaces = journal.replaced_by(tracks)
    for heir in heirs:
        if not exists(known[heir.track_id]["path"]):
            replaces.setdefault(heir.part, set()).add(heir.track_id)
    output.store.add(part_name(tracks, output.fingerprint), inherited(output.store, heirs), replaces=replaces)


_SPOOL_BYTES = 4 << 20
_NO_WAVE = np.empty(0, np.float32)


class Duplicates:
    """The tracks of one run that were set aside, on disk beyond some size. A context manager: leaving it frees them."""

    def __init__(self, output: Output):
        self._output = output
        self._spool = tempfile.SpooledTemporaryFile(_SPOOL_BYTES, dir=output.home.spool)  # noqa: SIM115 (closed by __exit__)
        self.n_aside: int = 0

    def __enter__(self) -> Duplicates:
        return self

    def __exit__(self, *error: object) -> None:
        self._spool.close()

    def add(self, aside: Aside) -> None:
        """One more track that was set aside."""
        line = [aside.first, astuple(aside.track), outcome_head(aside.decoded)]
        self._spool.write(json.dumps(line).encode() + b"\n")
        self.n_aside += 1

    def settle(self, journal: Journal, recognised: Callable[[Decoded], None]) -> WorkList:
        """Give the tracks set aside the rows of their audio, and tell ``recognised`` of each.

        ``journal`` knows what the run has committed. Tracks that only began alike are the work that comes back.
        """
        rest = empty_work(self._output.home.spool)
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
