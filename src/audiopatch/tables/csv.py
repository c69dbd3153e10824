"""Comma-separated tables for spreadsheets."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import pyarrow as pa

csv.field_size_limit(2**31 - 1)  # by default 131 072 characters: fewer than the stacks of three blocks of MAEST take


@dataclass(frozen=True)
class CsvSink:
    """UTF-8 with a header line; vectors and lists as JSON arrays, bytes as base64, nothing for null."""

    suffix: ClassVar[str] = "csv"

    def write(self, table: pa.Table, path: Path) -> None:
        """One line per row, quoted where needed."""
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(table.column_names)
            writer.writerows([_cell(value) for value in row.values()] for row in table.to_pylist())

    def read(self, file: BinaryIO, columns: Sequence[str] | None = None) -> pa.Table:
        """Back as a table of text; the columns in ``_NUMBERS`` as numbers and lists."""
        with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
            rows = list(csv.DictReader(text))
        names = columns or list(rows[0] if rows else {})
        return pa.table({name: _column(name, [row[name] for row in rows]) for name in names})


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return json.dumps([item if isinstance(item, str) else float(item) for item in value])
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


_NUMBERS = {
    **dict.fromkeys(
        ("size_bytes", "mtime_ns", "sample_rate", "channels", "n_segments", "rank", "segment", "label_id"), int
    ),
    **dict.fromkeys(
        ("duration_s", "coverage", "score", "score_max", "score_sd", "start_s", "end_s", "position_s"), float
    ),
    **dict.fromkeys(("embedding", "scores", "decoders_tried"), json.loads),
}


def _column(name: str, cells: list[str]) -> list[Any]:
    parse = _NUMBERS.get(name, str)
    return [None if cell == "" else parse(cell) for cell in cells]
