"""The tables of an output folder as pandas frames."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from audiopatch.errors import EnvironmentProblem, UsageError
from audiopatch.tables import FORMATS
from audiopatch.tables.folder import Folder
from audiopatch.tables.output import RUN_FILE, folder_at, read_run
from audiopatch.tables.parts import PartStore, joined

if TYPE_CHECKING:
    import pandas as pd

_ATTEMPTS = 20


@dataclass(frozen=True)
class Tables:
    """``tracks``, ``tags``, ``embeddings``, ``segments``, ``errors``, ``labels`` (read when first asked for), ``run``.

    A table that the run did not write is an empty frame.
    """

    folder: Folder
    run: dict[str, Any] = field(repr=False)
    keep: Any = field(default=None, repr=False, compare=False)  # a temporary folder that lives as long as this does

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

    def _frame(self, table: str) -> pd.DataFrame:
        parts = self._parts(table)
        frame = (joined(parts) if parts else pa.table({})).to_pandas()
        keys = [key for key in ("path", "track_id", "rank", "segment") if key in frame]
        return frame.sort_values(keys, ignore_index=True) if keys else frame

    def _parts(self, table: str) -> list[pa.Table]:
        """All parts as they are at one instant: when one is merged away while we read, begin again."""
        for _ in range(_ATTEMPTS):
            try:
                return [rows for _, rows in self._store.read(table)]
            except FileNotFoundError:
                continue
        raise EnvironmentProblem(f"the parts of {table} in {self.folder} change faster than they can be read")


def read(place: str | os.PathLike[str] = "audiopatch.out", *, keep: Any = None) -> Tables:
    """The tables in an output folder; ``read("audiopatch.out").tags`` is a pandas frame."""
    folder = folder_at(place)
    run = read_run(folder)
    if run is None:
        raise UsageError(f"{folder} is no output of audiopatch: it has no {RUN_FILE}")
    return Tables(folder, run, keep)
