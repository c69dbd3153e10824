"""The labels that a user's own tags mean, and the tracks of a run that have them."""

from __future__ import annotations

import os
import re
import tomllib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from audiopatch.errors import UsageError
from audiopatch.library.vectors import Vectors
from audiopatch.writing.containers import check_installed, open_tags
from audiopatch.writing.evidence import own_values
from audiopatch.writing.replace import Refused

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


FIELDS = ("genre", "mood", "grouping", "comment")
MIN_TRACKS, MIN_ARTISTS = 10, 3  # below these nobody can tell a label from its few artists
_ONE_ALBUM = 3  # artists: an album of more is a compilation, which does not make them one


@dataclass(frozen=True)
class Tagged:
    """``rows`` (M,) of the tracks that have a musical label at all, ``truth`` (M, C) of 0 and 1 for ``labels``.

    ``groups`` (M,) numbers artists: what shares one never stands on both sides of a validation. ``spellings`` says what
    was folded into what, ``left_out`` in a sentence each what will not be learnt.
    """

    rows: np.ndarray
    labels: tuple[str, ...]
    truth: np.ndarray
    groups: np.ndarray
    spellings: dict[str, list[str]]
    left_out: tuple[str, ...]


def read_tagged(
    vectors: Vectors,
    field: str,
    *,
    below: Sequence[str] = (),
    labels: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tagged:
    """Read ``field`` of the tracks (of those below some folders), fold its values, and leave out what is too rare.

    ``labels`` is a file of ``own_labels.write_labels`` that says what spellings mean. Values that ``audiopatch write``
    put there do not count: a model shall not learn from itself. Of files that are gone the tables know the genre.
    """
    if field not in FIELDS:
        raise UsageError(f"unknown field '{field}'; choose {', '.join(FIELDS)}")
    check_installed()
    rows = [row for row, path in enumerate(vectors.paths) if _is_below(path, below)]
    if not rows:
        raise UsageError(f"{vectors.tables.folder} has no tracks with vectors in {', '.join(below)}")
    values = []
    for done, row in enumerate(rows):
        values.append(_values(vectors, row, field))
        progress(done + 1, len(rows))
    folding, spellings = read_labels(labels) if labels else fold(text for some in values for text in some)
    return _chosen(vectors, rows, [folding(some) for some in values], spellings)


def _values(vectors: Vectors, row: int, field: str) -> tuple[str, ...]:
    try:
        _, tags = open_tags(vectors.paths[row])
        ours = own_values(tags, field.upper())
        return tuple(text for text in tags.read(field.upper()) if text not in ours)
    except (OSError, Refused):
        genre = vectors.tracks["genre"].iat[row] if field == "genre" else ""
        return (genre,) if genre else ()


def _is_below(path: str, folders: Sequence[str]) -> bool:
    wanted = [os.path.abspath(folder) for folder in folders]  # noqa: PTH100 (names as they are)
    return not wanted or any(path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for folder in wanted)


def _chosen(
    vectors: Vectors, rows: Sequence[int], labels_of: Sequence[tuple[str, ...]], spellings: dict[str, list[str]]
) -> Tagged:
    has = [place for place, labels in enumerate(labels_of) if labels]
    groups = artist_groups(vectors, [rows[place] for place in has])
    n_tracks = Counter(label for place in has for label in labels_of[place])
    artists: dict[str, set[int]] = defaultdict(set)
    for group, place in zip(groups, has, strict=True):
        for label in labels_of[place]:
            artists[label].add(int(group))
    kept = sorted(
        (label for label, n in n_tracks.items() if n >= MIN_TRACKS and len(artists[label]) >= MIN_ARTISTS),
        key=str.casefold,
    )
    rare = [label for label, _ in n_tracks.most_common() if label not in kept]
    why = [
        f"will not learn '{label}': {_many(n_tracks[label], 'track')} by {_many(len(artists[label]), 'artist')}"
        for label in rare
    ]
    no_label = [f"not a musical label: {', '.join(repr(text) for text in spellings[''])}"] if spellings.get("") else []
    truth = np.array([[label in labels_of[place] for label in kept] for place in has], np.float32)
    chosen = np.array([rows[place] for place in has], np.int64)
    return Tagged(chosen, tuple(kept), truth.reshape(len(has), len(kept)), groups, spellings, (*why, *no_label))


def artist_groups(vectors: Vectors, rows: Sequence[int]) -> np.ndarray:
    """(M,) numbers that are equal where tracks share an artist, or an album of few artists, by names and folders.

    A track that names neither counts with its folder.
    """
    parent: dict[tuple[str, ...], tuple[str, ...]] = {}

    def top(name: tuple[str, ...]) -> tuple[str, ...]:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    about = vectors.tracks.iloc[list(rows)]
    names = [
        (artist.casefold().strip(), (str(Path(path).parent), album.casefold().strip()))
        for artist, album, path in zip(about["artist"], about["album"], about["path"], strict=True)
    ]
    artists_of: dict[tuple[str, str], set[str]] = defaultdict(set)
    for artist, album in names:
        artists_of[album].add(artist)
    ids = []
    for artist, album in names:
        own: tuple[str, ...] = ("artist", artist) if artist else ("album", *album)
        ids.append(own)
        if artist and album[1] and len(artists_of[album]) <= _ONE_ALBUM:
            parent[top(own)] = top(("album", *album))
    tops = [top(own) for own in ids]
    number = {name: index for index, name in enumerate(dict.fromkeys(tops))}
    return np.array([number[name] for name in tops], np.int64)


def _many(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
