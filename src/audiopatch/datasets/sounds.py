"""Labelled sounds and voices by official layouts: ESC, FSD50K, Speech Commands, AudioSet, VoxCeleb1."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from audiopatch.datasets.recipe import CLASSIFICATION, TAGGING, Dataset, Item, checked, find


@dataclass(frozen=True)
class Esc:
    """Environmental sounds (Piczak 2015), 5 s each. ``fold`` is the one tested; the four others train, none validates
    (as the papers do it). The layout is that of the repository's README."""

    name: str
    title: str
    only_esc10: bool = False
    fold: int = 1
    n_folds: int = 5
    url: str = "https://github.com/karolpiczak/ESC-50"
    multilabel: bool = False
    metrics: tuple[str, ...] = CLASSIFICATION

    def read(self, root: Path, *, allow_missing: bool = False) -> Dataset:
        with find(self, root, "meta/esc50.csv", "meta.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if not self.only_esc10 or row.get("esc10", "True") == "True"]
        splits: dict[str, list[Item]] = {"train": [], "test": []}
        for row in rows:
            # name: {fold}-{clip id on Freesound}-{take}-{target}.wav; takes of one recording share a fold
            item = Item(root / "audio" / row["filename"], (row["category"],), group=row["filename"].split("-")[1])
            splits["test" if int(row["fold"]) == self.fold else "train"].append(item)
        labels = [name for _, name in sorted({(int(row["target"]), row["category"]) for row in rows})]
        return checked(self, root, splits, labels, allow_missing=allow_missing)


ESC50 = Esc("esc50", "ESC-50")
ESC10 = Esc("esc10", "ESC-10", only_esc10=True)


_SPLIT = {"train": "train", "val": "valid"}


@dataclass(frozen=True)
class Fsd50k:
    """200 classes (Fonseca et al. 2022): 51 197 clips of 0.3 to 30 s from Freesound. Lists and folders are named as the
    archives on Zenodo are, and as code that reads them has it."""

    name: str = "fsd50k"
    title: str = "FSD50K"
    url: str = "https://zenodo.org/records/4060432"
    multilabel: bool = True
    metrics: tuple[str, ...] = TAGGING

    def read(self, root: Path, *, allow_missing: bool = False) -> Dataset:
        lists = find(self, root, "FSD50K.ground_truth")
        splits: dict[str, list[Item]] = {"train": [], "valid": [], "test": []}
        for row in _rows(find(self, lists, "dev.csv")):
            splits[_SPLIT[row["split"]]].append(_item(root / "FSD50K.dev_audio", row))
        splits["test"] = [_item(root / "FSD50K.eval_audio", row) for row in _rows(find(self, lists, "eval.csv"))]
        with find(self, lists, "vocabulary.csv").open(newline="", encoding="utf-8") as file:
            labels = [row[1] for row in csv.reader(file)]  # index, label, AudioSet id; no header
        return checked(self, root, splits, labels, allow_missing=allow_missing)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _item(audio: Path, row: dict[str, str]) -> Item:
    return Item(audio / f"{row['fname']}.wav", tuple(row["labels"].split(",")))


FSD50K = Fsd50k()


_FOLDERS = ("", "speech_commands_v0.02/", "SpeechCommands/speech_commands_v0.02/")  # the archive; torchaudio's download


@dataclass(frozen=True)
class SpeechCommands:
    """Version 2, 35 words (Warden 2018): clips of 1 s, a folder per word; what neither list names is for training, as
    in ``torchaudio.datasets.SPEECHCOMMANDS``, where the layout was read."""

    name: str = "speech-commands"
    title: str = "Speech Commands V2"
    url: str = "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
    multilabel: bool = False
    metrics: tuple[str, ...] = CLASSIFICATION

    def read(self, root: Path, *, allow_missing: bool = False) -> Dataset:
        home = find(self, root, *(f"{folder}validation_list.txt" for folder in _FOLDERS)).parent
        held_out = {"valid": _names(home / "validation_list.txt"), "test": _names(find(self, home, "testing_list.txt"))}
        words = sorted(folder.name for folder in home.iterdir() if folder.is_dir() and not folder.name.startswith("_"))
        listed = held_out["valid"] | held_out["test"]
        found = {f"{word}/{path.name}" for word in words for path in (home / word).glob("*.wav")}
        names = {"train": found - listed, **held_out}
        splits = {split: [_speech_item(home, name) for name in sorted(some)] for split, some in names.items()}
        return checked(self, home, splits, words, allow_missing=allow_missing)


def _names(path: Path) -> set[str]:
    return set(path.read_text(encoding="utf-8").split())


def _speech_item(home: Path, name: str) -> Item:
    word, _, file = name.partition("/")
    return Item(home / name, (word,), group=file.partition("_nohash_")[0])  # before it stands the speaker


SPEECH_COMMANDS = SpeechCommands()


_ID_LENGTH = 11  # of a video's id, with which every clip's name starts (some tools put a Y before it)


@dataclass(frozen=True)
class AudioSet:
    """Gemmeke et al. 2017; clips of 10 s named by video id (ID.wav, YID.flac, ID_30.000.m4a ...), a folder per list.

    Videos vanish, so clips that are not there are always left out and listed, not an error. The lists are as Google's
    download page describes them. Audio is nobody's official layout: audios/balanced_train_segments/ with metadata/ is
    that of PANNs (qiuqiangkong/audioset_tagging_cnn, README), audio/bal_train/ that of agkphysics/AudioSet on the hub.
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
        short = stem.removesuffix("_segments")
        on_hub = short.replace("balanced", "bal")
        audio = find(self, root, stem, short, f"audios/{stem}", f"audio/{stem}", f"audio/{on_hub}")
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


_VOXCELEB1_SPLIT = {"1": "train", "2": "valid", "3": "test"}
# the identification split draws on both archives, unpacked into one folder or two
_AUDIO = ("wav", "vox1_dev_wav/wav", "vox1_test_wav/wav", "dev/wav", "test/wav", ".")


@dataclass(frozen=True)
class VoxCeleb1:
    """1251 speakers (Nagrani, Chung, Zisserman 2017): 153 516 utterances of 4 s and more: SPEAKER/VIDEO/00001.wav,
    below wav/ as in ``torchaudio.datasets.VoxCeleb1Identification``, where list and layout were read."""

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
            splits[_VOXCELEB1_SPLIT[number]].append(Item(path, (name.partition("/")[0],), track=str(Path(name).parent)))
        labels = sorted({item.labels[0] for items in splits.values() for item in items})
        return checked(self, root, splits, labels, allow_missing=allow_missing)


VOXCELEB1 = VoxCeleb1()
