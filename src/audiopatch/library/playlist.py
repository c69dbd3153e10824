"""Choose tracks: like some and unlike others, on the way from one to another, or by a condition on their tags."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from audiopatch.errors import UsageError, first_line, missing_extra
from audiopatch.library.duplicates import is_duplicate
from audiopatch.library.similar import Seed, find_seeds
from audiopatch.library.vectors import Vectors, nearest_first, read_vectors
from audiopatch.tables.read import read

if TYPE_CHECKING:
    from audiopatch.tables.read import Tables


Name = str | os.PathLike[str]

N_TRACKS = 25  # where neither a length nor a number is asked for
_NOT = 0.5  # how much a disliked track counts against a liked one (Rocchio's formula has 0.75 to 0.25 over many)
_SPREAD = 0.05  # of the cosine: how far chance moves a track up or down where a seed is given


@dataclass(frozen=True)
class Entry:
    """One track of a playlist. ``path`` is as the system wants it; the names are as its file has them, or empty."""

    path: str
    duration_s: float
    artist: str
    title: str
    album: str


def playlist(
    tables: Name = "audiopatch.out",
    *,
    like: Sequence[Name] = (),
    unlike: Sequence[Name] = (),
    start: Name | None = None,
    end: Name | None = None,
    where: str | None = None,
    order: str | None = None,
    length_s: float | None = None,
    n_tracks: int | None = None,
    max_per_artist: int = 3,
    seed: int | None = None,
    model: str | None = None,
) -> list[Entry]:
    """Tracks of an output folder, at most ``n_tracks`` of them or as many as last ``length_s`` (else 25).

    ``like`` and ``unlike`` choose the nearest to some tracks and away from others; ``start`` and ``end`` choose a way
    from one track to another, both included; ``where`` and ``order`` are SQL as in ``filters.select`` and choose alone
    or limit what the others may choose from. Of near-identical recordings one is taken, of an artist
    ``max_per_artist`` (0: any number). Equal arguments give equal lists; each ``seed`` gives another one.
    Tracks that are not in the tables are analysed as in ``similar``.
    """
    _check(like, unlike, start, end, where, order)
    vectors = read_vectors(read(tables), required=bool(like or start))
    if where is None and order is None:
        chosen = np.arange(len(vectors))
    else:
        chosen = vectors.rows(select(vectors.tables, where=where, order=order))
    wanted = _Wanted(length_s, n_tracks, max_per_artist)
    if start is not None and end is not None:
        first, last = find_seeds(vectors, [start, end], model=model)
        return _way(vectors, first, last, chosen, wanted, _chance(len(vectors), seed))
    if like:
        seeds = find_seeds(vectors, [*like, *unlike], model=model)
        similarity = vectors.points[chosen] @ _middle(seeds[: len(like)], seeds[len(like) :])
        order_of = nearest_first(similarity + _chance(len(chosen), seed), len(chosen))
        named = {seed.row for seed in seeds}
        rows = [row for row in chosen[order_of] if row not in named]
    elif seed is not None and order is None:
        rows = np.random.default_rng(seed).permutation(chosen)
    else:
        rows = chosen
    return wanted.of(vectors, map(int, rows))


@dataclass
class _Wanted:
    """How much is wanted, and what may stand beside what."""

    length_s: float | None
    n_tracks: int | None
    max_per_artist: int

    def __post_init__(self):
        if self.length_s is not None and self.length_s <= 0:
            raise UsageError(f"a playlist of {self.length_s:g} s holds nothing; ask for some minutes, as in 90m")
        if self.n_tracks is not None and self.n_tracks < 1:
            raise UsageError(f"a playlist of {self.n_tracks} tracks holds nothing; ask for at least 1")
        if self.max_per_artist < 0:
            raise UsageError(f"{self.max_per_artist} tracks per artist cannot be; 0 means any number")

    def of(self, vectors: Vectors, rows: Iterable[int]) -> list[Entry]:
        """The first of ``rows`` that may stand together, until there are enough."""
        taken = _Taken(vectors, self.max_per_artist)
        for row in rows:
            if self._enough(taken):
                break
            if taken.allows(row):
                taken.add(row)
        return taken.entries()

    def _enough(self, taken: _Taken) -> bool:
        if self.n_tracks is None and self.length_s is None:
            return len(taken.rows) >= N_TRACKS
        full = self.n_tracks is not None and len(taken.rows) >= self.n_tracks
        return full or (self.length_s is not None and taken.length_s >= self.length_s)

    def n_expected(self, vectors: Vectors) -> int:
        """How many tracks of this library that will be, about."""
        typical = float(vectors.tracks["duration_s"].median()) if len(vectors) else 240.0
        by_length = N_TRACKS if self.length_s is None else max(1, round(self.length_s / typical))
        return by_length if self.n_tracks is None else min(self.n_tracks, by_length) if self.length_s else self.n_tracks


@dataclass
class _Taken:
    """What is in the playlist so far."""

    vectors: Vectors
    max_per_artist: int
    rows: list[int] = field(default_factory=list)
    length_s: float = 0.0
    per_artist: Counter[str] = field(default_factory=Counter)

    def allows(self, row: int) -> bool:
        """Not the recording of another track, and not too much of one artist (nobody in particular may be often)."""
        artist = self._artist(row)
        crowded = artist and self.max_per_artist and self.per_artist[artist] >= self.max_per_artist
        return not crowded and row not in self.rows and not is_duplicate(self.vectors, row, self.rows)

    def add(self, row: int) -> None:
        self.rows.append(row)
        self.length_s += float(self.vectors.tracks["duration_s"].iat[row])
        self.per_artist[self._artist(row)] += 1

    def entries(self) -> list[Entry]:
        return [entry(self.vectors, row) for row in self.rows]

    def _artist(self, row: int) -> str:
        return (self.vectors.tracks["artist"].iat[row] or "").casefold()


def entry(vectors: Vectors, row: int) -> Entry:
    """A track of the tables as a line of a playlist."""
    names = {name: vectors.tracks[name].iat[row] or "" for name in ("artist", "title", "album")}
    return Entry(vectors.paths[row], float(vectors.tracks["duration_s"].iat[row]), **names)


def _middle(liked: Sequence[Seed], unliked: Sequence[Seed]) -> np.ndarray:
    """(K,): the mean of what is liked, away from the mean of what is not."""
    middle = np.mean([seed.point for seed in liked], axis=0)
    return middle - _NOT * np.mean([seed.point for seed in unliked], axis=0) if unliked else middle


def _way(
    vectors: Vectors, first: Seed, last: Seed, chosen: np.ndarray, wanted: _Wanted, chance: np.ndarray
) -> list[Entry]:
    """From ``first`` to ``last``: at each step of the arc between them, the nearest track that is not taken yet."""
    n = wanted.n_expected(vectors)
    if n < 2:
        raise UsageError("a way needs at least 2 tracks, its two ends")
    taken = _Taken(vectors, wanted.max_per_artist)
    ends = [seed.row for seed in (first, last) if seed.row is not None]
    for row in ends:  # the last one is taken from the start, so that nothing on the way repeats it
        taken.add(row)
    between: list[int] = []
    for step in range(1, n - 1):
        similarity = vectors.points[chosen] @ _on_arc(first.point, last.point, step / (n - 1)) + chance[chosen]
        row = next((int(row) for row in chosen[nearest_first(similarity, len(chosen))] if taken.allows(int(row))), None)
        if row is None:
            break
        taken.add(row)
        between.append(row)
    return [_end(vectors, first), *(entry(vectors, row) for row in between), _end(vectors, last)]


def _end(vectors: Vectors, seed: Seed) -> Entry:
    """An end of the way, which need not be in the tables."""
    if seed.row is not None:
        return entry(vectors, seed.row)
    return Entry(seed.path, seed.duration_s, "", "", "")


def _on_arc(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """(K,) on the great circle from ``a`` to ``b`` (spherical interpolation, Shoemake 1985)."""
    angle = np.arccos(np.clip(a @ b, -1, 1))
    if angle < 1e-4:
        return a
    return (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)


def _chance(n: int, seed: int | None) -> np.ndarray:
    """(n,): what a seed adds to cosines; nothing without one."""
    return np.zeros(n, np.float32) if seed is None else np.random.default_rng(seed).normal(0, _SPREAD, n)


def _check(
    like: Sequence[Name], unlike: Sequence[Name], start: Name | None, end: Name | None, *filters: object
) -> None:
    """Refuse what says nothing, or two things."""
    if (start is None) != (end is None):
        raise UsageError("a way has two ends; give both --from and --to")
    if start is not None and (like or unlike):
        raise UsageError("choose by --like and --not, or a way by --from and --to")
    if unlike and not like:
        raise UsageError("--not says what to keep away from; say with --like what to look for")
    if not like and start is None and not any(filters):
        raise UsageError("nothing to choose by: --like TRACK, --from TRACK --to TRACK, or --where \"leaf = 'Jazz'\"")


_TAG_COLUMNS = ("track_id", "rank", "label", "parent", "leaf", "score", "score_max")
_BEST_FIRST = {"score", "score_max"}  # nobody wants the worst first, so these need no DESC


def select(tables: Tables, *, where: str | None = None, order: str | None = None) -> list[str]:
    """The ``track_id`` of tracks that ``where`` holds for, each once, in the ``order`` given (else by path).

    Both are SQL over one row per track and tag, as in ``leaf = 'Jazz' and score > 0.4 and duration_s < 600``; a track
    comes where its first row does. ``score`` and ``score_max`` alone as ``order`` mean the highest first.
    """
    try:
        import duckdb
    except ImportError as error:
        raise missing_extra("a filter", "duckdb") from error
    order = f"{order} desc" if order and order.strip().lower() in _BEST_FIRST else order or "path"
    tracks, tags = tables.arrow("tracks"), tables.arrow("tags", _TAG_COLUMNS)
    with duckdb.connect(
        ":memory:", config={"enable_external_access": False, "autoload_known_extensions": False}
    ) as sql:
        sql.register("tracks", tracks)
        source = "tracks"
        if tags.num_columns:
            sql.register("tags", tags)
            source = "tracks left join tags using (track_id)"
        try:
            rows = sql.sql(f"select track_id from {source} where ({where or 'true'}) order by {order}, path").fetchall()
        except duckdb.Error as error:
            names = ", ".join(dict.fromkeys([*tracks.column_names, *tags.column_names]))
            raise UsageError(f"DuckDB cannot read this filter: {first_line(error)}; columns are {names}") from error
    return list(dict.fromkeys(track_id for (track_id,) in rows))
