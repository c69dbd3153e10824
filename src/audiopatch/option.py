"""An option is written once: its default, help and flags stand at the field of the dataclass that holds it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

INPUT, WHAT, MODEL, OUTPUT, MACHINE, TALK = "Inputs", "What to compute", "Model", "Output", "Machine", "Progress"

TIME = "TIME"  # the ``values`` of an option that takes a time: a number of seconds in Python
TIME_FORMS = "as 90, 90s, 15m or 2h"  # what may be typed there

_KEY = "option"


@dataclass(frozen=True)
class Option:
    """What a person reads and types. The name is the field's, in Python, in TOML and, as ``--name``, on a command line.

    ``flags`` are further spellings, ``values`` stands for the value in the help, ``least`` bounds it, ``shown`` is what
    the help gives as the default. ``first`` ones are in the short help; the others wait for ``--help-all``.
    An ``argument`` is typed without its name.
    """

    help: str
    panel: str
    flags: tuple[str, ...] = ()
    values: str | None = None
    least: float | None = None
    most: float | None = None
    shown: str | None = None
    first: bool = False
    argument: bool = False


def option(default: Any, help: str, panel: str, *flags: str, **more: Any) -> Any:
    """The field of a dataclass that users may set; ``more`` are fields of ``Option``."""
    return field(default=default, metadata={_KEY: Option(help, panel, flags, **more)})


def options_of(holder: type) -> dict[str, Option]:
    """Field name -> option, for the fields that users may set."""
    return {entry.name: entry.metadata[_KEY] for entry in fields(holder) if _KEY in entry.metadata}


def check_bounds(holder: Any, refuse: type[Exception]) -> None:
    """Raises ``refuse`` for a number outside of what its option allows."""
    for name, about in options_of(type(holder)).items():
        value = getattr(holder, name)
        if value is None or (about.least is None and about.most is None):
            continue
        if not (about.least or 0) <= value <= (math.inf if about.most is None else about.most):
            raise refuse(f"`{name}` {value} cannot work; {_bounds(about)}")


def _bounds(about: Option) -> str:
    return f"at least {about.least:g}" if about.most is None else f"from {about.least:g} to {about.most:g}"
