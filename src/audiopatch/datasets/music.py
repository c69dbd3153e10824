"""Labelled music by official layouts and splits: GTZAN, OpenMIC, MagnaTagATune, MTG-Jamendo, Million Song."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from audiopatch.datasets.recipe import CLASSIFICATION, TAGGING, Dataset, Item, LeftOut, checked, find
from audiopatch.errors import UsageError

_GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
_FOLDERS = ("genres", "genres_original", "Data/genres_original", ".")
_LISTS = resources.files("audiopatch.datasets") / "splits" / "gtzan"


@dataclass(frozen=True)
class Gtzan:
    """Ten genres: 930 of the 1000 clips of 30 s: 443 to train, 197 to validate, 290 to test. Wav and au copies both
    work.

    Layout and lists are those of ``torchaudio.datasets.GTZAN`` (genres/blues/blues.00000.wav; its "filtered" split,
    read there); genres_original/ is the Kaggle copy's.
    """

    name: str = "gtzan"
    title: str = "GTZAN"
    url: str = "https://www.kaggle.com/datasets/andradaolteanu/gtzan-dataset-music-genre-classification"
    multilabel: bool = False
    metrics: tuple[str, ...] = CLASSIFICATION

    def read(self, root: Path, *, allow_missing: bool = False) -> Dataset:
        genres = find(self, root, *(f"{folder}/blues" for folder in _FOLDERS)).parent
        splits = {split: [_item(genres, line) for line in _lines(split)] for split in ("train", "valid", "test")}
        # The wav copy that circulates has one unreadable file; the original .au is sound.
        broken = {genres / "jazz" / "jazz.00054.wav": "known broken in the wav copy of GTZAN"}
        return checked(self, root, splits, _GENRES, allow_missing=allow_missing, broken=broken)


def _lines(split: str) -> list[str]:
    return (_LISTS / f"{split}_filtered.txt").read_text(encoding="utf-8").split()


def _item(genres: Path, line: str) -> Item:
    path = genres / line
    original = path.with_suffix(".au")
    return Item(original if original.is_file() else path, (path.parent.name,))


GTZAN = Gtzan()


_LABELS = "openmic-2018-aggregated-labels.csv"


@dataclass(frozen=True)
class OpenMic:
    """Twenty instruments (Humphrey, Durand, McFee 2018): 20 000 clips of 10 s in the official split 01. Instruments
    nobody was asked about are not ``known``.

    Labels, partitions and audio (audio/000/000046_3840.ogg) lie as in the README and scripts of cosmir/openmic-2018.
    """

    name: str = "openmic"
    title: str = "OpenMIC-2018"
    url: str = "https://zenodo.org/records/1432913"
    multilabel: bool = True
    metrics: tuple[str, ...] = TAGGING

    def read(self, root: Path, *, allow_missing: bool = False) -> Dataset:
        labels_file = find(self, root, _LABELS, f"openmic-2018/{_LABELS}")
        home, answers = labels_file.parent, _answers(labels_file)
        splits = {
            split: [
                _openmic_item(home, key, answers[key])
                for key in _keys(find(self, home, f"partitions/split01_{split}.csv"))
            ]
            for split in ("train", "test")
        }
        labels = sorted({instrument for clip in answers.values() for instrument in clip})
        return checked(self, root, splits, labels, allow_missing=allow_missing)


def _answers(path: Path) -> dict[str, dict[str, float]]:
    """sample key -> instrument -> relevance in 0..1, for the instruments somebody answered."""
    answers: dict[str, dict[str, float]] = defaultdict(dict)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            answers[row["sample_key"]][row["instrument"]] = float(row["relevance"])
    return answers


def _keys(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split()


def _openmic_item(home: Path, key: str, answers: dict[str, float]) -> Item:
    present = tuple(name for name, relevance in answers.items() if relevance > 0.5)  # as PaSST's and the study's code
    return Item(home / "audio" / key[:3] / f"{key}.ogg", present, known=tuple(answers))


OPENMIC = OpenMic()


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
    empty files.

    Folders 0 to b train, c validates, d to f test, as in jordipons/musicnn-training (``partition_gt.py``, which names
    the same three files and keeps untagged clips); mp3/ is that of minzwon/sota-music-tagging-models.
    """

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


_OFFICIAL_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
_AUDIO_FOLDERS = ("audio", "raw_30s/audio", "audio-low", "raw_30s/audio-low", ".")


@dataclass(frozen=True)
class Jamendo:
    """Official split 0 (Bogdanov et al. 2019) of whole tracks. ``task`` is the middle of the list's name:
    autotagging_TASK-train.tsv. The layout is that of the repository's README and of its download script."""

    task: str
    name: str
    title: str
    url: str = "https://github.com/MTG/mtg-jamendo-dataset"
    multilabel: bool = True
    metrics: tuple[str, ...] = ("roc_auc_macro", "map_macro")

    def read(self, root: Path, *, allow_missing: bool = False) -> Dataset:
        lists = find(self, root, "data/splits/split-0", "splits/split-0", "split-0")
        rows = {
            split: _rows(find(self, lists, f"autotagging_{self.task}-{official}.tsv"))
            for split, official in _OFFICIAL_SPLITS.items()
        }
        audio, suffix = _audio(root, [fields[3] for split in rows.values() for fields in split])
        splits = {split: [_jamendo_item(audio, suffix, fields) for fields in found] for split, found in rows.items()}
        labels = sorted({tag for items in splits.values() for item in items for tag in item.labels})
        return checked(self, root, splits, labels, allow_missing=allow_missing)


def _rows(path: Path) -> list[list[str]]:
    """TRACK_ID, ARTIST_ID, ALBUM_ID, PATH, DURATION, then one field per tag; the header line is dropped."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines[1:] if line]


def _audio(root: Path, names: list[str]) -> tuple[Path, str]:
    """Where the audio lies, and its suffix: the mono copies of lower bit rate end in .low.mp3."""
    for folder in _AUDIO_FOLDERS:
        for suffix in (".mp3", ".low.mp3"):
            if any((root / folder / name).with_suffix(suffix).is_file() for name in names):
                return root / folder, suffix
    return root / _AUDIO_FOLDERS[0], ".mp3"


def _jamendo_item(audio: Path, suffix: str, fields: list[str]) -> Item:
    track, artist, _, name, _, *tags = fields
    return Item((audio / name).with_suffix(suffix), tuple(tags), track=track, group=artist)


GENRE = Jamendo("genre", "jamendo-genre", "MTG-Jamendo genre")
INSTRUMENT = Jamendo("instrument", "jamendo-instrument", "MTG-Jamendo instrument")
MOOD = Jamendo("moodtheme", "jamendo-mood", "MTG-Jamendo mood/theme")
TOP50 = Jamendo("top50tags", "jamendo-top50", "MTG-Jamendo top 50", metrics=TAGGING)


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
    """The lists of Choi et al. (2016): SPLIT_x_filename.txt (3/6/36122424.npy) beside SPLIT_y.npy (N, 50), as the
    repository's README has them; that audio lies in audio/ is our choice."""

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
    audio/R/A/B/TRRAB....wav by the third to fifth letter of the id, as its repository's ``data_loader.py`` reads
    them."""

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
