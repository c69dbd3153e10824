"""An output folder over its life: opened, checked against its parameters, written, and replaced by ``--force``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiopatch.errors import OutputMismatchError
from audiopatch.inference.journal import Journal
from audiopatch.inference.lock import locked
from audiopatch.inference.settings import differences, fingerprint
from audiopatch.sinks import SINKS
from audiopatch.sinks.parts import PartStore
from audiopatch.sinks.schema import TABLES
from audiopatch.sinks.transaction import Transaction, disk_errors, recover, transaction, write_durably

RUN_FILE = "run.json"
_NEXT = ".next"  # where --force builds the tables that will take the old ones' place


@dataclass(frozen=True)
class Output:
    """A locked and recovered output folder, ready for parts. ``parameters`` include format and weights."""

    folder: Path
    parameters: Mapping[str, Any]
    force: bool = False

    @property
    def home(self) -> Path:
        """Where this run writes: the folder itself, or the place beside the old tables that ``--force`` fills."""
        return self.folder / _NEXT if self.force else self.folder

    @property
    def store(self) -> PartStore:
        return PartStore(self.home, SINKS.load(self.parameters["format"])())

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.parameters)

    def save_run(self, values: Mapping[str, Any]) -> None:
        """``run.json``: the parameters, and whatever else is worth knowing."""
        record = {"parameters": dict(self.parameters), "fingerprint": self.fingerprint, **values}
        with disk_errors(self.folder):
            write_durably(self.home / RUN_FILE, json.dumps(record, indent=2) + "\n")

    def promote(self) -> str | None:
        """Let the recomputed tables take the place of the old ones, all at once.

        With equal parameters, old rows of tracks that were not among the inputs stay; with others they cannot share
        the tables, so the old files move to ``previous/`` and the sentence that says so is returned.
        """
        before = read_run(self.folder)
        old, new = self._old_store(before), self.store
        same = before is None or before["fingerprint"] == self.fingerprint
        archive = f"previous/{(before or {}).get('run_id', 'unknown')}"
        fresh, n_lost = Journal.of(new), 0
        arriving = {f"{table}/{path.name}" for table in TABLES for path in new.paths(table).values()}
        with transaction(self.folder) as change:
            for part in old.names():
                track_ids = old.track_ids(part)
                left = {track_id for track_id in track_ids if track_id not in fresh}
                n_lost += 0 if same else len(left)
                if same and left:
                    old.rewrite(change, part, track_ids - left)
                else:
                    _retire(change, old, part, archive=archive if left else None, spare=arriving)
            if old.sink.suffix != new.sink.suffix:
                change.delete(f"labels.{old.sink.suffix}")
            for name in [*arriving, *(path.name for path in self.home.glob("labels.*")), RUN_FILE]:
                change.move(f"{_NEXT}/{name}", name)
        shutil.rmtree(self.home, ignore_errors=True)
        if not n_lost:
            return None
        return f"{n_lost} tracks of the earlier run were not among the inputs: see {self.folder / archive}"

    def _old_store(self, before: Mapping[str, Any] | None) -> PartStore:
        suffix = before["parameters"]["format"] if before else self.parameters["format"]
        return PartStore(self.folder, SINKS.load(suffix)())


@contextmanager
def open_output(folder: Path, parameters: Mapping[str, Any], *, force: bool = False) -> Iterator[Output]:
    """Locks ``folder``, finishes what a crash interrupted, and checks the parameters of what is in it.

    Other parameters are an OutputMismatchError that names them, unless ``force``; then the recomputed tables are
    built beside the old ones, which stay untouched until all of the new ones are there.
    """
    with locked(folder):
        with disk_errors(folder):
            recover(folder)
        output = Output(folder, parameters, force)
        if force:
            _prepare_next(output)
        else:
            _check_parameters(folder, parameters)
        yield output


def read_run(folder: Path) -> dict[str, Any] | None:
    """``run.json``, or None where there is none."""
    try:
        return json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise OutputMismatchError(f"{folder / RUN_FILE} is not readable; choose another folder with -o") from error


def _check_parameters(folder: Path, parameters: Mapping[str, Any]) -> None:
    before = read_run(folder)
    if before is None or before["fingerprint"] == fingerprint(parameters):
        return
    changed = "; ".join(differences(before["parameters"], parameters))
    raise OutputMismatchError(
        f"{folder} was written with other parameters: {changed}. "
        "Choose another folder with -o, or recompute everything with --force"
    )


def _prepare_next(output: Output) -> None:
    """Keep an interrupted ``--force`` run of the same parameters, so that it resumes; else start afresh."""
    with disk_errors(output.folder):
        unfinished = read_run(output.home)
        if unfinished is not None and unfinished["fingerprint"] != output.fingerprint:
            shutil.rmtree(output.home)
        output.home.mkdir(parents=True, exist_ok=True)
        recover(output.home)


def _retire(change: Transaction, store: PartStore, part: str, *, archive: str | None, spare: Collection[str]) -> None:
    """Delete a part's files, or move them to ``archive``; those in ``spare`` are about to be overwritten."""
    for table in TABLES:
        path = f"{table}/{part}.{store.sink.suffix}"
        if archive is not None:
            change.move(path, f"{archive}/{path}")
        elif path not in spare:
            change.delete(path)
