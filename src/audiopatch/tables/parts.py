"""The parts of a folder: ``<table>/part-*.<suffix>``, added, rewritten and merged all at once or not at all."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol

import pyarrow as pa

from audiopatch.errors import EnvironmentProblem
from audiopatch.tables.folder import Folder, FolderChange, Stored
from audiopatch.tables.schema import TABLES
from audiopatch.tables.tables import TablesByName

# What synchronisers leave beside a part (``part-x (conflicted copy).parquet``) has its ending, and another name.
EMPTY = "none"  # instead of a part's name, where a table has no row
_PART = re.compile(r"part-[0-9a-f]+(-[0-9a-f]{8})?")


class BrokenPart(EnvironmentProblem):
    """A part that cannot be read: empty, cut off, or not written by audiopatch."""


class Sink(Protocol):
    """A file format for tables."""

    suffix: ClassVar[str]

    def write(self, table: pa.Table, path: Path) -> None: ...
    def read(self, file: BinaryIO, columns: Sequence[str] | None = None) -> pa.Table: ...
    def check(self, file: BinaryIO) -> None:
        """ValueError or ArrowException for what was not written whole, as far as its ends tell."""
        ...


@dataclass(frozen=True)
class PartStore:
    """All parts of one output folder in one format. The tables of a part share its name and are committed together."""

    folder: Folder
    sink: Sink

    def names(self) -> list[str]:
        """Every part, sorted, whichever tables it has."""
        return sorted({name for table in TABLES for name in self.parts(table)})

    def parts(self, table: str) -> dict[str, Stored]:
        """Part name -> file of one table, as the last committed change left it."""
        files, ending = self.folder.files(table), f".{self.sink.suffix}"
        names = sorted(name.removesuffix(ending) for name in files if name.endswith(ending))
        return {name: files[f"{name}{ending}"] for name in names if _PART.fullmatch(name)}

    def read(self, table: str, columns: Sequence[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """(part name, rows) of one table, part by part."""
        for name, file in self.parts(table).items():
            yield name, self.load(file, columns)

    def load(self, file: Stored, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows in one file; ``BrokenPart`` where it holds none."""
        with file.open() as stream:
            try:
                return self.sink.read(stream, columns)
            except (ValueError, KeyError, pa.ArrowException) as error:
                reason = "it is empty" if not file.size_bytes() else str(error).splitlines()[0]
                raise BrokenPart(
                    f"{file} in {self.folder} is no table ({reason}); run the command that wrote it again, "
                    "which sets it aside and analyses its tracks anew"
                ) from error

    def broken(self) -> list[str]:
        """Parts of which some table was not written whole, or is something else."""
        return sorted({name for table in TABLES for name, file in self.parts(table).items() if self._is_broken(file)})

    def _is_broken(self, file: Stored) -> bool:
        try:
            with file.open() as stream:
                self.sink.check(stream)
        except (ValueError, pa.ArrowException):
            return True
        except FileNotFoundError:
            pass
        return False

    def add(self, name: str, tables: TablesByName, *, replaces: Mapping[str, Collection[str]] | None = None) -> None:
        """Commit a new part; ``replaces`` names, per older part, the ``track_id`` whose rows leave it."""
        with self.folder.change() as change:
            for part, track_ids in (replaces or {}).items():
                self.rewrite(change, part, frozenset(track_ids))
            for table in TABLES:  # tracks last: who sees a track sees its tags
                if table in tables:
                    self.sink.write(tables[table], change.stage(self.file_name(table, name)))

    def ensure(self, schemas: Mapping[str, pa.Schema]) -> None:
        """Let a table without parts have an empty file, which is none: readers of all files find the columns in it."""
        with self.folder.change() as change:
            for table, kind in schemas.items():
                name = self.file_name(table, EMPTY)
                is_there, needed = self.folder.find(name) is not None, not self.parts(table)
                if needed and not is_there:
                    self.sink.write(kind.empty_table(), change.stage(name))
                elif is_there and not needed:
                    change.delete(name)

    def remove(self, track_ids: Mapping[str, Collection[str]]) -> None:
        """Let rows leave the tables, all at once: part -> their ``track_id``."""
        with self.folder.change() as change:
            for part, gone in track_ids.items():
                self.rewrite(change, part, frozenset(gone))

    def sizes(self) -> dict[str, int]:
        """Part -> bytes of all its tables, the oldest part first."""
        sizes: dict[str, int] = {}
        written: dict[str, Any] = {}
        for table in TABLES:
            for part, file in self.parts(table).items():
                sizes[part] = sizes.get(part, 0) + file.size_bytes()
                written[part] = max(written.get(part, 0), file.written())
        return {part: sizes[part] for part in sorted(sizes, key=lambda part: (written[part], part))}

    def write_labels(self, table: pa.Table) -> None:
        """The label list beside the part folders."""
        with self.folder.change() as change:
            self.sink.write(table, change.stage(f"labels.{self.sink.suffix}"))

    def compact(self, name: str, parts: Sequence[str]) -> None:
        """Merge ``parts`` into one; a reader sees the old ones or the new one. Call it under the lock."""
        with self.folder.change() as change:
            for table in TABLES:
                # found one by one: to list a folder of a million parts for every merge would be quadratic
                found = {part: self.folder.find(self.file_name(table, part)) for part in sorted(parts)}
                merged = {part: file for part, file in found.items() if file is not None}
                if not merged:
                    continue
                rows = joined([self.load(file) for file in merged.values()])
                self.sink.write(rows, change.stage(self.file_name(table, name)))
                for part in merged:
                    change.delete(self.file_name(table, part))

    def rewrite(self, change: FolderChange, part: str, track_ids: Collection[str]) -> None:
        """Stage ``part`` without some tracks; a table left empty is deleted. Call it under the lock."""
        for table in TABLES:
            name = self.file_name(table, part)
            file = self.folder.find(name)
            if file is None:
                continue
            rows = self.load(file)
            kept = rows.filter(pa.array([track_id not in track_ids for track_id in rows["track_id"].to_pylist()]))
            if len(kept) == 0:
                change.delete(name)
            elif len(kept) < len(rows):
                self.sink.write(kept, change.stage(name))

    def track_ids(self, part: str) -> set[str]:
        """The tracks that have rows in a part."""
        files = [self.folder.find(self.file_name(table, part)) for table in ("tracks", "errors")]
        tables = [self.load(file, ("track_id",)) for file in files if file is not None]
        return {track_id for table in tables for track_id in table["track_id"].to_pylist()}

    def file_name(self, table: str, part: str) -> str:
        """Where a part's rows of a table are, relative to the folder."""
        return f"{table}/{part}.{self.sink.suffix}"


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Parts of one table as one, with the file metadata of the first; equal words share one dictionary."""
    rows = pa.concat_tables(tables, promote_options="default").unify_dictionaries()
    return rows.replace_schema_metadata(tables[0].schema.metadata)
