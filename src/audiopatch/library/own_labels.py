"""The labels that a user's own tags mean: spellings folded, synonyms joined, what is no musical label left out."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from audiopatch.errors import UsageError

_BETWEEN = re.compile(r"[;,/|\0\n]")  # several values in one field
_AND = re.compile(r"\s*(?:&|\+|'n'|\bn'|'n\b|\bn\b)\s*")
_LONGEST = 40  # characters: more are a sentence

# Spellings, abbreviations and the odd words of ID3's list, as ``key`` writes them. Styles that merely lie close
# (rap and hip hop, electro and electronica) are left apart: that is the user's to decide, in the file.
SYNONYMS = {
    "alternrock": "alternativerock",
    "altrock": "alternativerock",
    "bebob": "bebop",
    "clasica": "classical",
    "classique": "classical",
    "dandb": "drumandbass",
    "dnb": "drumandbass",
    "gamesoundtrack": "game",
    "klassik": "classical",
    "originalsoundtrack": "soundtrack",
    "ost": "soundtrack",
    "psychadelic": "psychedelic",
    "rhythmandblues": "randb",
    "rnb": "randb",
    "trashmetal": "thrashmetal",
    "videogame": "game",
    "vgm": "game",
}
NO_LABEL = {
    *("", "unknown", "unknowngenre", "other", "others", "none", "misc", "miscellaneous", "various", "genre", "default"),
    *("na", "null", "nil", "undefined", "untagged", "notset", "music", "audio", "sound", "soundclip", "mp3", "test"),
}


@dataclass(frozen=True)
class Folding:
    """Which label each spelling means: ``key(spelling)`` -> label, or "" for what is to be left out."""

    label_of: Mapping[str, str]

    def __call__(self, texts: Iterable[str]) -> tuple[str, ...]:
        """The labels in the values of a file's field, each once, in their order."""
        parts = (part for text in texts for part in _parts(text))
        labels = (self.label_of.get(key(part), "") for part in parts)
        return tuple(dict.fromkeys(label for label in labels if label))


def _parts(text: str) -> list[str]:
    """The values in one field; an address is one, and no label."""
    parts = [text] if "://" in text else _BETWEEN.split(text)
    return [part.strip() for part in parts if part.strip()]


def key(text: str) -> str:
    """What spellings of one label have in common: ``Hip-Hop``, ``hip hop music`` -> ``hiphop``."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))
    letters = "".join(char for char in _AND.sub(" and ", plain) if char.isalnum())
    return letters.removesuffix("music") or letters


def fold(texts: Iterable[str]) -> tuple[Folding, dict[str, list[str]]]:
    """All values of a field in a library -> what they mean, and label -> its spellings ("": left out).

    The most frequent spelling of a label names it.
    """
    often: dict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        for part in _parts(text):
            often[SYNONYMS.get(key(part), key(part))][part] += 1
    spellings: dict[str, list[str]] = defaultdict(list)
    for meaning, found in often.items():
        ranked = sorted(found, key=lambda text: (-found[text], text.isupper() or text.islower(), text))
        spellings["" if _is_no_label(meaning, ranked[0]) else _one_line(ranked[0])] += ranked
    ordered = {label: spellings[label] for label in sorted(spellings, key=str.casefold)}
    return _folding(ordered), ordered


def _is_no_label(meaning: str, text: str) -> bool:
    return meaning in NO_LABEL or meaning.isdigit() or len(text) > _LONGEST or "://" in text or text.startswith("www.")


def _one_line(text: str) -> str:
    """As model folders keep labels: a line of UTF-8."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line.encode(errors="replace").decode().strip()


def _folding(spellings: Mapping[str, Sequence[str]]) -> Folding:
    return Folding({key(text): label for label, texts in spellings.items() for text in texts})


def write_labels(path: Path, spellings: Mapping[str, Sequence[str]]) -> None:
    """The folding as TOML for people to edit."""
    known = {label: list(texts) for label, texts in spellings.items() if label}
    about = (
        "# Each label with the spellings that count as it. Move spellings between the lists, rename or add labels,\n"
        "# and put what shall not be learnt under leave_out; then: audiopatch adapt --labels FILE\n\n"
    )
    text = tomli_w.dumps({"leave_out": list(spellings.get("", [])), "labels": known}, multiline_strings=False)
    path.write_text(about + text, encoding="utf-8")


def read_labels(path: Path) -> tuple[Folding, dict[str, list[str]]]:
    """What ``write_labels`` wrote, perhaps edited; anything else is a UsageError that says where."""
    try:
        values: Any = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    labels, left = values.get("labels"), values.get("leave_out", [])
    lists = [*labels.values(), left] if isinstance(labels, dict) else [None]
    if not all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists):
        raise UsageError(f"{path}: expected [labels] with a list of spellings for each, as adapt writes it")
    spellings = {_one_line(label): [label, *texts] for label, texts in labels.items()} | {"": left}
    means: dict[str, str] = {}
    for label, texts in spellings.items():
        for text in texts:
            if means.setdefault(key(text), label) != label:
                raise UsageError(f"{path}: '{text}' stands under both '{means[key(text)]}' and '{label}'")
    return Folding(means), spellings
