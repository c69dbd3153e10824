"""Your own collection: a folder per label, or a table (CSV, TSV, Parquet) of paths and labels."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audiopatch.audio.lists import text_lines
from audiopatch.audio.walk import walk
from audiopatch.datasets.recipe import CLASSIFICATION, Dataset, Item, LeftOut, below, checked, grouped_split
from audiopatch.errors import UsageError


@dataclass(frozen=True)
class LabelledFolder:
    """ROOT/label/.../track.mp3. Tracks in the same folder below the label (an album) stay on one side of the split, and
    so do copies of a file. ``sides`` are those of a run before this, which stay: path below ROOT -> split."""

    name: str = "folder"
    title: str = "Folder of labelled music"
    url: str = "your own collection, one sub-folder per label"
    multilabel: bool = False
    metrics: tuple[str, ...] = CLASSIFICATION
    seed: int = 0
    sides: Mapping[str, str] = field(default_factory=dict)

    def read(self, root: Path, *, allow_missing: bool = False) -> Dataset:
        if not root.is_dir():
            raise UsageError(f"there is no folder {root}")
        found = (Path(track.path) for track in walk([root]))  # the same music that `tag` finds there
        items = [_item(root / path.relative_to(root).parts[0], path) for path in found if path.parent != root]
        labels = sorted({item.labels[0] for item in items})  # a folder of covers is none
        if len(labels) < 2:
            raise UsageError(
                f"expected at least two sub-folders with audio in {root}, one per label (such as {root / 'rock'} and "
                f"{root / 'jazz'}); found {len(labels)} with audio in them"
            )
        splits = _made_here(root, items, self)
        return checked(self, root, splits, labels, allow_missing=allow_missing)


def _item(home: Path, path: Path) -> Item:
    album = path.parent.relative_to(home)
    group = f"{home.name}/{album}" if album.parts else ""
    return Item(path, (home.name,), group=group)


FOLDER = LabelledFolder()


def _made_here(home: Path, items: Sequence[Item], recipe: LabelledFolder | Table) -> dict[str, list[Item]]:
    """The split of items that nobody has split."""
    before = {item.path: side for item in items if (side := recipe.sides.get(below(home, item.path)))}
    return grouped_split(copies_together(items), seed=recipe.seed, before=before)


def copies_together(items: Sequence[Item]) -> list[Item]:
    """The same items; where files have the same bytes, their groups are one, for a copy tells what it is a copy of."""
    by_size: dict[int, list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: str(item.path)):
        with suppress(OSError):  # what is missing is said later
            by_size[item.path.stat().st_size].append(item)
    united: dict[str, str] = {}

    def group_of(item: Item) -> str:
        name = item.group or str(item.path)
        while united.get(name, name) != name:
            name = united[name]
        return name

    for size, alike in by_size.items():
        first: dict[bytes, Item] = {}
        for item in alike if size and len(alike) > 1 else ():
            with suppress(OSError), open(item.path, "rb") as file:
                known = first.setdefault(hashlib.file_digest(file, "blake2b").digest(), item)
                united[group_of(item)] = group_of(known)
    return [replace(item, group=group_of(item)) if united else item for item in items]


_SPLITS = ("train", "valid", "test")


def _read_text(path: Path) -> pd.DataFrame:
    """A table as spreadsheets and editors write it: commas, semicolons or tabs, any byte order mark."""
    with open(path, "rb") as file:
        text = "\n".join(text_lines(file))
    first = text.partition("\n")[0]
    # 007 and None are labels like any other
    return pd.read_csv(StringIO(text), sep=max(",;\t", key=first.count), dtype=str, keep_default_na=False)


_READERS = {".csv": _read_text, ".tsv": _read_text, ".parquet": pd.read_parquet}


@dataclass(frozen=True)
class Table:
    """Columns ``path`` (relative to the table's folder) and ``label``, or ``labels`` with several: separated by ``;``,
    or lists in a Parquet file.

    A column ``split`` (train, valid, test) is obeyed; without one, tracks of an ``artist`` (or else an ``album``)
    and copies of a file stay on one side of the split made here, and on their ``sides`` of a run before this (path as
    seen from the table's folder -> split). ``--data-dir`` is the table itself, or a folder with tracks.csv in it.
    """

    name: str
    title: str
    multilabel: bool
    metrics: tuple[str, ...]
    url: str = "your own collection, a table with the columns path and label (or labels)"
    separator: str = ";"
    seed: int = 0
    sides: Mapping[str, str] = field(default_factory=dict)

    def read(self, root: Path, *, allow_missing: bool = False) -> Dataset:
        path = _table(root)
        column = "labels" if self.multilabel else "label"
        items: list[Item] = []
        unlabelled: list[LeftOut] = []
        splits: dict[str, list[Item]] = {split: [] for split in _SPLITS}
        for row in _rows(path, column):
            item, split = self._item(path.parent, row, column), _split(path, row)
            if not item.labels and not self.multilabel:
                unlabelled.append(LeftOut(item.path, split, "no label"))
                continue
            items.append(item)
            splits.setdefault(split, []).append(item)
        if "" in splits:  # the table has no column for it
            splits = _made_here(path.parent, items, self)
        labels = sorted({label for item in items for label in item.labels})
        return checked(self, path.parent, splits, labels, allow_missing=allow_missing, left_out=unlabelled)

    def _item(self, home: Path, row: dict[str, Any], column: str) -> Item:
        value = row[column]
        if not isinstance(value, np.ndarray):
            value = str(value).split(self.separator) if self.multilabel else [value]
        labels = tuple(label for text in value if (label := str(text).strip()))
        return Item(home / str(row["path"]), labels, group=str(row.get("artist") or row.get("album") or ""))


def _table(root: Path) -> Path:
    if root.is_file() and root.suffix in _READERS:
        return root
    for suffix in _READERS:
        if (root / f"tracks{suffix}").is_file():
            return root / f"tracks{suffix}"
    raise UsageError(f"expected a table (.csv, .tsv or .parquet), or tracks.csv in a folder; {root} is neither")


def _rows(path: Path, column: str) -> list[dict[str, Any]]:
    """The table's rows by column, with "" where a cell is empty."""
    try:
        table = _READERS[path.suffix](path)
    except ValueError as error:  # of pandas and pyarrow, for whatever is no table
        raise UsageError(f"{path} cannot be read as a table: {str(error).strip()}") from None
    if not {"path", column} <= set(table.columns):
        raise UsageError(f"{path} needs the columns path and {column}; it has: {', '.join(map(str, table.columns))}")
    return table.astype(object).where(table.notna(), "").to_dict("records")


def _split(path: Path, row: dict[str, Any]) -> str:
    """The split a row asks for; "" in a table without that column."""
    split = row.get("split")
    if split is not None and split not in _SPLITS:
        raise UsageError(f"{path}: the column split says '{split}' for {row['path']}; it takes train, valid, test")
    return split or ""


CSV = Table("csv", "Table of labelled music", multilabel=False, metrics=CLASSIFICATION)
DISCOGS = Table("discogs", "Discogs-like table", multilabel=True, metrics=("roc_auc_macro", "map_macro"))
