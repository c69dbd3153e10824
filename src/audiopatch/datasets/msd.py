"""Million Song Dataset, Last.fm top 50: the usual split and CALS. Users bring the previews and the published lists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiopatch.datasets.recipe import TAGGING, Dataset, Item, checked, find
from audiopatch.errors import UsageError

# The order of the columns of {train,valid,test}_y.npy (keunwoochoi/MSD_split_for_tagging, tags.py).
_USUAL_TAGS = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s", "alternative rock",
    "jazz", "beautiful", "metal", "chillout", "male vocalists", "classic rock", "soul", "indie rock", "Mellow",
    "electronica", "80s", "folk", "90s", "chill", "instrumental", "punk", "oldies", "blues", "hard rock", "ambient",
    "acoustic", "experimental", "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening",
    "sexy", "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop", "sad", "House",
    "happy",
)  # fmt: skip
# Of {train,valid,test}_binaries.npy (minzwon/semi-supervised-music-tagging-transformer, src/msd_config.py).
_CALS_TAGS = (
    "rock", "pop", "indie", "alternative", "electronic", "hip-hop", "metal", "jazz", "punk", "folk",
    "alternative rock", "indie rock", "dance", "hard rock", "00s", "soul", "hardcore", "80s", "country",
    "classic rock", "punk rock", "blues", "chillout", "experimental", "heavy metal", "death metal", "90s", "reggae",
    "progressive rock", "ambient", "acoustic", "beautiful", "british", "rnb", "funk", "metalcore", "mellow", "world",
    "guitar", "trance", "indie pop", "christian", "house", "spanish", "latin", "psychedelic", "electro", "piano",
    "70s", "progressive metal",
)  # fmt: skip
_SUFFIXES = (".clip.mp3", ".mp3", ".wav", ".flac")


@dataclass(frozen=True)
class MsdUsual:
    """The lists of Choi et al. (2016): SPLIT_x_filename.txt (3/6/36122424.npy) beside SPLIT_y.npy (N, 50)."""

    name: str = "msd"
    title: str = "Million Song Dataset (Last.fm 50)"
    url: str = "https://github.com/keunwoochoi/MSD_split_for_tagging"
    multilabel: bool = True
    metrics: tuple[str, ...] = TAGGING

    def read(self, root: Path, *, allow_missing: bool = False) -> Dataset:
        audio, splits = find(self, root, "audio"), {}
        for split in ("train", "valid", "test"):
            names = find(self, root, f"{split}_x_filename.txt").read_text(encoding="utf-8").split()
            answers = _table(find(self, root, f"{split}_y.npy"), len(names), len(_USUAL_TAGS))
            paths = [_existing(audio / name) for name in names]
            splits[split] = _items(paths, answers, _USUAL_TAGS)
        return checked(self, root, splits, _USUAL_TAGS, allow_missing=allow_missing)


@dataclass(frozen=True)
class MsdCals:
    """Cleaned and artist-level stratified split (Won, Choi, Serra 2021): splits/SPLIT_ids.npy and _binaries.npy, and
    audio/R/A/B/TRRAB....wav by the third to fifth letter of the id."""

    name: str = "msd-cals"
    title: str = "Million Song Dataset (CALS)"
    url: str = "https://github.com/minzwon/semi-supervised-music-tagging-transformer"
    multilabel: bool = True
    metrics: tuple[str, ...] = TAGGING

    def read(self, root: Path, *, allow_missing: bool = False) -> Dataset:
        audio, lists, splits = find(self, root, "audio"), find(self, root, "splits"), {}
        for split in ("train", "valid", "test"):
            ids = [str(name) for name in np.load(find(self, lists, f"{split}_ids.npy"))]
            answers = _table(find(self, lists, f"{split}_binaries.npy"), len(ids), len(_CALS_TAGS))
            paths = [_existing(audio / name[2] / name[3] / name[4] / f"{name}.wav") for name in ids]
            splits[split] = _items(paths, answers, _CALS_TAGS)
        return checked(self, root, splits, _CALS_TAGS, allow_missing=allow_missing)


def _table(path: Path, n_rows: int, n_tags: int) -> np.ndarray:
    table = np.load(path)
    if table.shape != (n_rows, n_tags):
        raise UsageError(f"{path} has shape {table.shape}; its list needs ({n_rows}, {n_tags})")
    return table > 0


def _existing(path: Path) -> Path:
    """The list's file, or the same name with a suffix audio really comes in."""
    stem = path.with_suffix("")
    return next((found for suffix in _SUFFIXES if (found := stem.with_name(stem.name + suffix)).is_file()), path)


def _items(paths: list[Path], answers: np.ndarray, tags: tuple[str, ...]) -> list[Item]:
    return [
        Item(path, tuple(tags[index] for index in np.flatnonzero(row)))
        for path, row in zip(paths, answers, strict=True)
    ]


USUAL, CALS = MsdUsual(), MsdCals()
