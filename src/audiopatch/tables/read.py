"""The tables of an output folder as pandas frames."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from audiopatch.errors import EnvironmentProblem
from audiopatch.tables import FORMATS
from audiopatch.tables.folder import Folder
from audiopatch.tables.output import folder_at, require_run
from audiopatch.tables.parts import PartStore, joined
from audiopatch.tables.schema import ERRORS, TAGS, TRACKS

if TYPE_CHECKING:
    import pandas as pd

_ATTEMPTS = 20
_ALWAYS = {"tracks": TRACKS, "tags": TAGS, "errors": ERRORS}  # whose columns are the same in every run


@dataclass(frozen=True)
class Tables:
    """``tracks``, ``tags``, ``embeddings``, ``segments``, ``errors``, ``labels`` (read when first asked for), ``run``.

    A table that the run did not write is an empty frame.
    """

    folder: Folder
    run: dict[str, Any] = field(repr=False)
    keep: Any = field(default=None, repr=False, compare=False)  # a temporary folder that lives as long as this does

    def __repr__(self) -> str:
        count = lambda table: f"{self.arrow(table, ['track_id']).num_rows:,} {table}"  # noqa: E731
        model = self.run["parameters"]["model"]
        return f"<Tables {self.folder}: {count('tracks')}, {count('tags')}, {count('errors')}; by {model}>"

    @cached_property
    def tracks(self) -> pd.DataFrame:
        """One row per readable file."""
        return self._frame("tracks")

    @cached_property
    def tags(self) -> pd.DataFrame:
        """One row per (track, label), the best label of a track first."""
        return self._frame("tags")

    @cached_property
    def embeddings(self) -> pd.DataFrame:
        """One row per track; ``embedding`` holds arrays."""
        return self._frame("embeddings")

    @cached_property
    def segments(self) -> pd.DataFrame:
        """One row per segment, where a timeline was asked for."""
        return self._frame("segments")

    @cached_property
    def errors(self) -> pd.DataFrame:
        """One row per failed or damaged file."""
        return self._frame("errors")

    @cached_property
    def labels(self) -> pd.DataFrame:
        """label_id, label, parent, leaf."""
        file = self.folder.find(f"labels.{self._store.sink.suffix}")
        return (self._store.load(file) if file is not None else pa.table({})).to_pandas()

    @property
    def _store(self) -> PartStore:
        return PartStore(self.folder, FORMATS.load(self.run["parameters"]["format"])())

    def vectors(self, column: str, *, table: str = "embeddings") -> Iterator[tuple[list[str], np.ndarray]]:
        """The ``embedding`` or ``scores`` of every track (or row of ``segments``), part by part, as stored.

        Each part gives track ids (N,) and vectors (N, D).
        """
        for rows in self._parts(table, ("track_id", column)) if self._has(column, table) else ():
            if len(rows):
                flat = rows[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
                yield rows["track_id"].to_pylist(), flat.reshape(len(rows), -1)

    def arrow(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A table, or some of its columns, as Arrow has it; without columns where nobody knows them yet."""
        parts = self._parts(table, columns)
        if parts:
            return joined(parts)
        empty = _ALWAYS[table].empty_table() if table in _ALWAYS else pa.table({})
        return empty if columns is None else empty.select([name for name in columns if name in empty.column_names])

    def rows_of(self, table: str, track_ids: Collection[str], columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The rows of some tracks, in the order of the whole table."""
        import pyarrow.compute as pc

        wanted = pa.array(list(track_ids), pa.string())
        parts = self._parts(table, columns)
        found = [rows.filter(pc.is_in(rows["track_id"].cast(pa.string()), wanted)) for rows in parts]
        return _sorted(joined(found)) if found else pa.table({}).to_pandas()

    def _has(self, column: str, table: str) -> bool:
        wanted = self.run["parameters"]
        if table == "segments" and not wanted.get("timeline"):
            return False
        return bool(wanted.get("embedding") if column == "embedding" else wanted.get("dense"))

    def _frame(self, table: str) -> pd.DataFrame:
        return _sorted(self.arrow(table))

    def _parts(self, table: str, columns: Sequence[str] | None = None) -> list[pa.Table]:
        """All parts as they are at one instant: when one is merged away while we read, begin again."""
        for _ in range(_ATTEMPTS):
            try:
                return [rows for _, rows in self._store.read(table, columns)]
            except FileNotFoundError:
                continue
        raise EnvironmentProblem(f"the parts of {table} in {self.folder} change faster than they can be read")


def _sorted(rows: pa.Table) -> pd.DataFrame:
    """By path, and within a track by what numbers its rows."""
    frame = rows.to_pandas()
    keys = [key for key in ("path", "track_id", "rank", "segment") if key in frame]
    return frame.sort_values(keys, ignore_index=True) if keys else frame


def read(place: str | os.PathLike[str] = "audiopatch.out", *, keep: Any = None) -> Tables:
    """The tables in an output folder; ``read("audiopatch.out").tags`` is a pandas frame."""
    folder = folder_at(place)
    return Tables(folder, require_run(folder), keep)
