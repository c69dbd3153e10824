"""The tags of all tracks as one comma-separated file for spreadsheets, written once a run is over."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from audiopatch.tables.folder import Folder
from audiopatch.tables.parts import PartStore

CSV_FILE = "tags.csv"
_TRACK = ("path", "artist", "album", "title", "duration_s")
_TAG = ("rank", "label", "score")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets would compute


def write_csv(folder: Folder, store: PartStore) -> None:
    """A row per tag, beside what its file says of itself; a file without tags has one row, a failed one its error.

    UTF-8 with the mark at its start that Excel wants, text in quotes; what a spreadsheet would take for a formula has
    an apostrophe before it. Parts are read one by one, the rows of each sorted by path.
    """
    with (
        folder.change() as change,
        open(change.stage(CSV_FILE), "w", encoding="utf-8-sig", newline="") as file,
    ):
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow([*_TRACK, *_TAG, "error"])
        for part in store.names():
            writer.writerows([_cell(value) for value in row] for row in _rows(store, part))


def _rows(store: PartStore, part: str) -> Iterator[list[Any]]:
    tracks = sorted(_table(store, "tracks", part, ("track_id", *_TRACK)), key=lambda track: track["path"])
    tags: dict[str, list[dict[str, Any]]] = {}
    for tag in _table(store, "tags", part, ("track_id", *_TAG)):
        tags.setdefault(tag["track_id"], []).append(tag)
    errors = {row["track_id"]: row for row in _table(store, "errors", part, ("track_id", "path", "code", "message"))}
    for track in tracks:
        error = errors.pop(track["track_id"], None)
        said = f"{error['code']}: {error['message']}" if error else ""
        for tag in tags.get(track["track_id"], [{}]):
            yield [*(track[name] for name in _TRACK), *(tag.get(name) for name in _TAG), said]
    for error in errors.values():
        nothing = [None] * (len(_TRACK) + len(_TAG) - 1)
        yield [error["path"], *nothing, f"{error['code']}: {error['message']}"]


def _table(store: PartStore, table: str, part: str, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    file = store.folder.find(store.file_name(table, part))
    return [] if file is None else store.load(file, columns).to_pylist()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
