"""One JSON object per line, for people with jq and for pipes."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TextIO

import pyarrow as pa

from audiopatch.tables.schema import Layout
from audiopatch.tables.tables import tables_of
from audiopatch.types import Failed, TrackRow

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
    for table, own in (("tags", ("rank", "label", "score", "score_max")), ("segments", ())):
        for row in tables[table].to_pylist() if table in tables else ():
            kept = {key: row[key] for key in own or row if key in row and key != "track_id"}
            lines[row["track_id"]].setdefault(table, []).append(kept)
    for row in tables["embeddings"].to_pylist() if "embeddings" in tables else ():
        lines[row["track_id"]].update(row)
    for row in tables["errors"].to_pylist() if "errors" in tables else ():
        error = {key: row[key] for key in ("code", "stage", "message")}
        lines.setdefault(row["track_id"], {"track_id": row["track_id"], "path": row["path"], "status": "failed"})
        lines[row["track_id"]]["error"] = error
    yield from lines.values()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return float(value)  # numpy float16
