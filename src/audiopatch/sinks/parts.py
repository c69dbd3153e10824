"""The parts of an output folder: ``<table>/part-*.<suffix>``, added, rewritten and merged all at once or not at all."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from audiopatch.sinks.schema import TABLES
from audiopatch.sinks.tables import Tables
from audiopatch.sinks.transaction import Transaction, pending, transaction


class Sink(Protocol):
    """A file format for tables."""

    suffix: Any

    def write(self, table: pa.Table, path: Path) -> None: ...
    def read(self, path: Path, columns: Sequence[str] | None = None) -> pa.Table: ...


@dataclass(frozen=True)
class PartStore:
    """All parts of one output folder in one format. The tables of a part share its name and are committed together."""

    folder: Path
    sink: Sink

    def names(self) -> list[str]:
        """Every part, sorted, whichever tables it has."""
        return sorted({name for table in TABLES for name in self.paths(table)})

    def paths(self, table: str) -> dict[str, Path]:
        """Part name -> file of one table, as the last committed change left it (even one still being applied).

        A listing is no snapshot: a change applied meanwhile may show in half of it, so two in a row must agree.
        """
        before, now = None, self._listed(table)
        while now != before:
            before, now = now, self._listed(table)
        return now

    def _listed(self, table: str) -> dict[str, Path]:
        present = {path.name: path for path in (self.folder / table).glob(f"part-*.{self.sink.suffix}")}
        renames, deletes = pending(self.folder)
        for final, staged in renames.items():
            if final.startswith(f"{table}/part-"):
                present[Path(final).name] = self.folder / staged
        kept = {name: path for name, path in present.items() if f"{table}/{name}" not in deletes}
        return {name.removesuffix(f".{self.sink.suffix}"): kept[name] for name in sorted(kept)}

    def read(self, table: str, columns: Sequence[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """(part name, rows) of one table, part by part."""
        for name, path in self.paths(table).items():
            yield name, self.sink.read(path, columns)

    def add(self, name: str, tables: Tables, *, replaces: Mapping[str, Collection[str]] | None = None) -> None:
        """Commit a new part; ``replaces`` names, per older part, the ``track_id`` whose rows leave it."""
        with transaction(self.folder) as change:
            for part, track_ids in (replaces or {}).items():
                self.rewrite(change, part, frozenset(track_ids))
            taken = set()
            for table in TABLES:  # tracks last: who sees a track sees its tags
                if table in tables:
                    self.sink.write(tables[table], change.stage(self._final(table, name)))
                    taken.add(self._final(table, name))
            change.deletes[:] = [path for path in change.deletes if path not in taken]

    def sizes(self) -> dict[str, int]:
        """Part -> bytes of all its tables, the oldest part first."""
        sizes: dict[str, int] = {}
        written: dict[str, int] = {}
        for table in TABLES:
            for part, path in self.paths(table).items():
                about = path.stat()
                sizes[part] = sizes.get(part, 0) + about.st_size
                written[part] = max(written.get(part, 0), about.st_mtime_ns)
        return {part: sizes[part] for part in sorted(sizes, key=lambda part: (written[part], part))}

    def write_labels(self, table: pa.Table) -> None:
        """The label list beside the part folders."""
        with transaction(self.folder) as change:
            self.sink.write(table, change.stage(f"labels.{self.sink.suffix}"))

    def compact(self, name: str, parts: Sequence[str]) -> None:
        """Merge ``parts`` into one; a reader sees the old ones or the new one."""
        with transaction(self.folder) as change:
            for table in TABLES:
                merged = [(part, path) for part, path in self.paths(table).items() if part in parts]
                if not merged:
                    continue
                rows = joined([self.sink.read(path) for _, path in merged])
                self.sink.write(rows, change.stage(self._final(table, name)))
                for part, _ in merged:
                    if part != name:
                        change.delete(self._final(table, part))

    def rewrite(self, change: Transaction, part: str, track_ids: Collection[str]) -> None:
        """Stage ``part`` without some tracks; a table left empty is deleted. Call it under the lock."""
        for table in TABLES:
            path = self.folder / self._final(table, part)
            if not path.exists():
                continue
            rows = self.sink.read(path)
            kept = rows.filter(pa.array([track_id not in track_ids for track_id in rows["track_id"].to_pylist()]))
            if len(kept) == 0:
                change.delete(self._final(table, part))
            elif len(kept) < len(rows):
                self.sink.write(kept, change.stage(self._final(table, part)))

    def track_ids(self, part: str) -> set[str]:
        """The tracks that have rows in a part."""
        files = [self.folder / self._final(table, part) for table in ("tracks", "errors")]
        tables = [self.sink.read(file, ("track_id",)) for file in files if file.exists()]
        return {track_id for table in tables for track_id in table["track_id"].to_pylist()}

    def _final(self, table: str, part: str) -> str:
        return f"{table}/{part}.{self.sink.suffix}"


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Parts of one table as one, with the file metadata of the first; equal words share one dictionary."""
    rows = pa.concat_tables(tables, promote_options="default").unify_dictionaries()
    return rows.replace_schema_metadata(tables[0].schema.metadata)
