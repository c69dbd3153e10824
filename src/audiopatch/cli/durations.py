"""Times as people type them, the same for every option that takes one."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from typing import Any

import typer

from audiopatch.option import TIME, TIME_FORMS

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> float:
    """``1h30m`` -> 5400.0 seconds; a number alone are seconds. ValueError for all but numbers with s, m, h or d."""
    compact = text.lower().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", compact):
        return float(compact)
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", compact)
    if not parts or "".join(chain.from_iterable(parts)) != compact:
        raise ValueError(f"'{text}' is no time; write it {TIME_FORMS}")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def seconds(least_s: float | None = None) -> Callable[[Any], float]:
    """What reads the value of an option, of at least so many seconds; a default comes as the number it is."""

    def read(value: Any) -> float:
        try:
            found_s = parse_duration(value) if isinstance(value, str) else float(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        if least_s is not None and found_s < least_s:
            raise typer.BadParameter(f"{value} is too short; give at least {least_s:g} s")
        return found_s

    return read


def timed(*flags: str, least_s: float | None = None, **more: Any) -> Any:
    """An option that takes a time, in seconds for the command."""
    return typer.Option(*flags, metavar=TIME, parser=seconds(least_s), **more)
