"""Numbers, durations and the last line of a run, as people read them."""

from __future__ import annotations

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
    """The most important line of a run: what was done, what was not, and where to look."""
    failed = counts.n_failed + counts.n_failed_before
    rest = [f"{number(counts.n_up_to_date)} up to date"] if counts.n_up_to_date else []
    rest += [f"{number(counts.n_repeats)} with the audio of another"] if counts.n_repeats else []
    rest += [f"{number(counts.n_damaged)} damaged"] if counts.n_damaged else []
    rest += [f"{number(failed)} failed"] if failed else []
    if counts.n_left_out:
        rest.append(f"{number(counts.n_left_out)} left out as hidden or no recording (-v lists them)")
    if interrupted:
        rest.append(f"{number(counts.n_left)} left: run the same command to resume")
    where = f"{place}/errors/" if place and (failed or counts.n_damaged) else f"{place}/" if place else "stdout"
    if not counts.n_ok and not counts.n_failed and not interrupted:
        return f"Nothing to do: of {number(counts.n_found)} tracks {', '.join(rest)} → {where}"
    done = (
        f"{verb} {number(counts.n_ok)} of {number(counts.n_found)} tracks ({audio(counts.audio_s)}) "
        f"in {duration(counts.elapsed_s)}"
    )
    done += f", {counts.times_real_time:.0f}× real time" if counts.n_ok else ""
    return f"{done}{'; ' if rest else ''}{', '.join(rest)} → {where}"
