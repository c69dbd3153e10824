"""An output folder over its life: opened, checked against its parameters, written, and replaced by ``--force``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from audiopatch.errors import OutputMismatchError, UsageError
from audiopatch.storage.place import is_remote, named
from audiopatch.tables import FORMATS
from audiopatch.tables.folder import Folder, FolderChange
from audiopatch.tables.formats import write_csv
from audiopatch.tables.journal import Journal, part_name
from audiopatch.tables.local import LocalFolder
from audiopatch.tables.parts import EMPTY, PartStore
from audiopatch.tables.remote import RemoteFolder
from audiopatch.tables.schema import STORED_NAMES, TABLES, Layout
from audiopatch.tables.tables import writable
from audiopatch.types import Failed, TrackRow

RUN_FILE = "run.json"
_ONCE = {"passes": 1}  # parameters that went, and the value that is what there is now
_BROKEN = "broken"  # where parts go that cannot be read
_NEXT = ".next"  # where --force builds the tables that will take the old ones' place


@dataclass(frozen=True)
class Output:
    """A locked and recovered output folder, ready for parts. ``parameters`` include format and weights."""

    folder: Folder
    parameters: Mapping[str, Any]
    force: bool = False
    notes: tuple[str, ...] = ()  # what opening it found worth a sentence

    @property
    def home(self) -> Folder:
        """Where this run writes: the folder itself, or the place beside the old tables that ``--force`` fills."""
        return self.folder.below(_NEXT) if self.force else self.folder

    @property
    def store(self) -> PartStore:
        return PartStore(self.home, FORMATS.load(self.parameters["format"])())

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.parameters)

    def save_run(self, values: Mapping[str, Any]) -> None:
        """``run.json``: the parameters, and whatever else is worth knowing."""
        record = {"parameters": dict(self.parameters), "fingerprint": self.fingerprint, **values}
        self.home.write_text(RUN_FILE, json.dumps(record, indent=2) + "\n")

    def ensure_tables(self, layout: Layout) -> None:
        """Let tables that have no row be there all the same, so that readers need not ask."""
        PartStore(self.folder, self.store.sink).ensure(layout.schemas())

    def write_csv(self) -> None:
        """``tags.csv`` of all tables there are now."""
        write_csv(self.folder, PartStore(self.folder, self.store.sink))

    def promote(self) -> str | None:
        """Let the recomputed tables take the place of the old ones, all at once.

        With equal parameters, old rows of tracks that were not among the inputs stay; with others they cannot share
        the tables, so the old files move to ``previous/`` and the sentence that says so is returned.
        """
        before = read_run(self.folder)
        old, new = self._old_store(before), self.store
        same = before is None or _is_same(before["parameters"], self.parameters)
        archive = f"previous/{(before or {}).get('run_id', 'unknown')}"
        fresh, n_lost = Journal.of(new), 0
        labels = f"labels.{new.sink.suffix}"
        with self.folder.change() as change:
            for part in old.names():
                track_ids = old.track_ids(part)
                left = {track_id for track_id in track_ids if track_id not in fresh}
                n_lost += 0 if same else len(left)
                if same and left:
                    old.rewrite(change, part, track_ids - left)
                else:
                    _retire(change, old, part, archive=archive if left else None)
            change.delete(f"labels.{old.sink.suffix}")
            for table in TABLES:
                if self.folder.find(empty := old.file_name(table, EMPTY)) is not None:
                    change.delete(empty)  # its columns may be others now
                for part, file in new.parts(table).items():
                    change.move(file, new.file_name(table, part))
            for name in (labels, RUN_FILE):
                if (file := self.home.find(name)) is not None:
                    change.move(file, name)
        self.home.clear()
        if not n_lost:
            return None
        return f"{n_lost} tracks of the earlier run were not among the inputs: see {self.folder.below(archive)}"

    def _old_store(self, before: Mapping[str, Any] | None) -> PartStore:
        suffix = before["parameters"]["format"] if before else self.parameters["format"]
        return PartStore(self.folder, FORMATS.load(suffix)())


def refuse_foreign(place: str | os.PathLike[str]) -> None:
    """An OutputMismatchError for a folder that holds other people's files and no tables: ours would lie among them."""
    folder = Path(place)
    if not is_remote(os.fspath(place)) and folder.exists() and not folder.is_dir():
        raise UsageError(f"{place} is a file; tables need a folder: name one with -o")
    if is_remote(os.fspath(place)) or not folder.is_dir() or (folder / RUN_FILE).exists():
        return
    ours = {*TABLES, RUN_FILE, "previous"}
    other = next(
        (
            name
            for name in sorted(entry.name for entry in folder.iterdir())
            if name not in ours and not name.startswith(".")
        ),
        None,
    )
    if other is not None and not other.startswith("labels."):
        raise OutputMismatchError(
            f"{folder} holds other files, such as {other}, and tables would lie among them; name a new or an empty "
            "folder with -o (without -o they go into ./audiopatch.out)"
        )


@contextmanager
def open_output(
    place: str | os.PathLike[str], parameters: Mapping[str, Any], *, force: bool = False
) -> Iterator[Output]:
    """Locks the folder at ``place``, finishes what a crash interrupted, and checks the parameters of what is in it.

    Other parameters are an OutputMismatchError that names them, unless ``force``; then the recomputed tables are
    built beside the old ones, which stay untouched until all of the new ones are there.
    """
    folder = folder_at(place)
    with folder.locked():
        output = Output(folder, parameters, force)
        if force:
            _prepare_next(output)
        else:
            _check_parameters(folder, parameters)
        notes = [folder.shortcoming(), *_set_aside(output.store)]
        yield replace(output, notes=tuple(note for note in notes if note))


def require_run(folder: Folder) -> dict[str, Any]:
    """``read_run``; a folder without tables is a UsageError."""
    run = read_run(folder)
    if run is None:
        raise UsageError(
            f"there are no tables in {folder} ({RUN_FILE} is missing); name the folder that a run wrote, "
            "or make tables: audiopatch tag ~/Music"
        )
    return run


def read_run(folder: Folder) -> dict[str, Any] | None:
    """``run.json``, or None where there is none; one of another program is an OutputMismatchError."""
    try:
        text = folder.read_text(RUN_FILE)
        run = None if text is None else json.loads(text)
    except (PermissionError, ValueError) as error:
        raise OutputMismatchError(f"{RUN_FILE} in {folder} is not readable; choose another folder with -o") from error
    if run is not None and not (isinstance(run, dict) and run.keys() >= {"parameters", "fingerprint"}):
        raise OutputMismatchError(f"{RUN_FILE} in {folder} is none of audiopatch; choose another folder with -o")
    if run is not None and (kind := run["parameters"].get("format")) not in FORMATS:
        raise OutputMismatchError(
            f"{folder} holds tables as {kind}, which an earlier version wrote and this one does not read; "
            "choose another folder with -o"
        )
    return run


def _check_parameters(folder: Folder, parameters: Mapping[str, Any]) -> None:
    before = read_run(folder)
    if before is None or _is_same(before["parameters"], parameters):
        return
    changed = "; ".join(differences(before["parameters"], parameters))
    raise OutputMismatchError(
        f"{folder} was written with other parameters: {changed}. "
        "Choose another folder with -o, or recompute everything with --force"
    )


def _is_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two records of parameters give the same numbers; an earlier version may have recorded more of them."""
    kept = {name: value for name, value in before.items() if _ONCE.get(name, ...) != value}
    return fingerprint(kept) == fingerprint(now)


def _set_aside(store: PartStore) -> list[str]:
    """Move parts that cannot be read out of the tables, with all their rows, so that their tracks are done again."""
    notes = []
    for part in store.broken():
        with store.folder.change() as change:
            for table in TABLES:
                name = store.file_name(table, part)
                if (file := store.folder.find(name)) is not None:
                    change.move(file, f"{_BROKEN}/{name}")
        place = store.folder.below(_BROKEN)
        notes.append(f"{part} cannot be read: it is in {place} now, and its tracks are done again")
    return notes


def _prepare_next(output: Output) -> None:
    """Keep an interrupted ``--force`` run of the same parameters, so that it resumes; else start afresh."""
    unfinished = read_run(output.home)
    if unfinished is not None and unfinished["fingerprint"] != output.fingerprint:
        output.home.clear()
    output.home.prepare()


def _retire(change: FolderChange, store: PartStore, part: str, *, archive: str | None) -> None:
    """Delete a part's files, or move them to ``archive``."""
    for table in TABLES:
        name = store.file_name(table, part)
        file = store.folder.find(name)
        if file is not None and archive is not None:
            change.move(file, f"{archive}/{name}")
        elif file is not None:
            change.delete(name)


METADATA_KEY = "audiopatch"


@dataclass(frozen=True)
class FolderDestination:
    """Commits rows as parts; rows that earlier parts hold of the same tracks leave them in the same instant."""

    output: Output
    journal: Journal
    layout: Layout
    metadata: Mapping[str, Any]

    def write(self, rows: Sequence[TrackRow | Failed]) -> None:
        tracks = [row.track for row in rows]
        metadata = {METADATA_KEY: json.dumps(dict(self.metadata), ensure_ascii=False)}
        tables = {name: table.replace_schema_metadata(metadata) for name, table in writable(rows, self.layout).items()}
        name = part_name(tracks, self.output.fingerprint)
        self.output.store.add(name, tables, replaces=self.journal.replaced_by(tracks))


def folder_at(place: str | os.PathLike[str]) -> Folder:
    """The folder at a path, or at an address such as ``s3://bucket/tags``."""
    name = named(os.fspath(place))
    if not name.strip():
        raise UsageError("the folder for the tables has no name; give one with -o, or leave -o out")
    return RemoteFolder(name) if is_remote(name) else LocalFolder(Path(name))


def fingerprint(parameters: Mapping[str, Any]) -> str:
    """16 hex digits that are equal exactly when the parameters are."""
    text = json.dumps(parameters, sort_keys=True, default=list)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """``top was 10, now 5`` for each parameter that changed."""
    asked = {stored: name for name, stored in STORED_NAMES.items()}
    return [
        f"{asked.get(name, name)} was {_said(name, before.get(name))}, now {_said(name, now.get(name))}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def _said(name: str, value: Any) -> str:
    if value is None:
        return "all" if name in ("top_k", "n_segments") else "none"
    return repr(value)


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
