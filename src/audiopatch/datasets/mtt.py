"""MagnaTagATune: the fifty most frequent tags, split by folder (12 to train, 1 to validate, 3 to test)."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from audiopatch.datasets.recipe import TAGGING, Dataset, Item, LeftOut, checked, find

_SPLIT_OF_FOLDER = {**dict.fromkeys("0123456789ab", "train"), "c": "valid", **dict.fromkeys("def", "test")}
_AUDIO = (".", "mp3", "audio")  # where the folders 0 to f lie
_CUT = re.compile(r"-\d+-\d+\.mp3$")  # every clip's name ends in the seconds it was cut at
_BROKEN = (
    "6/norine_braun-now_and_zen-08-gently-117-146.mp3",
    "8/jacob_heringman-josquin_des_prez_lute_settings-19-gintzler__pater_noster-204-233.mp3",
    "9/american_baroque-dances_and_suites_of_rameau_and_couperin-25-le_petit_rien_xiveme_ordre_couperin-88-117.mp3",
)


@dataclass(frozen=True)
class MagnaTagATune:
    """25 863 clips of 29 s; those with none of the fifty tags are left out (Lee et al. 2017), and so are three
    empty files."""

    name: str = "mtt"
    title: str = "MagnaTagATune"
    url: str = "https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset"
    multilabel: bool = True
    metrics: tuple[str, ...] = TAGGING
    n_tags: int = 50

    def read(self, root: Path, *, allow_missing: bool = False) -> Dataset:
        with find(self, root, "annotations_final.csv").open(newline="", encoding="utf-8") as file:
            rows = [(row.pop("mp3_path"), row) for row in csv.DictReader(file, delimiter="\t")]
        labels = self._most_frequent([row for _, row in rows])
        splits: dict[str, list[Item]] = {"train": [], "valid": [], "test": []}
        untagged, audio = [], root / next((name for name in _AUDIO if (root / name / "0").is_dir()), ".")
        for name, row in rows:
            split, tags = _SPLIT_OF_FOLDER[name[0]], tuple(tag for tag in labels if row[tag] == "1")
            if tags:
                splits[split].append(Item(audio / name, tags, track=_CUT.sub("", name.partition("/")[2])))
            else:
                untagged.append(LeftOut(audio / name, split, f"none of the {self.n_tags} tags"))
        broken = {audio / name: "known empty file" for name in _BROKEN}
        return checked(self, root, splits, labels, allow_missing=allow_missing, broken=broken, left_out=untagged)

    def _most_frequent(self, rows: list[dict[str, str]]) -> list[str]:
        count = Counter(tag for row in rows for tag, value in row.items() if value == "1" and tag != "clip_id")
        return [tag for tag, _ in count.most_common(self.n_tags)]


MTT = MagnaTagATune()
