"""The tracks of an output folder as points on a sphere, and which of them are nearest."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from audiopatch.catalog import nearest
from audiopatch.errors import UsageError
from audiopatch.tables.read import Tables

_BLOCK = 1 << 16  # points: what a product holds at a time stays a few MB


def nearest_first(similarity: np.ndarray, n: int) -> np.ndarray:
    """similarity (N,) -> rows of the ``n`` highest, the highest first; equal ones in their order."""
    n = min(n, len(similarity))
    if n == 0:
        return np.empty(0, np.int64)
    least = np.partition(similarity, len(similarity) - n)[len(similarity) - n]
    rows = np.flatnonzero(similarity >= least)
    return rows[np.argsort(-similarity[rows], kind="stable")][:n]


def close_pairs(
    points: np.ndarray, lengths: np.ndarray, *, least: float, slack: float, slack_share: float
) -> Iterator[tuple[int, int]]:
    """Pairs of rows whose cosine is at least ``least`` and whose ``lengths`` (N,) hardly differ.

    Lengths may differ by ``slack`` or by ``slack_share`` of the longer one. Sorted by length, the partners of a track
    follow it: a block is compared with its own window, never all with all.
    """
    order = np.argsort(lengths, kind="stable")
    sorted_lengths, sorted_points = lengths[order], points[order]
    reach = np.maximum(sorted_lengths + slack, sorted_lengths / (1 - slack_share))
    end = np.searchsorted(sorted_lengths, reach, side="right")
    start = 0
    while start < len(order):
        stop = min(start + 1024, len(order))
        window = slice(start, int(end[stop - 1]))
        for first in range(window.start, window.stop, _BLOCK):
            last = min(first + _BLOCK, window.stop)
            close = sorted_points[start:stop] @ sorted_points[first:last].T >= least
            for row, column in zip(*np.nonzero(close), strict=True):
                a, b = start + int(row), first + int(column)
                if a < b < end[a]:
                    yield int(order[a]), int(order[b])
        start = stop


_LEAST = 1e-4  # a score, and its distance from 1: float16 does not tell smaller ones apart
_POWER = 0.5  # of the standard deviation: 0 only centres, 1 whitens; docs/guides/playlists.md has the figures
_SHRUNK = 0.5  # of the mean variance, added to each: few tracks do not tell the small ones
_N_AXES = 256  # at most, those along which tracks vary most


@dataclass(frozen=True)
class Space:
    """Around the mean of a library, half whitened, and as points of length 1.

    What all tracks have in common does not count, and no direction drowns the others. ``mean`` is (D,), ``matrix``
    (D, K); ``of_scores`` tells that the vectors are scores in 0..1, whose logits are compared.
    """

    mean: np.ndarray
    matrix: np.ndarray
    of_scores: bool = False

    @classmethod
    def fit(cls, sample: np.ndarray, *, of_scores: bool = False) -> Space:
        """The space of a library of which ``sample`` (N, D) is a part."""
        values = _linear(sample, of_scores).astype(np.float64)
        mean = values.mean(axis=0)
        variance, axes = np.linalg.eigh((values - mean).T @ (values - mean) / len(values))
        variance, axes = variance[::-1][:_N_AXES], axes[:, ::-1][:, :_N_AXES]
        spread = variance + _SHRUNK * max(variance.mean(), 1e-12)
        return cls(mean.astype(np.float32), (axes / spread ** (_POWER / 2)).astype(np.float32), of_scores)

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """raw (N, D) -> points (N, K) float32; a track that is the mean itself stays at 0, alike to nothing."""
        points = (_linear(raw, self.of_scores) - self.mean) @ self.matrix
        length = np.linalg.norm(points, axis=1, keepdims=True)
        return points / np.where(length > 0, length, 1)


def _linear(raw: np.ndarray, of_scores: bool) -> np.ndarray:
    """float32; scores as their logits."""
    values = raw.astype(np.float32)
    if not of_scores:
        return values
    values = values.clip(_LEAST, 1 - _LEAST)
    return np.log(values / (1 - values))


_SAMPLE = 20_000  # tracks that decide the space; more of them say the same
_COLUMNS = ("track_id", "path", "path_bytes", "duration_s", "size_bytes", "sample_rate", "channels")
_WORDS = ("root", "audio_hash", "codec", "status", "artist", "album", "title", "genre")  # "" where not known


@dataclass(frozen=True)
class Vectors:
    """``tracks``: a frame with a row per point; ``points`` (N, K) float32 of length 1; ``space`` makes more of them.

    ``kind`` says what the points are made of: "embedding", or "scores" where the run wrote no embeddings.
    """

    tables: Tables
    tracks: pd.DataFrame
    points: np.ndarray
    space: Space
    kind: str

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def paths(self) -> list[str]:
        """Each track's path as the system wants it."""
        columns = self.tracks["path"], self.tracks["path_bytes"]
        return [os.fsdecode(data) if isinstance(data, bytes) else text for text, data in zip(*columns, strict=True)]

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {path: row for row, path in enumerate(self.paths)}

    def row(self, name: str | os.PathLike[str]) -> int | None:
        """Where a track is: by its path, or by the end of a path if only one has it; None for one that is not here.

        An ending that several tracks share is a UsageError.
        """
        given = os.fspath(name)
        found = self._row_of.get(given, self._row_of.get(os.path.abspath(given)))  # noqa: PTH100 (names as they are)
        if found is not None or Path(given).exists():
            return found
        ending = given.removeprefix("." + os.sep)
        ends = [row for row, path in enumerate(self.paths) if path.endswith(ending)]
        if len(ends) > 1:
            raise UsageError(f"'{given}' may be {self.paths[ends[0]]} or {self.paths[ends[1]]}; name more of its path")
        return ends[0] if ends else None

    def rows(self, track_ids: Iterable[str]) -> np.ndarray:
        """(M,) where tracks are, in the order given; those without a vector are left out."""
        row_of = {track_id: row for row, track_id in enumerate(self.tracks["track_id"])}
        return np.array([row_of[track_id] for track_id in track_ids if track_id in row_of], np.int64)

    def unknown(self, name: str) -> str:
        """What to say of a name that is neither in the tables nor a file."""
        names = {Path(path).name: path for path in self.paths}
        cure = nearest(Path(name).name, names, otherwise="name a file, or the end of a path in the tables")
        return f"there is no file '{name}', and {self.tables.folder} has no such track; {cure}"


def with_vectors(tables: Tables) -> str:
    """The command that makes these tables again, with vectors."""
    paths = (tables.run.get("inputs") or {}).get("paths")
    return f"audiopatch tag {shlex.join(paths) if paths else '~/Music'} --embeddings -o {tables.folder} --force"


def read_vectors(tables: Tables, *, required: bool = True) -> Vectors:
    """The points of all tracks that have a vector; where there are none, a UsageError that says how to get them.

    If they are not ``required``, tracks without vectors are points of no dimensions, alike to nothing.
    """
    for kind in ("embedding", "scores"):
        if blocks := list(tables.vectors(kind)):  # as they are stored: float16, if nobody asked for more
            break
    else:
        if required:
            raise UsageError(
                f"{tables.folder} has no vectors to compare tracks by; write them in the same pass as the tags: "
                f"{with_vectors(tables)}"
            )
        nowhere = Space(np.empty(0, np.float32), np.empty((0, 0), np.float32))
        return Vectors(tables, _tracks(tables), np.empty((len(tables.tracks), 0), np.float32), nowhere, "")
    ids = [track_id for some, _ in blocks for track_id in some]
    step = -(-len(ids) // _SAMPLE)
    space = Space.fit(np.concatenate([block[::step] for _, block in blocks]), of_scores=kind == "scores")
    points = np.concatenate([space(block) for _, block in blocks])
    tracks = _tracks(tables)
    row_of = pd.Series(range(len(ids)), index=ids)
    tracks = tracks[tracks["track_id"].isin(row_of.index)].reset_index(drop=True)
    return Vectors(tables, tracks, points[row_of[tracks["track_id"]].to_numpy()], space, kind)


def _tracks(tables: Tables) -> pd.DataFrame:
    """What is known of each track, by path; a run that has not finished one yet is a UsageError."""
    if not len(tables.tracks):
        raise UsageError(f"{tables.folder} holds no track yet")
    tracks = tables.tracks.reindex(columns=[*_COLUMNS, *_WORDS])
    return tracks.fillna(dict.fromkeys(_WORDS, "") | {"duration_s": 0.0})
