"""What a run, a measurement or a training tells whoever watches it: one stream of events, each with its own type."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, TypedDict

from audiopatch.documents import document
from audiopatch.types import Failed, TrackRow

GPU_LANES = 2  # streams of a GPU that compute side by side
_BEGAN = ("started", "cpu_before_s")
_ETA_AFTER_S, _ETA_SHARE = 5.0, 0.01  # the first batches are no measure: threads and decoders only just start


@dataclass(frozen=True)
class Spent:
    """CPU seconds by stage, of all processes and threads together.

    ``other_s`` is what the main process did besides: handing segments over, pooling, looking for files; ``idle_s`` is
    what the run left of this machine's CPUs. Both are 0 where a cluster did the work. ``gpu_s`` are seconds for which a
    stream of a GPU had work, of all streams together; there front-end and network only launch it.
    """

    decode_s: float = 0.0
    frontend_s: float = 0.0
    network_s: float = 0.0
    write_s: float = 0.0
    other_s: float = 0.0
    idle_s: float = 0.0
    gpu_s: float = 0.0

    def __add__(self, more: Spent) -> Spent:
        return Spent(*(getattr(self, each.name) + getattr(more, each.name) for each in fields(self)))

    @property
    def shares(self) -> dict[str, float]:
        """Stage -> its part of all CPU seconds."""
        seconds = {name.removesuffix("_s"): value for name, value in asdict(self).items() if name != "gpu_s"}
        whole = sum(seconds.values())
        return {name: value / whole for name, value in seconds.items()} if whole else {}


NOTHING = Spent()


class Figures(TypedDict):
    """``Counts`` as ``run.json`` has them."""

    n_found: int
    n_up_to_date: int
    n_failed_before: int
    n_ok: int
    n_damaged: int
    n_repeats: int
    n_failed: int
    n_left_out: int
    n_inferences: int
    n_missing: int
    n_removed: int
    spent: Spent
    audio_s: float
    todo_bytes: int
    done_bytes: int
    elapsed_s: float


class CountsValues(Figures):
    """``Counts`` as programs read them, with what is left to do and the seconds that will take, null while unknown."""

    n_left: int
    eta_s: float | None


@dataclass
class Counts:
    """How far a run is. Every input is in exactly one of ok, up to date, failed, left to do.

    ``n_left_out`` names of what may be music were passed over: hidden by convention, or of a kind that is not taken. Of
    the ok ones ``n_damaged`` are damaged, and ``n_repeats`` took the rows of another file with the same audio.
    ``n_missing`` rows are of files that are no longer there, ``n_removed`` were and have been removed. ``spent`` says
    where the time went.
    """

    n_found: int = 0
    n_up_to_date: int = 0
    n_failed_before: int = 0
    n_ok: int = 0
    n_damaged: int = 0
    n_repeats: int = 0
    n_failed: int = 0
    n_left_out: int = 0
    n_inferences: int = 0
    n_missing: int = 0
    n_removed: int = 0
    spent: Spent = NOTHING
    audio_s: float = 0.0
    todo_bytes: int = 0
    done_bytes: int = 0
    started: float = field(default_factory=time.monotonic, repr=False)
    cpu_before_s: float = field(default_factory=time.process_time, repr=False)
    elapsed_s: float = 0.0

    @property
    def n_left(self) -> int:
        return self.n_found - self.n_up_to_date - self.n_failed_before - self.n_ok - self.n_failed

    @property
    def times_real_time(self) -> float:
        return self.audio_s / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def tracks_per_s(self) -> float:
        return (self.n_ok + self.n_failed) / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def eta_s(self) -> float | None:
        """Time left by bytes, which are known before anything is decoded; None until there is enough to go by."""
        if not self.done_bytes or self.elapsed_s < _ETA_AFTER_S or self.done_bytes < _ETA_SHARE * self.todo_bytes:
            return None
        return self.elapsed_s * (self.todo_bytes - self.done_bytes) / self.done_bytes

    def plus(self, other: Counts) -> Counts:
        """Those of two runs together, from the start of the first."""
        names = [name.name for name in fields(self) if name.name not in _BEGAN]
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in names})

    def figures(self) -> Figures:
        """As JSON values: all but where the clocks stood."""
        values: Any = {name: value for name, value in asdict(self).items() if name not in _BEGAN}
        return values

    def to_json(self) -> CountsValues:
        """All counts, with what is left, and the time that will take."""
        values: Any = {name: getattr(self, name) for name in CountsValues.__annotations__}
        return values

    def end(self, n_cpus: int | None) -> None:
        """The run is over; what ``n_cpus`` of this machine did besides its stages is known where it all was here."""
        self.elapsed_s = time.monotonic() - self.started
        if n_cpus is None:
            return
        spent, here_s = self.spent, time.process_time() - self.cpu_before_s
        other_s = max(0.0, here_s - spent.frontend_s - spent.network_s - spent.write_s)
        idle_s = max(0.0, n_cpus * self.elapsed_s - here_s - spent.decode_s)
        self.spent = replace(spent, other_s=other_s, idle_s=idle_s)

    def add(self, row: TrackRow | Failed) -> None:
        """One more track is finished."""
        self.done_bytes += row.track.size_bytes
        self.elapsed_s = time.monotonic() - self.started
        if isinstance(row, Failed):
            self.spent += Spent(decode_s=row.decode_s)
            self.n_failed += 1
            return
        self.spent += Spent(decode_s=row.decoded.decode_s)
        self.n_ok += 1
        self.n_damaged += row.decoded.damaged
        self.audio_s += row.decoded.duration_s


@dataclass(frozen=True)
class RunResult:
    """How a run ended; ``folder`` is None where the rows went to a stream."""

    counts: Counts
    folder: str | os.PathLike[str] | None
    interrupted: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """Something that happened; ``event`` is its name in JSON, where its fields are the keys."""

    event: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """As a program reads it: ``{"spec_version": 2, "event": "note", "text": ...}``."""
        return document({"event": self.event, **self.values()})

    def values(self) -> Mapping[str, Any]:
        """The fields as JSON knows them."""
        values = {name.name: getattr(self, name.name) for name in fields(self)}
        return {name: value.to_json() if isinstance(value, Counts) else value for name, value in values.items()}


@dataclass(frozen=True)
class Note(Event):
    """A sentence worth a line: which device, what a patchout means, what was skipped."""

    event: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True)
class PassedOver(Event):
    """A file or folder was passed over for its name."""

    event: ClassVar[str] = "passed_over"
    path: str


@dataclass(frozen=True)
class Doing(Event):
    """What takes time just now, how many it has come to, and of how many where that is known."""

    event: ClassVar[str] = "doing"
    what: str
    n: int | None = None
    of: int | None = None


@dataclass(frozen=True)
class Planned(Event):
    """The inputs are known; work begins."""

    event: ClassVar[str] = "planned"
    counts: Counts


class TrackValues(TypedDict):
    """A track that is finished: ``code`` and ``message`` say why it failed, ``duration_s`` how long it is if not."""

    path: str
    track_id: str
    status: Literal["ok", "damaged", "failed"]
    duration_s: float | None
    code: str | None
    message: str | None
    counts: CountsValues


@dataclass(frozen=True)
class TrackDone(Event):
    """A track is finished: analysed (``status`` ok or damaged) or failed."""

    event: ClassVar[str] = "track"
    row: TrackRow | Failed
    counts: Counts

    def values(self) -> TrackValues:
        """Path and id, how it went, and the counts; the row itself is in the tables."""
        failed = self.row if isinstance(self.row, Failed) else None
        decoded = None if isinstance(self.row, Failed) else self.row.decoded
        return TrackValues(
            path=self.row.track.path.encode(errors="surrogateescape").decode(errors="replace"),
            track_id=self.row.track.track_id,
            status="failed" if decoded is None else "damaged" if decoded.damaged else "ok",
            duration_s=decoded and decoded.duration_s,
            code=failed and failed.code,
            message=failed and failed.message,
            counts=self.counts.to_json(),
        )


@dataclass(frozen=True)
class Finished(Event):
    """The run is over, whichever way."""

    event: ClassVar[str] = "finished"
    counts: Counts


@dataclass(frozen=True)
class Current(Event):
    """Watched tables are up to date again, by a run's counts or by removals; the run waits for changes.

    ``n_tracks`` have rows now.
    """

    event: ClassVar[str] = "current"
    counts: Counts
    n_tracks: int
    n_removed: int = 0
    is_first: bool = False


@dataclass(frozen=True)
class Measured(Event):
    """A row of figures of a training run, as its ``metrics.jsonl`` has it; ``row["kind"]`` says of what."""

    event: ClassVar[str] = "measured"
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Ended(Event):
    """The last event of a command: how it ended, as ``--json`` prints it."""

    event: ClassVar[str] = "ended"
    summary: Mapping[str, Any]

    def values(self) -> Mapping[str, Any]:
        """The summary's own keys."""
        return self.summary


Observer = Callable[[Event], None]
"""Hears of every event, in order, in the thread that called the library. Its counts go on counting: copy to keep."""


def counted(observer: Observer, what: str) -> Callable[[int, int], None]:
    """What is called with how many are done, of how many; the observer hears of it as ``what``."""
    return lambda done, of: observer(Doing(what, done, of))


def silent(event: Event) -> None:
    """An observer that says nothing."""


class TqdmBar:
    """An observer with a bar for Python and notebooks."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, event: Event) -> None:
        """Show a track more."""
        if isinstance(event, Planned):
            from tqdm.auto import tqdm

            self._bar = tqdm(total=event.counts.n_left, unit="track")
        elif isinstance(event, TrackDone):
            self._bar.set_postfix_str(f"{event.counts.times_real_time:.0f}× real time", refresh=False)
            self._bar.update()
        elif isinstance(event, Finished) and self._bar is not None:
            self._bar.close()
