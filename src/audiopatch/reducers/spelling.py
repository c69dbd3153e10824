"""The text form of one reducer, derived from its dataclass fields: ``topk:0.7/cls``, ``structured:F4T40``.

Arguments follow the name after a colon, separated by ``/``. In order they fill the fields; ``name=value`` fills one by
name; letters with numbers (``F3T120``) fill the fields that declare a letter; a yes/no field's bare name turns it on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, get_origin, get_type_hints

from audiopatch.errors import UsageError
from audiopatch.reducers import REDUCERS

_LETTERS = re.compile(r"(?:[A-Z]\d+)+", re.IGNORECASE)
_LETTER = re.compile(r"([A-Z])(\d+)", re.IGNORECASE)
_HIGHEST = 9999  # so that a slip such as 1-99999999 is an answer at once, not a full memory


class Misspelled(UsageError):
    """An argument that does not fit; ``offset`` is where it starts among the arguments."""

    def __init__(self, message: str, offset: int):
        super().__init__(message)
        self.offset = offset


def spell(reducer: Any) -> str:
    """A reducer -> its text; every field that is not at its default appears."""
    args = "/".join(_spelled_fields(reducer))
    name = name_of(type(reducer))
    return f"{name}:{args}" if args else name


def name_of(cls: type) -> str:
    """The catalog's name of a reducer class, or ``module:Class`` for one from elsewhere."""
    place = f"{cls.__module__}:{cls.__qualname__}"
    return next((name for name in REDUCERS if REDUCERS[name] == place), place)


def read_fields(cls: type, args: str) -> dict[str, Any]:
    """``0.7/cls`` -> the keyword arguments of ``cls``; an argument that does not fit is Misspelled."""
    values: dict[str, Any] = {}
    for match in re.finditer(r"[^/]+", args):
        try:
            values |= _read_arg(cls, match[0].strip(), values)
        except UsageError as error:
            raise Misspelled(str(error), match.start()) from None
    missing = [spec.name for spec in fields(cls) if spec.default is MISSING and spec.name not in values]
    if missing:
        raise Misspelled(f"{name_of(cls)} needs its {' and '.join(missing)}", len(args))
    return values


def _read_arg(cls: type, arg: str, before: Mapping[str, Any]) -> dict[str, Any]:
    types = get_type_hints(cls)
    letters = {spec.metadata["letter"]: spec.name for spec in fields(cls) if "letter" in spec.metadata}
    name, equals, text = (part.strip() for part in arg.partition("="))
    if equals:
        _check_known(cls, name)
        return {name: _read(text, types[name], name)}
    if letters and _LETTERS.fullmatch(arg):
        return {_lettered(cls, letters, one): int(count) for one, count in _LETTER.findall(arg)}
    if types.get(arg) is bool:
        return {arg: True}
    for spec in fields(cls):
        if spec.name not in before and "letter" not in spec.metadata and types[spec.name] is not bool:
            return {spec.name: _read(arg, types[spec.name], spec.name)}
    raise UsageError(f"{name_of(cls)} has no use for '{arg}'")


def _spelled_fields(reducer: Any) -> Iterator[str]:
    named = False  # once a default is left out, or a list was given, what follows needs its name
    if letters := _spelled_letters(reducer):
        yield letters
    for spec in fields(reducer):
        value = getattr(reducer, spec.name)
        if "letter" in spec.metadata:
            continue
        if value == spec.default:
            named = True
        elif isinstance(value, bool):
            yield spec.name if value else f"{spec.name}=false"
        elif isinstance(value, tuple):
            yield f"{spec.name}={spell_numbers(value)}"
            named = True
        else:
            yield f"{spec.name}={value}" if named else str(value)


def _spelled_letters(reducer: Any) -> str:
    lettered = [
        (spec.metadata["letter"], getattr(reducer, spec.name))
        for spec in fields(reducer)
        if spec.metadata and (spec.default == 0 or getattr(reducer, spec.name) != spec.default)
    ]
    return "".join(f"{name}{count}" for name, count in lettered) if any(count for _, count in lettered) else ""


def _check_known(cls: type, name: str) -> None:
    names = [spec.name for spec in fields(cls)]
    if name not in names:
        raise UsageError(f"{name_of(cls)} has no setting '{name}'; it has: {', '.join(names) or 'none'}")


def _lettered(cls: type, letters: dict[str, str], letter: str) -> str:
    if letter.upper() not in letters:
        raise UsageError(f"{name_of(cls)} knows the letters {', '.join(letters)}, not {letter}")
    return letters[letter.upper()]


def _read(text: str, kind: Any, name: str) -> Any:
    kind = get_origin(kind) or kind
    try:
        return _READERS.get(kind, str)(text)
    except (ValueError, KeyError):
        raise UsageError(f"{name} takes {_KINDS[kind]}, not '{text}'") from None


def read_numbers(text: str) -> tuple[int, ...]:
    """``0,5,7-9`` -> (0, 5, 7, 8, 9); anything else is a ValueError."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if dash and not int(first) <= int(last) <= _HIGHEST:
            raise ValueError(f"{part} names nothing, or more than there are blocks, rows and columns")
        numbers += range(int(first), int(last) + 1) if dash else [int(first)]
    return tuple(numbers)


def spell_numbers(numbers: Sequence[int]) -> str:
    """(0, 5, 7, 8, 9) -> ``0,5,7-9``; the inverse of ``read_numbers``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def _yes_no(text: str) -> bool:
    return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]


_READERS: dict[Any, Callable[[str], Any]] = {int: int, float: float, bool: _yes_no, tuple: read_numbers}
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", tuple: "numbers such as 0,5,7-9"}
