"""Amounts as people read them: numbers, bytes, times, audio."""

from __future__ import annotations


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
