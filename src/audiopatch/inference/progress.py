"""What a run tells whoever watches it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

from audiopatch.types import Failed, TrackRow

_ETA_AFTER_S, _ETA_SHARE = 5.0, 0.01  # the first batches are no measure: threads and decoders only just start


@dataclass
class Counts:
    """How far a run is. Every input is in exactly one of ok, up to date, failed, left to do.

    ``n_left_out`` names of what may be music were passed over: hidden by convention, or of a kind that is not taken. Of
    the ok ones ``n_damaged`` are damaged, and ``n_repeats`` took the rows of another file with the same audio.
    ``n_missing`` rows are of files that are no longer there, ``n_removed`` were and have been removed.
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
    audio_s: float = 0.0
    todo_bytes: int = 0
    done_bytes: int = 0
    started: float = field(default_factory=time.monotonic, repr=False)
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
        names = [name.name for name in fields(self) if name.name != "started"]
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in names})

    def add(self, row: TrackRow | Failed) -> None:
        """One more track is finished."""
        self.done_bytes += row.track.size_bytes
        self.elapsed_s = time.monotonic() - self.started
        if isinstance(row, Failed):
            self.n_failed += 1
            return
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
class Current:
    """What brought watched tables up to date: a run's counts, or removals. ``n_tracks`` have rows now."""

    counts: Counts
    n_tracks: int
    n_removed: int = 0
    is_first: bool = False


class Observer(Protocol):
    """Watches a run; every method may be called from the run's main thread only."""

    def note(self, text: str) -> None:
        """A sentence worth a line: which device, what a patchout means, what was skipped."""

    def left_out(self, path: str) -> None:
        """A file or folder was passed over for its name."""

    def doing(self, what: str, n: int | None = None) -> None:
        """What takes time before the first track is finished, and how many it has come to."""

    def planned(self, counts: Counts) -> None:
        """The inputs are known; work begins."""

    def advanced(self, counts: Counts, row: TrackRow | Failed) -> None:
        """A track is finished."""

    def finished(self, counts: Counts) -> None:
        """The run is over, whichever way."""

    def current(self, current: Current) -> None:
        """Watched tables are up to date again; the run waits for changes."""


class Silent:
    """Watches and says nothing."""

    def note(self, text: str) -> None:
        pass

    def left_out(self, path: str) -> None:
        pass

    def doing(self, what: str, n: int | None = None) -> None:
        pass

    def planned(self, counts: Counts) -> None:
        pass

    def advanced(self, counts: Counts, row: TrackRow | Failed) -> None:
        pass

    def finished(self, counts: Counts) -> None:
        pass

    def current(self, current: Current) -> None:
        pass


class TqdmBar(Silent):
    """A bar for Python and notebooks."""

    def __init__(self) -> None:
        self._bar: Any = None

    def planned(self, counts: Counts) -> None:
        from tqdm.auto import tqdm

        self._bar = tqdm(total=counts.n_left, unit="track")

    def advanced(self, counts: Counts, row: TrackRow | Failed) -> None:
        self._bar.set_postfix_str(f"{counts.times_real_time:.0f}× real time", refresh=False)
        self._bar.update()

    def finished(self, counts: Counts) -> None:
        if self._bar is not None:
            self._bar.close()
