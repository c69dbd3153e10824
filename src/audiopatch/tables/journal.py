"""What is done, what failed, what is to do: read off the parts themselves, so there is nothing to get out of step."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from audiopatch.tables.parts import PartStore
from audiopatch.types import Track

_OK, _FAILED, _VANISHED, _UNREACHED, _DAMAGED = 0, 1, 2, 3, 4
# By error code; the others have failed. What a disk, a share or its rights kept from us may be there in a minute.
_STATES = {"E_VANISHED": _VANISHED, "E_NETWORK": _UNREACHED, "E_IO": _UNREACHED, "E_PERM": _UNREACHED}
_SPOOL_BYTES = 32 << 20  # plans of about 200 000 tracks stay in memory


class Known(NamedTuple):
    """What is known of a track: its part (an index), how it ended, and whether the file is the same since."""

    part: int
    failed: bool
    damaged: bool
    unchanged: bool


class KnownSource(NamedTuple):
    """Where rows of perhaps the same audio are."""

    part: str
    track_id: str


@dataclass(frozen=True)
class Journal:
    """The state of every track that the parts know, in 21 bytes per track.

    ids (T,) uint64 ascending; stamp (T,) uint64 of size and mtime; state (T,) uint8; part (T,) index into ``parts``.
    """

    parts: tuple[str, ...]
    ids: np.ndarray = field(repr=False)
    stamp: np.ndarray = field(repr=False)
    state: np.ndarray = field(repr=False)
    part: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, store: PartStore) -> Journal:
        """Reads three small columns of each part; a damaged track has a row in both tables and counts as done."""
        parts = tuple(store.names())
        number = {name: index for index, name in enumerate(parts)}
        columns: list[tuple[np.ndarray, ...]] = []
        for table, told in (("errors", "code"), ("tracks", "status")):  # the later one wins
            for name, rows in store.read(table, ("track_id", "size_bytes", "mtime_ns", told)):
                ids = np.array([int(track_id, 16) for track_id in rows["track_id"].to_pylist()], np.uint64)
                stamp = _stamps(_numbers(rows["size_bytes"]), _numbers(rows["mtime_ns"]))
                state = np.array([_state(word) for word in rows[told].to_pylist()], np.uint8)
                columns.append((ids, stamp, state, np.full(len(ids), number[name], np.int32)))
        if not columns:
            return cls.empty()
        ids, stamp, state, part = (np.concatenate(column) for column in zip(*columns, strict=True))
        # the last of equal ids: first of the reversed
        ids, first = np.unique(ids[::-1], return_index=True)
        last = len(stamp) - 1 - first
        return cls(parts, ids, stamp[last], state[last], part[last])

    @classmethod
    def empty(cls) -> Journal:
        """Nothing is known."""
        none = np.empty(0, np.uint64)
        return cls((), none, none, none.astype(np.uint8), none.astype(np.int32))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_ok(self) -> int:
        """Tracks that have rows and did not fail."""
        return int(np.isin(self.state, (_OK, _DAMAGED)).sum())

    def __contains__(self, track_id: str) -> bool:
        return self._place(track_id) is not None

    def find(self, track: Track) -> Known | None:
        """What is known of a track; None for a new one.

        A file that had vanished has changed by being back: a disk that was away for a while fails nothing for good.
        Nor does a network, a reading error, or a lack of rights, which no size or time tells of.
        """
        place = self._place(track.track_id)
        if place is None:
            return None
        is_back = self.state[place] == _VANISHED and (track.size_bytes or track.mtime_ns)
        is_back = is_back or self.state[place] == _UNREACHED
        same = self.stamp[place] == _stamp(track.size_bytes, track.mtime_ns) and not is_back
        state = int(self.state[place])
        return Known(int(self.part[place]), state not in (_OK, _DAMAGED), state == _DAMAGED, bool(same))

    def source_of(self, track: Track) -> KnownSource | None:
        """Rows that may be of the same audio: the track's own before it changed, or those of its size and time."""
        place = self._place(track.track_id)
        if place is None:
            key = np.uint64(_stamp(track.size_bytes, track.mtime_ns))
            at = int(np.searchsorted(self.stamp, key, sorter=self._by_stamp))
            place = int(self._by_stamp[at]) if at < len(self) else 0
            if not len(self) or self.stamp[place] != key:
                return None
        return self._source(place)

    def rows_under(self, track_id: str) -> KnownSource | None:
        """The rows of a track by its id; None where it has none or failed."""
        place = self._place(track_id)
        return None if place is None else self._source(place)

    def _source(self, place: int) -> KnownSource | None:
        return (
            None if self.state[place] != _OK else KnownSource(self.parts[self.part[place]], f"{self.ids[place]:016x}")
        )

    @cached_property
    def _by_stamp(self) -> np.ndarray:
        return np.argsort(self.stamp, kind="stable")

    def _place(self, track_id: str) -> int | None:
        key = np.uint64(int(track_id, 16))
        place = int(np.searchsorted(self.ids, key))
        return place if place < len(self.ids) and self.ids[place] == key else None

    def replaced_by(self, tracks: Iterable[Track]) -> dict[str, set[str]]:
        """Part -> ids of ``tracks`` that have rows there already."""
        replaced: dict[str, set[str]] = {}
        for track in tracks:
            if (known := self.find(track)) is not None:
                replaced.setdefault(self.parts[known.part], set()).add(track.track_id)
        return replaced


@dataclass
class WorkList:
    """The tracks to do, spooled to disk beyond some size, and how many there were of each other kind.

    A context manager: leaving it frees the spool.
    """

    spool: IO[bytes] = field(repr=False)
    n_todo: int = 0
    n_up_to_date: int = 0
    n_failed_before: int = 0
    todo_bytes: int = 0
    complete: bool = True  # False where planning was stopped before the last input

    @property
    def n_found(self) -> int:
        return self.n_todo + self.n_up_to_date + self.n_failed_before

    def __iter__(self) -> Iterator[Track]:
        self.spool.seek(0)
        for line in self.spool:
            yield Track(*json.loads(line))

    def __enter__(self) -> WorkList:
        return self

    def __exit__(self, *error: object) -> None:
        self.spool.close()

    def shards(self, n_tracks: int) -> Iterator[list[Track]]:
        """The tracks to do in fixed groups, the same at every iteration."""
        shard: list[Track] = []
        for track in self:
            shard.append(track)
            if len(shard) == n_tracks:
                yield shard
                shard = []
        if shard:
            yield shard

    def add(self, track: Track) -> None:
        """One more to do."""
        self.spool.write(json.dumps(astuple(track)).encode() + b"\n")
        self.n_todo += 1
        self.todo_bytes += track.size_bytes


def empty_work(folder: str | Path | None) -> WorkList:
    """Nothing to do yet; what will not fit into memory goes to ``folder``."""
    return WorkList(tempfile.SpooledTemporaryFile(_SPOOL_BYTES, dir=None if folder is None else str(folder)))


def list_work(
    tracks: Iterable[Track],
    journal: Journal,
    *,
    folder: str | Path | None,
    retry_failed: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> WorkList:
    """Sort the walk's tracks into to do, up to date, and failed before (and not to be tried again)."""
    work = empty_work(folder)
    for track in tracks:
        if stop():
            work.complete = False
            break
        known = journal.find(track)
        if known is None or not known.unchanged or (retry_failed and (known.failed or known.damaged)):
            work.add(track)
        elif known.failed:
            work.n_failed_before += 1
        else:
            work.n_up_to_date += 1
    return work


def part_name(tracks: Sequence[Track], fingerprint: str) -> str:
    """``part-<shard>-<parameters>``: the same tracks and parameters always give the same name."""
    shard = hashlib.blake2b(digest_size=8)
    for track in sorted(tracks, key=lambda track: track.track_id):
        shard.update(f"{track.track_id} {track.size_bytes} {track.mtime_ns}\n".encode())
    return f"part-{shard.hexdigest()}-{fingerprint[:8]}"


def _state(word: str) -> int:
    """Of an error code, or of the status of a track that has rows."""
    return {"ok": _OK, "damaged": _DAMAGED}.get(word, _STATES.get(word, _FAILED))


def _numbers(column: Any) -> np.ndarray:
    """An Arrow column of integers; ``np.asarray`` of one imports pandas, which takes longer than all the rest."""
    whole = column.combine_chunks()
    return np.from_dlpack(whole).astype(np.int64) if len(whole) else np.empty(0, np.int64)


def _stamps(size_bytes: np.ndarray, mtime_ns: np.ndarray) -> np.ndarray:
    """One number per (size, mtime); sizes take the high bits, times the low ones, mixed by an odd multiplier."""
    return size_bytes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ mtime_ns.astype(np.uint64)


def _stamp(size_bytes: int, mtime_ns: int) -> int:
    return (size_bytes * 0x9E3779B97F4A7C15 ^ mtime_ns % (1 << 64)) % (1 << 64)
