"""Rows of files that we retagged ourselves: the same audio under another size and time, so nothing is new to a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from audiopatch.tables import FORMATS
from audiopatch.tables.folder import Folder
from audiopatch.tables.output import read_run
from audiopatch.tables.parts import PartStore


class Stamp(NamedTuple):
    """A file as it is now; ``genre`` is None where it was not touched."""

    size_bytes: int
    mtime_ns: int
    genre: str | None = None


def restamp(folder: Folder, stamps: Mapping[str, Stamp]) -> int:
    """Give the rows of some tracks, by ``track_id``, the size, time and genre their files have; how many rows changed.

    All at once, or not at all. OutputMismatchError where a run holds the folder.
    """
    with folder.locked():
        run = read_run(folder)
        if run is None:
            return 0
        store, n_changed = PartStore(folder, FORMATS.load(run["parameters"]["format"])()), 0
        with folder.change() as change:
            for table in ("tracks", "errors"):
                for part, file in store.parts(table).items():
                    rows = store.load(file)
                    mine = [stamps.get(track_id) for track_id in rows["track_id"].to_pylist()]
                    if changed := sum(stamp is not None for stamp in mine):
                        store.sink.write(_stamped(rows, mine), change.stage(store.file_name(table, part)))
                        n_changed += changed
        return n_changed


def _stamped(rows: pa.Table, stamps: list[Stamp | None]) -> pa.Table:
    for name in Stamp._fields:
        if name in rows.column_names:
            place, kind = rows.column_names.index(name), rows.schema.field(name)
            new: list[Any] = rows[name].to_pylist()
            for at, stamp in enumerate(stamps):
                if stamp is not None and (value := getattr(stamp, name)) is not None:
                    new[at] = value
            if pa.types.is_null(kind.type):  # a column of a text format that held nothing so far
                kind = kind.with_type(pa.string())
            rows = rows.set_column(place, kind, pa.array(new, kind.type))
    return rows
