"""The tracks of a run that sound most like one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audiopatch.library.nearest import nearest_first
from audiopatch.library.seeds import Seed, find_seeds, tags_of
from audiopatch.library.vectors import Vectors, read_vectors
from audiopatch.tables.read import read

_N_SHARED = 3


@dataclass(frozen=True)
class Neighbour:
    """A track near the one asked for. ``distance`` is 1 - cosine: 0 for the same sound, about 1 for nothing in common.

    ``shared`` are the tags that both have, those first that both have most.
    """

    path: str
    distance: float
    shared: tuple[str, ...]
    artist: str | None
    title: str | None
    duration_s: float


@dataclass(frozen=True)
class Similar:
    """The nearest first; ``kind`` says what was compared, "embedding" or "scores"."""

    path: str
    kind: str
    neighbours: tuple[Neighbour, ...]


def similar(
    song: str | os.PathLike[str],
    tables: str | os.PathLike[str] = "audiopatch.out",
    *,
    n: int = 10,
    model: str | None = None,
) -> Similar:
    """The ``n`` tracks of an output folder that are nearest to ``song``, exactly.

    ``song`` is a track of the tables, or any audio file: that is analysed on the spot, as the tables were (``model``
    says where their model is, if it came from a file or folder). Without vectors in the tables, a UsageError says how
    to get them.
    """
    vectors = read_vectors(read(tables))
    (seed,) = find_seeds(vectors, [song], model=model)
    return Similar(seed.path, vectors.kind, tuple(neighbours(vectors, seed, n)))


def neighbours(vectors: Vectors, seed: Seed, n: int) -> list[Neighbour]:
    """The ``n`` nearest of one seed, the seed itself left out."""
    similarity = vectors.points @ seed.point
    if seed.row is not None:
        similarity[seed.row] = -2  # below any cosine
    rows = [int(row) for row in nearest_first(similarity, min(n, len(vectors) - (seed.row is not None)))]
    tags = tags_of(vectors, rows)
    about = vectors.tracks
    return [
        Neighbour(
            path=vectors.paths[row],
            distance=max(0.0, 1 - float(similarity[row])),
            shared=shared_tags(seed.tags, tags[row]),
            artist=about["artist"].iat[row] or None,
            title=about["title"].iat[row] or None,
            duration_s=float(about["duration_s"].iat[row]),
        )
        for row in rows
    ]


def shared_tags(a: Mapping[str, float], b: Mapping[str, float]) -> tuple[str, ...]:
    """Tags of both, at most three, by the lower of their two scores."""
    both: Sequence[str] = sorted(a.keys() & b.keys(), key=lambda tag: (-min(a[tag], b[tag]), tag))
    return tuple(both[:_N_SHARED])
