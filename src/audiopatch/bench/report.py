"""What a benchmark leaves behind: ``bench.parquet``, one row per case, and ``bench.json``, with the machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from audiopatch.bench.sweep import Row, Skipped
from audiopatch.bench.whole import WholeRun
from audiopatch.tables.parquet import ParquetSink


@dataclass(frozen=True)
class Report:
    """All figures of one run, and what they were measured on."""

    rows: Sequence[Row]
    skipped: Sequence[Skipped]
    whole_runs: Sequence[WholeRun]
    machine: dict[str, Any]
    clock: str

    def to_json(self) -> dict[str, Any]:
        """As written to ``bench.json`` and printed by ``--json``."""
        return {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": self.machine,
            "clock": self.clock,
            "whole_runs": [asdict(run) for run in self.whole_runs],
            "skipped": [asdict(skipped) for skipped in self.skipped],
            "rows": [asdict(row) for row in self.rows],
        }

    def write(self, folder: Path) -> None:
        """Write both files, replacing earlier ones."""
        folder.mkdir(parents=True, exist_ok=True)
        values = self.to_json()
        (folder / "bench.json").write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        table = pa.Table.from_pylist(values.pop("rows"))
        ParquetSink().write(table.replace_schema_metadata({"audiopatch": json.dumps(values)}), folder / "bench.parquet")
