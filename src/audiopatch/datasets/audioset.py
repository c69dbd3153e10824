"""AudioSet, all or balanced 20K: official segment lists, a folder of the clips one could get (Gemmeke et al. 2017)."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from audiopatch.datasets.recipe import TAGGING, Dataset, Item, checked, find

_ID_LENGTH = 11  # of a video's id, with which every clip's name starts (some tools put a Y before it)


@dataclass(frozen=True)
class AudioSet:
    """Clips of 10 s named by video id (ID.wav, YID.flac, ID_30.000.m4a ...) in one folder per list.

    Videos vanish, so clips that are not there are always left out and listed, not an error.
    """

    name: str
    title: str
    train_lists: tuple[str, ...]
    url: str = "https://research.google.com/audioset/download.html"
    multilabel: bool = True
    metrics: tuple[str, ...] = TAGGING

    def read(self, root: Path, *, allow_missing: bool = False) -> Dataset:
        with find(self, root, *_lists("class_labels_indices")).open(newline="", encoding="utf-8") as file:
            name_of = {row["mid"]: row["display_name"] for row in csv.DictReader(file)}
        splits = {
            "train": [item for stem in self.train_lists for item in self._items(root, stem, name_of)],
            "test": self._items(root, "eval_segments", name_of),
        }
        return checked(self, root, splits, list(name_of.values()), allow_missing=True)

    def _items(self, root: Path, stem: str, name_of: Mapping[str, str]) -> list[Item]:
        audio = find(self, root, stem, stem.removesuffix("_segments"), f"audio/{stem}", f"audios/{stem}")
        segments = _segments(find(self, root, *_lists(stem)))
        clips = _clips(audio, segments.keys())
        return [
            Item(clips.get(video, audio / f"{video}.wav"), tuple(name_of[mid] for mid in mids))
            for video, mids in segments.items()
        ]


def _lists(stem: str) -> tuple[str, str]:
    return f"{stem}.csv", f"metadata/{stem}.csv"


def _segments(path: Path) -> dict[str, list[str]]:
    """video id -> AudioSet ids; lines that start with # are comments."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = (line for line in file if not line.startswith("#"))
        return {row[0]: row[3].split(",") for row in csv.reader(lines, skipinitialspace=True) if row}


def _clips(audio: Path, videos: Set[str]) -> dict[str, Path]:
    """video id -> its file, whatever the downloader appended to the name; large sets lie in folders of parts."""
    found = {}
    for path in audio.rglob("*"):
        for start in (0, 1):
            video = path.stem[start : start + _ID_LENGTH]
            if video in videos:
                found.setdefault(video, path)
    return found


AUDIOSET20K = AudioSet("audioset20k", "AudioSet (balanced 20K)", ("balanced_train_segments",))
AUDIOSET = AudioSet("audioset", "AudioSet", ("balanced_train_segments", "unbalanced_train_segments"))
