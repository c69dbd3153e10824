"""Parquet files that pandas, polars, DuckDB, HF datasets and LanceDB read as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq


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
        with pq.ParquetFile(file) as parquet:
            return parquet.read(columns=None if columns is None else list(columns))
