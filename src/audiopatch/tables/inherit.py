"""Rows handed on: a file that was moved or retagged takes over what is known of its audio."""

from __future__ import annotations

import base64
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from audiopatch.tables.parts import PartStore, joined
from audiopatch.tables.schema import TABLES
from audiopatch.tables.tables import TablesByName, own_names, place
from audiopatch.types import Decoded


@dataclass(frozen=True)
class Heir:
    """The file as it is now, and the part and id under which the rows of the same audio are."""

    decoded: Decoded
    part: str
    track_id: str


def rows_of(store: PartStore, track_ids: dict[str, set[str]]) -> dict[str, dict[str, Any]]:
    """Part -> ids in it; what ``tracks`` says of each id that is still there, by id, ``path`` as it is on the disk."""
    columns = ("track_id", "path", "path_bytes", "audio_hash", "n_segments", "status")
    parts = store.parts("tracks")
    found = (row for part in track_ids.keys() & parts.keys() for row in store.load(parts[part], columns).to_pylist())
    wanted = set().union(*track_ids.values())
    return {row["track_id"]: row | {"path": _on_disk(row)} for row in found if row["track_id"] in wanted}


def places(store: PartStore) -> Iterator[tuple[str, str, str]]:
    """(part, id, path) of every row of ``tracks`` and ``errors``, part by part; damaged tracks have one in both."""
    for table in ("tracks", "errors"):
        for part, rows in store.read(table, ("track_id", "path", "path_bytes")):
            for row in rows.to_pylist():
                yield part, row["track_id"], os.fsdecode(_on_disk(row))


def _on_disk(row: dict[str, Any]) -> bytes | str:
    raw = row["path_bytes"]
    return base64.b64decode(raw) if isinstance(raw, str) else raw or row["path"]


def rebase(store: PartStore, old: str, new: str) -> None:
    """Every row of the library at ``old`` says that it is at ``new``, all at once. Call it under the lock."""
    with store.folder.change() as change:
        for table in TABLES:
            for part, file in store.parts(table).items():
                rows = store.load(file)
                if "path" not in rows.column_names:
                    continue
                for name in {"path", "path_bytes", "root"} & set(rows.column_names):
                    field = rows.schema.field(name)
                    values = [_rebased(value, old, new) for value in rows[name].to_pylist()]
                    rows = rows.set_column(rows.column_names.index(name), field, pa.array(values, field.type))
                store.sink.write(rows, change.stage(store.file_name(table, part)))


def _rebased(value: Any, old: str, new: str) -> Any:
    """A path with another beginning, if it has the old one; of names that are not UTF-8 the text is taken elsewhere."""
    if isinstance(value, bytes):
        before, after = os.fsencode(old), os.fsencode(new)
        return after + value[len(before) :] if value.startswith(before + b"/") else value
    if value is None or not (value == old or value.startswith(old.rstrip("/") + "/")):
        return value
    return new.rstrip("/") + value[len(old.rstrip("/")) :]


def inherited(store: PartStore, heirs: Sequence[Heir]) -> TablesByName:
    """The tables of one part that holds the rows of all ``heirs``, each part they come from read once."""
    tables: TablesByName = {}
    for table in TABLES:
        parts = store.parts(table)
        pieces: list[pa.Table] = []
        for part in sorted({heir.part for heir in heirs} & parts.keys()):
            mine = [heir for heir in heirs if heir.part == part]
            rows = _only(store.load(parts[part]), {heir.track_id for heir in mine})
            pieces += [piece for heir in mine if len(piece := _handed_on(rows, heir))]
        if pieces:
            tables[table] = joined(pieces)
    return tables


def _only(rows: pa.Table, track_ids: Collection[str]) -> pa.Table:
    return rows.filter(pa.array([track_id in track_ids for track_id in rows["track_id"].to_pylist()], pa.bool_()))


def _handed_on(rows: pa.Table, heir: Heir) -> pa.Table:
    """The heir's share of the rows, under its name and with its own tags, the order of columns kept."""
    rows = _only(rows, {heir.track_id})
    for name, value in (place(heir.decoded.track) | own_names(heir.decoded)).items():
        if name in rows.column_names:
            kind = rows.schema.field(name).type
            if isinstance(value, bytes) and not pa.types.is_binary(kind):  # as JSON keeps them
                value = base64.b64encode(value).decode()
            if value is not None and pa.types.is_null(kind):  # a column of a text format that held nothing so far
                kind = pa.string()
            field = rows.schema.field(name).with_type(kind)
            rows = rows.set_column(rows.column_names.index(name), field, pa.array([value] * len(rows), kind))
    return rows
