"""Keep the tables of folders current: a run over all of them, then one over every change, the model loaded once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from audiopatch.audio.inputs import Inputs
from audiopatch.audio.names import Area, is_hidden
from audiopatch.events import Counts, Current, Note, Observer, RunResult, silent
from audiopatch.inference.missing import Disks, skipped
from audiopatch.inference.pipeline import FolderRun, open_run, started
from audiopatch.inference.recognise import find_root
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.storage.store import exists
from audiopatch.tables.inherit import places
from audiopatch.tables.journal import Journal
from audiopatch.types import Track

_TICK_MS = 1000
_TOGETHER_MS = 400  # changes that come closer than this are reported as one
_STEP_MS = 100


@dataclass(frozen=True)
class Changes:
    """Absolute paths of what is new, was written to, moved or deleted; some of those ``deleted`` may be back again."""

    paths: frozenset[str]
    deleted: frozenset[str]


def follow(folders: Sequence[str], stop: threading.Event, *, leave_out: Sequence[str] = ()) -> Iterator[Changes]:
    """What changed in the folders since the last answer, once a second, also when it is nothing; until ``stop``.

    Names hidden by convention and what is below ``leave_out`` do not count. OSError where the system cannot watch so
    many folders. A system tells what is done on it: not what other machines do to a network disk.
    """
    from watchfiles import Change, watch

    tops = [os.path.abspath(folder) for folder in folders]  # noqa: PTH100
    apart = tuple(os.path.join(os.path.abspath(folder), "") for folder in leave_out)  # noqa: PTH100, PTH118

    def counts(change: Change, path: str) -> bool:
        top = next((top for top in tops if path.startswith(os.path.join(top, ""))), None)  # noqa: PTH118
        if top is None or path.startswith(apart):
            return False
        return not any(map(is_hidden, path[len(top) :].split(os.sep)))  # noqa: PTH206

    for found in watch(
        *(top for top in tops if Path(top).is_dir()),
        watch_filter=counts,
        debounce=_TOGETHER_MS,
        step=_STEP_MS,
        rust_timeout=_TICK_MS,
        yield_on_timeout=True,
        stop_event=stop,
        raise_interrupt=False,
        ignore_permission_denied=True,
    ):
        deleted = frozenset(path for change, path in found if change is Change.deleted)
        yield Changes(frozenset(path for _, path in found), deleted)


_QUIET_S = 2.0  # a file that has not changed for so long is taken for finished
_TICK_S = 1.0
_GRACE_S = 5.0  # until rows of a deleted file leave: its new place must have been looked at before
# A look at everything finds what a system does not tell (network disks, lost events). It comes every minute, or more
# rarely where looking takes long: at most a fiftieth of the time goes into it.
_LOOK_EVERY_S, _SHARE_OF_LOOKING = 60.0, 50


def watch_folders(
    inputs: Inputs,
    folder: str | os.PathLike[str],
    analysis: Analysis,
    runtime: Runtime,
    *,
    file_format: str = "parquet",
    observer: Observer = silent,
    stop: threading.Event,
) -> RunResult:
    """``run_to_folder``, and then again for whatever is new, changed, moved or deleted, until ``stop`` is set.

    The counts that come back are those of all these runs together.
    """
    inputs.check_watchable(force=runtime.force)
    tops = [os.path.abspath(path) for path in inputs.paths]  # noqa: PTH100 (paths stay strings, as in walk)
    known_root, moved = find_root(inputs, folder, runtime)
    root = known_root or os.path.commonpath(tops)
    with (
        started(analysis, runtime, observer, stop, root=root) as run,
        open_run(run, inputs, folder, file_format, moved=moved) as work,
    ):
        watch = _Watch(work, inputs, tops, observer, os.fspath(folder), disks=Disks(**work.record.values["disks"]))
        while not stop.is_set():
            watch.until_the_next_look()
        if file_format == "csv":
            work.output.write_csv()
        return RunResult(watch.total, folder, watch.interrupted)


@dataclass
class _Watch:
    """What is known between two looks. Paths are absolute, as the walk gives them."""

    work: FolderRun
    inputs: Inputs
    tops: list[str]
    observer: Observer
    output: str
    total: Counts = field(default_factory=Counts)
    interrupted: bool = False
    settling: Settling = field(default_factory=lambda: Settling(_QUIET_S))
    disks: Disks = field(default_factory=Disks)
    begun: bool = False  # whether the first look is over, which takes every file as it is
    deleted: dict[str, float] = field(default_factory=dict)  # what the system said is gone, and when its rows may go
    looking_s: float = 0.0  # what the last look at everything took that found nothing to do

    def until_the_next_look(self) -> None:
        """Look at everything, then follow what changes; following begins first, so that nothing falls between."""
        due = None
        for changes in self._changes():
            if due is None:
                n_found = self.look(None)
                if not n_found and not self.settling.paths:
                    self._let_go([top for top in self.tops if Path(top).is_dir()])  # a disk may take its folder along
                due = time.monotonic() + max(_LOOK_EVERY_S, _SHARE_OF_LOOKING * self.looking_s)
                if n_found:  # that took a while: look again before anything is said to be missing
                    return
            self.take(changes)
            if time.monotonic() >= due:
                return

    def _changes(self) -> Iterator[Changes]:
        stop = self.work.run.stop
        try:
            yield from follow(self.tops, stop, leave_out=(self.output,))
        except OSError as error:
            if not self.begun:
                self.observer(Note(f"the system does not tell of changes here ({error}): looking for them instead"))
        while not stop.wait(_TICK_S):
            yield Changes(frozenset(), frozenset())

    def take(self, changes: Changes) -> None:
        """Look at what changed and at what was unfinished; then let go of what is gone for good."""
        gone = [path for path, due in self.deleted.items() if time.monotonic() >= due]
        for path in changes.deleted - set(self.tops):
            self.deleted.setdefault(path, time.monotonic() + _GRACE_S)
        if area := changes.paths | self.settling.paths:
            self.look(Area(area))
        if gone and not self.settling.paths:  # one of these may be where it was moved to
            self._let_go(gone)
            for path in gone:
                del self.deleted[path]

    def look(self, area: Area | None) -> int:
        """Bring the tables up to date with a part of the folders, or with all of them; how many tracks it was about."""
        began, work = time.monotonic(), self.work
        present = replace(self.inputs, paths=[path for path in self.inputs.paths if Path(path).is_dir()])
        tracks = present.within(area, root=work.run.root, report=skipped(self.observer))
        counts = work.run.counts = Counts()
        self.interrupted = work.update(self.settling.look(tracks, work.journal) if self.begun else tracks)
        if counts.n_found or not self.begun:
            self._tell(counts)
        elif area is None:
            self.looking_s = time.monotonic() - began
        self.begun = True
        return counts.n_found

    def _let_go(self, paths: Sequence[str]) -> None:
        """Remove the rows of files that are missing among the paths and what was below them."""
        area, said, store = Area(paths), Area(self.deleted), self.work.output.store
        gone: dict[str, set[str]] = {}
        for part, track_id, path in places(store):
            if area.holds(path) and ((said.holds(path) and not exists(path)) or self.disks.is_gone(path)):
                gone.setdefault(part, set()).add(track_id)
        if gone:
            store.remove(gone)
            self._tell(Counts(), n_removed=len(set().union(*gone.values())))

    def _tell(self, counts: Counts, *, n_removed: int = 0) -> None:
        """After every change of the tables."""
        self.work.journal = Journal.of(self.work.output.store)
        self.total = self.total.plus(counts)
        n_tracks = self.work.journal.n_ok
        if not self.interrupted:
            self.observer(Current(counts, n_tracks, n_removed=n_removed, is_first=not self.begun))


_MOST_HELD = 100_000  # of more files than this the rest waits for its turn


class Settling:
    """Lets a file through once its size and time have stayed the same for ``quiet_s``."""

    def __init__(self, quiet_s: float):
        self._quiet_s = quiet_s
        self._held: dict[str, tuple[int, int, float]] = {}  # path -> size, time, and since when they are so

    @property
    def paths(self) -> frozenset[str]:
        """The files held back: the next look must hold them all."""
        return frozenset(self._held)

    def look(self, tracks: Iterable[Track], journal: Journal) -> Iterator[Track]:
        """Of the tracks there are now, those to do that are quiet. What a look does not see is forgotten."""
        before, self._held = self._held, {}
        now = time.monotonic()
        for track in tracks:
            known = journal.find(track)
            if known is not None and known.unchanged:
                continue
            size, mtime, since = before.get(track.path, (None, None, now))
            if (size, mtime) != (track.size_bytes, track.mtime_ns):
                since = now
            if now - since >= self._quiet_s:
                yield track
            elif len(self._held) < _MOST_HELD:
                self._held[track.path] = track.size_bytes, track.mtime_ns, since
