"""The formats of the tables: Parquet and JSON lines, part by part; CSV for spreadsheets, at the end."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from audiopatch.tables.folder import Folder
from audiopatch.tables.parts import PartStore
from audiopatch.tables.schema import LABELS, MEANINGS, Layout
from audiopatch.tables.tables import tables_of
from audiopatch.types import Failed, TrackRow


@dataclass(frozen=True)
class ParquetSink:
    """zstd level 1 (3 and 9 buy nothing), dictionaries for text only, row groups small enough to skip by."""

    suffix: ClassVar[str] = "parquet"

    def write(self, table: pa.Table, path: Path) -> None:
        """``table`` with its schema metadata."""
        text = [field.name for field in table.schema if not pa.types.is_fixed_size_list(field.type)]
        vectors = len(text) < table.num_columns
        with open(path, "wb") as file:  # pyarrow takes tags:1/... for an address, and refuses names that are not UTF-8
            pq.write_table(
                table,
                file,
                compression="zstd",
                compression_level=1,
                use_dictionary=text,  # type: ignore[arg-type]  # its stubs know only True and False
                row_group_size=1024 if vectors else 65536,
                write_statistics=True,
                store_schema=True,  # keeps the vectors' fixed size for polars, LanceDB, HF datasets
            )

    def check(self, file: BinaryIO) -> None:
        """By its footer."""
        pq.ParquetFile(file).close()

    def read(self, file: BinaryIO, columns: Sequence[str] | None = None) -> pa.Table:
        """The table as written, or some of its columns."""
        # Arrow's threads may let go of what they read only after Python has ended, which aborts the process; without
        # them it is as fast.
        with pq.ParquetFile(file, pre_buffer=False) as parquet:
            return parquet.read(columns=None if columns is None else list(columns), use_threads=False)


_CONTROLS = re.compile(r"[\x7f-\x9f]")


@dataclass(frozen=True)
class JsonlSink:
    """The tables' columns as keys; times as ISO 8601, bytes as base64. No file metadata: see ``run.json``."""

    suffix: ClassVar[str] = "jsonl"

    def write(self, table: pa.Table, path: Path) -> None:
        """One line per row."""
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(dumps(row) + "\n" for row in table.to_pylist())

    def check(self, file: BinaryIO) -> None:
        """By its first line, and the end of its last."""
        first = file.readline()
        json.loads(first)
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            raise ValueError("it breaks off")

    def read(self, file: BinaryIO, columns: Sequence[str] | None = None) -> pa.Table:
        """Back as a table, the types as JSON keeps them."""
        table = pa.Table.from_pylist([json.loads(line) for line in file])
        return table.select(list(columns)) if columns else table


_STREAM_TAG = ("rank", "label", "score", "score_max")
_STREAM_ERROR = ("code", "stage", "message")


@dataclass(frozen=True)
class JsonLines:
    """Each finished track as one line on a stream: ``audiopatch tag --format jsonl -o -``."""

    stream: TextIO
    layout: Layout

    def write(self, rows: Sequence[TrackRow | Failed]) -> None:
        """Flushed at once, so that a reader at the end of a pipe sees every track as it is finished."""
        tables = tables_of(rows, self.layout)
        for line in _nested(tables, self.layout):
            self.stream.write(dumps(line) + "\n")
        self.stream.flush()


def dumps(value: Any) -> str:
    """Compact JSON of a row; JSON itself would leave in some control characters that terminals obey."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)
    return _CONTROLS.sub(lambda char: f"\\u{ord(char[0]):04x}", text)


def _nested(tables: Mapping[str, pa.Table], layout: Layout) -> Iterator[dict[str, Any]]:
    """One object per track: its own columns, then ``tags``, ``embedding``, ``scores``, ``segments``, ``error``."""
    lines = {row["track_id"]: row for row in tables["tracks"].to_pylist()} if "tracks" in tables else {}
    if layout.labels:  # also of a track without a tag that reaches its least score
        for line in lines.values():
            line["tags"] = []
    for table, own in (("tags", _STREAM_TAG), ("segments", ())):
        for row in tables[table].to_pylist() if table in tables else ():
            kept = {key: row[key] for key in own or row if key in row and key != "track_id"}
            lines[row["track_id"]].setdefault(table, []).append(kept)
    for row in tables["embeddings"].to_pylist() if "embeddings" in tables else ():
        lines[row["track_id"]].update(row)
    for row in tables["errors"].to_pylist() if "errors" in tables else ():
        error = {key: row[key] for key in _STREAM_ERROR}
        lines.setdefault(row["track_id"], {"track_id": row["track_id"], "path": row["path"], "status": "failed"})
        lines[row["track_id"]]["error"] = error
    yield from lines.values()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return float(value)  # numpy float16


def row_schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schema of a line: of each table's files by its name, and of ``JsonLines`` as ``stream``."""
    tables = Layout(labels=("any",), dense=True, timeline=True, n_embedding=1).schemas() | {"labels": LABELS}
    made = {name: _row(columns, f"A row of the table `{name}`.") for name, columns in tables.items()}
    track, vectors = made["tracks"]["properties"], made["embeddings"]["properties"]
    error = _row((tables["errors"].field(name) for name in _STREAM_ERROR), "Why it failed, or what is damaged.")
    tags = _row((tables["tags"].field(name) for name in _STREAM_TAG), "A tag of the track.")
    segments = _row((column for column in tables["segments"] if column.name != "track_id"), "A segment of the track.")
    inner = {name: {"type": "array", "items": row} for name, row in (("tags", tags), ("segments", segments))}
    done = made["tracks"] | {
        "description": "A line of `tag --format jsonl -o -`: a track's row, and what was asked for of it.",
        "properties": track | vectors | inner | {"error": error},
    }
    place = {name: track[name] for name in ("track_id", "path")}
    failed = _object(
        place | {"status": {"const": "failed"}, "error": error}, "The same of a track that gave nothing usable."
    )
    return made | {"stream": {"anyOf": [done, failed]}}


def _row(columns: Iterable[pa.Field], about: str) -> dict[str, Any]:
    """Vectors are there where they were asked for, other columns always."""
    columns = list(columns)
    values = {column.name: {"description": MEANINGS[column.name], **_value(column)} for column in columns}
    optional = {column.name for column in columns if pa.types.is_fixed_size_list(column.type)}
    return _object(values, about, optional)


def _object(values: Mapping[str, Any], about: str, optional: Collection[str] = ()) -> dict[str, Any]:
    required = [name for name in values if name not in optional]
    return {"description": about, "type": "object", "properties": dict(values), "required": required}


def _value(column: pa.Field) -> dict[str, Any]:
    """As ``dumps`` writes it."""
    kind, types = column.type, pa.types
    if types.is_list(kind) or types.is_fixed_size_list(kind):
        made: dict[str, Any] = {"type": "array", "items": {"type": _scalar(kind.value_type)}}
    else:
        made = {"type": _scalar(kind)}
    return {"anyOf": [made, {"type": "null"}]} if column.nullable else made


def _scalar(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "integer"
    return "number" if pa.types.is_floating(kind) else "string"


CSV_FILE = "tags.csv"
_TRACK = ("path", "artist", "album", "title", "duration_s")
_TAG = ("rank", "label", "score")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets would compute


def write_csv(folder: Folder, store: PartStore) -> None:
    """A row per tag, beside what its file says of itself; a file without tags has one row, a failed one its error.

    UTF-8 with the mark at its start that Excel wants, text in quotes; what a spreadsheet would take for a formula has
    an apostrophe before it. Parts are read one by one, the rows of each sorted by path.
    """
    with (
        folder.change() as change,
        open(change.stage(CSV_FILE), "w", encoding="utf-8-sig", newline="") as file,
    ):
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow([*_TRACK, *_TAG, "error"])
        for part in store.names():
            writer.writerows([_cell(value) for value in row] for row in _rows(store, part))


def _rows(store: PartStore, part: str) -> Iterator[list[Any]]:
    tracks = sorted(_table(store, "tracks", part, ("track_id", *_TRACK)), key=lambda track: track["path"])
    tags: dict[str, list[dict[str, Any]]] = {}
    for tag in _table(store, "tags", part, ("track_id", *_TAG)):
        tags.setdefault(tag["track_id"], []).append(tag)
    errors = {row["track_id"]: row for row in _table(store, "errors", part, ("track_id", "path", "code", "message"))}
    for track in tracks:
        error = errors.pop(track["track_id"], None)
        said = f"{error['code']}: {error['message']}" if error else ""
        for tag in tags.get(track["track_id"], [{}]):
            yield [*(track[name] for name in _TRACK), *(tag.get(name) for name in _TAG), said]
    for error in errors.values():
        nothing = [None] * (len(_TRACK) + len(_TAG) - 1)
        yield [error["path"], *nothing, f"{error['code']}: {error['message']}"]


def _table(store: PartStore, table: str, part: str, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    file = store.folder.find(store.file_name(table, part))
    return [] if file is None else store.load(file, columns).to_pylist()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
