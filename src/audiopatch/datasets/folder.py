"""Your own music: every sub-folder is a label, everything below it an example."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audiopatch.audio.walk import walk
from audiopatch.datasets.grouped_split import grouped_split
from audiopatch.datasets.recipe import CLASSIFICATION, Dataset, Item, checked
from audiopatch.errors import UsageError


@dataclass(frozen=True)
class Folder:
    """ROOT/label/.../track.mp3. Tracks in the same folder below the label (an album) stay on one side of the split."""

    name: str = "folder"
    title: str = "Folder of labelled music"
    url: str = "your own collection, one sub-folder per label"
    multilabel: bool = False
    metrics: tuple[str, ...] = CLASSIFICATION
    seed: int = 0

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
        splits = grouped_split(items, seed=self.seed)
        return checked(self, root, splits, labels, allow_missing=allow_missing)


def _item(home: Path, path: Path) -> Item:
    album = path.parent.relative_to(home)
    group = f"{home.name}/{album}" if album.parts else ""
    return Item(path, (home.name,), group=group)


FOLDER = Folder()
