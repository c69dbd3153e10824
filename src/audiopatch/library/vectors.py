"""The tracks of an output folder as points: read once from its tables, block by block."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from audiopatch.catalog import nearest
from audiopatch.errors import UsageError
from audiopatch.library.space import Space
from audiopatch.tables.read import Tables

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
                "audiopatch tag ~/Music --embeddings --force"
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
