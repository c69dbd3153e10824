"""Speech Commands V2: 35 words, the official validation and testing lists (Warden 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audiopatch.datasets.recipe import CLASSIFICATION, Dataset, Item, checked, find

_FOLDERS = ("", "speech_commands_v0.02/", "SpeechCommands/speech_commands_v0.02/")  # the archive; torchaudio's download


@dataclass(frozen=True)
class SpeechCommands:
    """Clips of 1 s in one folder per word; what neither list names is for training."""

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
        splits = {split: [_item(home, name) for name in sorted(some)] for split, some in names.items()}
        return checked(self, home, splits, words, allow_missing=allow_missing)


def _names(path: Path) -> set[str]:
    return set(path.read_text(encoding="utf-8").split())


def _item(home: Path, name: str) -> Item:
    word, _, file = name.partition("/")
    return Item(home / name, (word,), group=file.partition("_nohash_")[0])  # before it stands the speaker


SPEECH_COMMANDS = SpeechCommands()
