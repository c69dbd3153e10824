"""The tracks of a run with the labels of their own tags, and which of them come from one artist."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiopatch.errors import UsageError
from audiopatch.library.own_labels import fold, read_labels
from audiopatch.library.vectors import Vectors
from audiopatch.writing.containers import check_installed, open_tags
from audiopatch.writing.evidence import own_values
from audiopatch.writing.replace import Refused

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
