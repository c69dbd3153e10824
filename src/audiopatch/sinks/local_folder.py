"""A folder of tables on a disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from audiopatch.sinks.folder import Stored
from audiopatch.sinks.lock import locked
from audiopatch.sinks.transaction import Transaction, disk_errors, pending, recover, transaction, write_durably


@dataclass(frozen=True)
class LocalFile:
    """A file by its path, which may be that of a staged one whose change has been committed but not applied."""

    path: Path

    def open(self) -> BinaryIO:
        return self.path.open("rb")

    def size_bytes(self) -> int:
        return self.path.stat().st_size

    def written(self) -> int:
        return self.path.stat().st_mtime_ns


@dataclass(frozen=True)
class LocalFolder:
    """``path`` and what is below it."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def spool(self) -> str:
        return str(self.path)

    def files(self, inside: str) -> dict[str, Stored]:
        """A listing is no snapshot: a change applied meanwhile may show in half of it, so two in a row must agree."""
        before, now = None, self._listed(inside)
        while now != before:
            before, now = now, self._listed(inside)
        return dict(now)

    def _listed(self, inside: str) -> dict[str, LocalFile]:
        place = self.path / inside
        present = {path.name: LocalFile(path) for path in (place.iterdir() if place.is_dir() else ())}
        renames, deletes = pending(self.path)
        for final, staged in renames.items():
            if Path(final).parent == Path(inside):
                present[Path(final).name] = LocalFile(self.path / staged)
        return {name: file for name, file in present.items() if f"{inside}/{name}" not in deletes}

    def find(self, name: str) -> LocalFile | None:
        file = LocalFile(self.path / name)
        return file if file.path.exists() else None

    def read_text(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write_text(self, name: str, text: str) -> None:
        with disk_errors(self.path):
            write_durably(self.path / name, text)

    @contextmanager
    def change(self) -> Iterator[Transaction]:
        with transaction(self.path) as change:
            yield change

    @contextmanager
    def locked(self) -> Iterator[None]:
        with locked(self.path):
            self.prepare()
            yield

    def below(self, name: str) -> LocalFolder:
        return LocalFolder(self.path / name)

    def prepare(self) -> None:
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            recover(self.path)

    def clear(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
