"""VoxCeleb1 identification: 1251 speakers, the official iden_split.txt (Nagrani, Chung, Zisserman 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audiopatch.datasets.recipe import CLASSIFICATION, Dataset, Item, checked, find

_SPLIT = {"1": "train", "2": "valid", "3": "test"}
# the identification split draws on both archives, unpacked into one folder or two
_AUDIO = ("wav", "vox1_dev_wav/wav", "vox1_test_wav/wav", "dev/wav", "test/wav", ".")


@dataclass(frozen=True)
class VoxCeleb1:
    """153 516 utterances of 4 s and more: SPEAKER/VIDEO/00001.wav."""

    name: str = "voxceleb1"
    title: str = "VoxCeleb1"
    url: str = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html"
    multilabel: bool = False
    metrics: tuple[str, ...] = CLASSIFICATION

    def read(self, root: Path, *, allow_missing: bool = False) -> Dataset:
        folders = [root / folder for folder in _AUDIO if (root / folder).is_dir()]
        splits: dict[str, list[Item]] = {"train": [], "valid": [], "test": []}
        for line in find(self, root, "iden_split.txt").read_text(encoding="utf-8").splitlines():
            number, name = line.split()
            path = next((folder / name for folder in folders if (folder / name).is_file()), root / "wav" / name)
            splits[_SPLIT[number]].append(Item(path, (name.partition("/")[0],), track=str(Path(name).parent)))
        labels = sorted({item.labels[0] for items in splits.values() for item in items})
        return checked(self, root, splits, labels, allow_missing=allow_missing)


VOXCELEB1 = VoxCeleb1()
