"""Numbers, durations and the last line of a run, as people read them."""

from __future__ import annotations

import shlex
import time

from audiopatch.inference.progress import Counts, Current


def number(value: int) -> str:
    """``21 874``."""
    return f"{value:,}".replace(",", " ")


def size(n_bytes: int) -> str:
    """``12 kB``, ``3.4 MB``, ``120 MB``."""
    if n_bytes < 1_000_000:
        return f"{-(-n_bytes // 1000)} kB"
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes < 10_000_000 else f"{number(round(n_bytes / 1e6))} MB"


def duration(seconds: float) -> str:
    """``2 h 11 m``, ``3 m 05 s``, ``4.2 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    return f"{number(minutes // 60)} h {minutes % 60:02d} m"


def audio(seconds: float) -> str:
    """How much audio: ``1 613 h``, ``42 min``, ``12 s``."""
    if seconds >= 36_000:
        return f"{number(round(seconds / 3600))} h"
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def current_line(current: Current) -> str:
    """What a watch has just done, and how many tracks the tables hold now."""
    one = current.n_tracks == 1
    n_tracks = f"{number(current.n_tracks)} {'track' if one else 'tracks'}"
    if current.is_first:
        return f"{n_tracks} {'is' if one else 'are'} current; watching for changes until Ctrl-C"
    counts = current.counts
    parts = [
        (counts.n_ok, "done"),
        (counts.n_up_to_date, "kept, moved or retagged"),
        (counts.n_failed, "failed"),
        (current.n_removed, "removed"),
    ]
    return f"{', '.join(f'{number(n)} {what}' for n, what in parts if n)}; {n_tracks}"


def watched_line(verb: str, counts: Counts, place: str) -> str:
    """The last line of a watch that nobody interrupted at work."""
    failed = counts.n_failed + counts.n_failed_before
    rest = f", {number(failed)} failed" if failed else ""
    elapsed = duration(time.monotonic() - counts.started)
    return f"Watched for {elapsed}: {verb.lower()} {number(counts.n_ok)} tracks{rest} → {place}/"


def last_line(verb: str, counts: Counts, place: str, *, interrupted: bool = False) -> str:
    """The most important line of a run: what was done, what was not, and where it is.

    ``23 tagged (1 copy, 2 damaged), 5 current, 2 failed; 1.4 h of audio in 2 m 05 s, 40× real time → audiopatch.out/``
    """
    of_them = [_counted(counts.n_repeats, "copy", "copies"), _counted(counts.n_damaged, "damaged", "damaged")]
    inside = ", ".join(filter(None, of_them))
    parts = [f"{number(counts.n_ok)} {verb.lower()}{f' ({inside})' if inside else ''}"] if counts.n_ok else []
    parts += [f"{number(counts.n_up_to_date)} current"] if counts.n_up_to_date else []
    parts += [f"{number(counts.n_failed)} failed"] if counts.n_failed else []
    parts += [f"{number(counts.n_failed_before)} failed earlier"] if counts.n_failed_before else []
    if counts.n_left_out:
        parts.append(f"{number(counts.n_left_out)} left out as hidden or no recording (-v lists them)")
    if interrupted:
        parts.append(f"{number(counts.n_left)} left: run the same command to resume")
    where = f"{place}/" if place else "stdout"
    done = ", ".join(parts)
    if not counts.n_ok and not counts.n_failed and not interrupted:
        return f"Nothing to do{': ' if done else ''}{done} → {where}"
    speed = f", {counts.times_real_time:.0f}× real time" if counts.n_ok else ""
    audio_done = f"; {audio(counts.audio_s)} of audio in {duration(counts.elapsed_s)}{speed}" if counts.n_ok else ""
    return f"{done}{audio_done} → {where}"


def after_words(counts: Counts, place: str, *, tags: bool) -> list[str]:
    """What to do next: rows of missing files, tracks that failed, tags to look at."""
    lines = []
    if counts.n_removed:
        lines.append(f"removed the rows of {_tracks(counts.n_removed)} that no longer exist")
    if counts.n_missing:
        rows = "its rows" if counts.n_missing == 1 else "their rows"
        exist = "exists" if counts.n_missing == 1 else "exist"
        lines.append(f"{_tracks(counts.n_missing)} no longer {exist}; --prune removes {rows}")
    if place and (counts.n_failed or counts.n_failed_before):
        lines.append(f"why tracks failed: {place}/errors/")
    if place and tags and (counts.n_ok or counts.n_up_to_date):
        lines.append(f"see them: audiopatch show{'' if place == 'audiopatch.out' else f' --in {shlex.quote(place)}'}")
    return lines


def _tracks(n: int) -> str:
    return f"{number(n)} {'track' if n == 1 else 'tracks'}"


def _counted(n: int, one: str, several: str) -> str:
    return f"{number(n)} {one if n == 1 else several}" if n else ""
