"""What a walk passes over, and rows of files that are no longer there, told apart from files on a disk that is away."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from audiopatch.audio.inputs import Inputs
from audiopatch.audio.names import Area
from audiopatch.events import Counts, Doing, Note, Observer, PassedOver
from audiopatch.storage.place import is_remote
from audiopatch.storage.store import exists
from audiopatch.tables.inherit import places
from audiopatch.tables.output import Output
from audiopatch.tables.parts import PartStore
from audiopatch.types import Track

_TELL_EVERY = 1000
_MOUNTS = Path("/proc/self/mounts")


class Seen:
    """Remembers which tracks a walk came by, in 8 bytes each."""

    def __init__(self) -> None:
        self._ids = array("Q")

    def watch(self, tracks: Iterable[Track], observer: Observer) -> Iterator[Track]:
        """The same tracks; the observer is told of many."""
        for track in tracks:
            self._ids.append(int(track.track_id, 16))
            if len(self._ids) % _TELL_EVERY == 0:
                observer(Doing("looking for music", len(self._ids)))
            yield track

    def __contains__(self, track_id: str) -> bool:
        key = np.uint64(int(track_id, 16))
        at = int(np.searchsorted(self._sorted, key))
        return at < len(self._sorted) and self._sorted[at] == key

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def _sorted(self) -> np.ndarray:
        if not hasattr(self, "_once"):
            self._once = np.sort(np.frombuffer(self._ids, np.uint64))
        return self._once


@dataclass
class Passed:
    """Counts what a walk passes over for its name, and tells the observer."""

    observer: Observer
    n: int = 0

    def __call__(self, path: str) -> None:
        self.n += 1
        self.observer(PassedOver(path))


def skipped(observer: Observer) -> Callable[[str, OSError], None]:
    """Tells the observer of folders that cannot be read."""
    return lambda path, error: observer(Note(f"skipped {path}: {error.strerror}"))


@dataclass(frozen=True)
class Disks:
    """What tells a folder that was emptied from the place where a disk was; kept in ``run.json``.

    ``mounts`` are folders where other disks begin or began; ``tops`` are the inputs' folders and which folder each
    was (device and number) when it last held something.
    """

    mounts: tuple[str, ...] = ()
    tops: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @classmethod
    def now(cls, folders: Sequence[str], before: Mapping[str, Any] | None = None) -> Disks:
        """Those that are here, with those an earlier run knew."""
        known = before or {"mounts": (), "tops": {}}
        tops = dict(known["tops"])
        for top in folders:
            if not is_remote(top) and any(Path(top).iterdir()):
                found = Path(top).stat()
                tops[top] = (found.st_dev, found.st_ino)
        return cls(tuple(sorted({*known["mounts"], *_mounts(folders)})), tops)

    def away(self, folder: Path) -> bool:
        """Whether an empty folder is one that a disk left behind."""
        found = folder.stat()
        return str(folder) in self.tops and tuple(self.tops[str(folder)]) != (found.st_dev, found.st_ino)

    def is_gone(self, path: str) -> bool:
        """Whether a file was deleted, and not only a disk taken away: that leaves an empty folder where it was, or a
        link that leads nowhere."""
        if exists(path):
            return False
        if is_remote(path):
            return True
        if any(Area([mount]).holds(path) and not Path(mount).is_mount() for mount in self.mounts):
            return False
        folder = Path(path).parent
        while not folder.is_dir():
            if folder.is_symlink() or folder == folder.parent or str(folder) in self.tops:
                return False
            folder = folder.parent
        try:
            with os.scandir(folder) as entries:
                return next(entries, None) is not None or not self.away(folder)
        except OSError:  # one that may not be read does not show whether it is empty
            return False


def find_missing(
    store: PartStore, folders: Sequence[str], disks: Disks, *, seen: Seen | None = None
) -> dict[str, set[str]]:
    """Part -> ids of its rows that are of files below ``folders``, not ``seen``, and gone."""
    area = Area(folders)
    missing: dict[str, set[str]] = {}
    for part, track_id, path in places(store):
        if area.holds(path) and (seen is None or track_id not in seen) and disks.is_gone(path):
            missing.setdefault(part, set()).add(track_id)
    return missing


def settle_missing(
    output: Output, inputs: Inputs, before: Mapping[str, Any] | None, seen: Seen, counts: Counts, *, prune: bool
) -> None:
    """Count the rows of files that are no longer in the inputs' folders, or remove them if so told.

    ``before`` is what an earlier run noted of the disks.
    """
    store = PartStore(output.folder, output.store.sink)
    missing = find_missing(store, inputs.folders, Disks.now(inputs.folders, before), seen=seen)
    n_missing = len(set().union(*missing.values()))
    if prune and missing:
        store.remove(missing)
        counts.n_removed += n_missing
    else:
        counts.n_missing += n_missing


def _mounts(folders: Sequence[str]) -> set[str]:
    """Where other disks begin, among the folders, above them and below."""
    above = {str(folder) for top in folders for folder in (Path(top), *Path(top).parents) if folder.is_mount()}
    area = Area(folders)
    return (above | {mount for mount in _system_mounts() if area.holds(mount)}) - {"/"}


def _system_mounts() -> Iterator[str]:
    """What the system lists, where it does (Linux); octal escapes stand for blanks in names."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        name = line.split(" ")[1].encode(errors="surrogateescape")
        yield os.fsdecode(name.decode("unicode_escape").encode("latin-1")) if b"\\" in name else os.fsdecode(name)
