"""What would change: one field of one file, from these values to those; and the same as lines of JSON to review."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from audiopatch.errors import UsageError
from audiopatch.writing.rules import check_value, field_name


@dataclass(frozen=True)
class Change:
    """One field of one file.

    ``old`` are the values that must be there for the change to be made, ``new`` those that will. ``scores`` belong to
    the labels among ``new``, None for values that no label gave. What follows tells which audio it is about: as the
    tables have it, or unknown (a change written by hand needs only path, field, old and new).
    """

    path: str
    field: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    scores: tuple[float | None, ...] = ()
    artist: str = ""
    album: str = ""
    title: str = ""
    track_id: str = ""
    size_bytes: int = -1
    mtime_ns: int = -1
    audio_hash: str = ""

    def line(self) -> str:
        """As one line of JSON; a path that is not UTF-8 keeps its bytes as surrogate escapes."""
        return json.dumps(asdict(self))


_TEXTS = {"old", "new"}
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "path": str, "field": str, "old": list, "new": list, "scores": list, "artist": str, "album": str, "title": str,
    "track_id": str, "size_bytes": int, "mtime_ns": int, "audio_hash": str,
}  # fmt: skip


def read_changes(lines: Iterable[str], source: str) -> Iterator[Change]:
    """Changes of a reviewed file. UsageError, with the number of the line, for what is none."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield _change(json.loads(line))
            except (ValueError, UsageError) as error:
                raise UsageError(f"{source}, line {number}: {error}") from None


def by_path(changes: Iterable[Change]) -> dict[str, list[Change]]:
    """The changes of each file, in the order of their first."""
    found: dict[str, list[Change]] = {}
    for change in changes:
        found.setdefault(change.path, []).append(change)
    return found


def _change(values: Any) -> Change:
    if not isinstance(values, dict) or not values.keys() >= {"path", "field", "old", "new"}:
        raise UsageError('a change is an object with "path", "field", "old" and "new"')
    known = {one.name for one in fields(Change)}
    values = {key: value for key, value in values.items() if key in known}
    for key, value in values.items():
        if not isinstance(value, _TYPES[key]) or isinstance(value, bool):
            raise UsageError(f'"{key}" cannot be {value!r}')
    for key in _TEXTS:
        if not all(isinstance(text, str) for text in values[key]):
            raise UsageError(f'"{key}" is a list of texts')
    new = tuple(text if text in values["old"] else check_value(text) for text in values["new"] if text)
    scores = tuple(values.get("scores", ()))
    return Change(
        **values | {"field": field_name(values["field"]), "old": tuple(values["old"]), "new": new, "scores": scores}
    )


def equal(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists hold the same values, in any order."""
    return sorted(one) == sorted(other)


def alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists say the same, whatever their order and capitals."""
    return equal([text.casefold() for text in one], [text.casefold() for text in other])
