"""Label sets that ship with the package: the class order of the published models, and the trees behind them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from audiopatch.errors import WeightsError

if TYPE_CHECKING:
    import pandas as pd

GROUPS = ("genre", "mood", "era", "voice", "instrument", "role", "sound")
CONTENT = "content"  # Music, Speech, Silence: how much of a track is what, never one of its tags
OWN = "own"  # the set of somebody's own labels; "own genre" where a field of files taught them

_SEPARATOR = "---"  # Discogs labels are written Parent---Leaf
_TREE_GROUPS = {
    "Music genre": "genre",
    "Music mood": "mood",
    "Music role": "role",
    "Musical instrument": "instrument",
    "Human voice": "voice",
    "Music": "",
    "Musical concepts": "",
}  # of AudioSet's nodes and all below them; anything else there is a sound


@dataclass(frozen=True)
class Label:
    """One class: ``name`` as the model's authors write it; ``parent`` is empty where there is no tree.

    ``group`` is what kind of thing it says about a track: one of GROUPS, CONTENT, or "" where that is not known.
    """

    name: str
    parent: str
    leaf: str
    group: str = ""


def load_labels(name: str) -> tuple[str, ...]:
    """The class names of a label set, in the order of the logits. ``classes-N`` gives N numbered ones."""
    count = name.removeprefix("classes-")
    if count != name and count.isdecimal():
        return tuple(f"class {index}" for index in range(int(count)))
    if name == "audioset_music":
        return tuple(term.name for term in load_vocabulary())
    if name == "music":
        return tuple(term.name for term in load_terms())
    path = resources.files("audiopatch.zoo") / "labels" / f"{name}.txt"
    if not name.isidentifier() or not path.is_file():
        raise WeightsError(f"there is no label set called '{name}'")
    return tuple(path.read_text(encoding="utf-8").splitlines())


def content_of(label_set: str, names: Sequence[str]) -> dict[str, int]:
    """music, speech, silence -> the number of the class that says how much of it there is, where a model has one."""
    if label_set not in ("music", "audioset", "audioset_music"):
        return {}
    leaves = [split_label(name).leaf for name in names]
    return {leaf.lower(): leaves.index(leaf) for leaf in ("Music", "Speech", "Silence") if leaf in leaves}


def never_tags(label_set: str) -> frozenset[str]:
    """Labels of a set that say what a track is made of, and are columns of ``tracks`` instead of tags."""
    return (
        frozenset(term.name for term in load_terms() if term.group == CONTENT) if label_set == "music" else frozenset()
    )


def describe_labels(label_set: str, names: Sequence[str]) -> tuple[Label, ...]:
    """Each class with its place in its tree (Discogs' parent genre, AudioSet's in the ontology) and its group.

    Labels that were genres in somebody's files are genres, whatever they are called; of own labels all are tags, also
    "speech" and "music".
    """
    kind = label_set.removeprefix(f"{OWN} ")
    if kind in GROUPS:
        return tuple(replace(split_label(name), group=kind) for name in names)
    if label_set.startswith(OWN):
        own = map(split_label, names)
        return tuple(replace(label, group="") if label.group == CONTENT else label for label in own)
    parents = label_parents(label_set)
    return tuple(
        Label(name, parents[name], name, group_of(name)) if name in parents else split_label(name) for name in names
    )


def label_parents(label_set: str) -> Mapping[str, str]:
    """Label -> parent, for sets whose labels do not carry it: AudioSet's. Empty for any other."""
    return audioset_parents() if label_set == "audioset" else {}


def split_label(name: str) -> Label:
    """``Electronic---House`` -> parent Electronic, leaf House, group genre."""
    parent, separator, leaf = name.partition(_SEPARATOR)
    return Label(name, parent, leaf, group_of(name)) if separator else Label(name, "", name, group_of(name))


def groups_in(labels: pd.DataFrame) -> dict[str, str]:
    """Label -> group by the table ``labels`` of a run; by its name alone where an older version wrote none."""
    names = labels["label"].tolist()
    if "group" not in labels:
        return {name: group_of(name) for name in names}
    return dict(zip(names, labels["group"].astype(object).where(labels["group"].notna(), "").tolist(), strict=True))


@cache
def group_of(name: str) -> str:
    """The group of a label by its name alone, as tables of any age hold it: ``Genre---Disco``, ``Blues---Delta Blues``
    (Discogs), ``Heavy metal`` (AudioSet), ``female vocalists`` (tags of MSD and MTT), ``Electric_guitar`` (FSD50K)."""
    parent, separator, _ = name.partition(_SEPARATOR)
    if separator:
        kind = parent.lower().partition("/")[0]  # MTG-Jamendo has mood/theme
        if kind in (*GROUPS, CONTENT):
            return kind
        return _discogs_groups().get(parent, "")
    plain = name.replace("_", " ")
    tree = audioset_parents()
    for node in (name, plain):
        if node in tree:
            return _climb(node, tree)
    return _tag_groups().get(plain.lower(), "")


def _climb(node: str, tree: Mapping[str, str]) -> str:
    while node:
        if node in _TREE_GROUPS:
            return _TREE_GROUPS[node]
        node = tree[node]
    return "sound"


@cache
def _discogs_groups() -> Mapping[str, str]:
    """Top genre of Discogs -> genre, but for what is no music."""
    parents = {name.partition(_SEPARATOR)[0] for name in load_labels("discogs519")}
    return {parent: "sound" if parent == "Non-Music" else "genre" for parent in parents}


@cache
def _tag_groups() -> Mapping[str, str]:
    """Tag in lower case -> group, for all names that the default vocabulary or one of its teachers has."""
    return {
        name.lower(): term.group
        for term in load_terms()
        for name in (*(tag for tags in term.sources.values() for tag in tags), term.label)
    }


@cache
def audioset_parents() -> Mapping[str, str]:
    """Node of the AudioSet ontology -> its parent, "" for the seven roots.

    The ontology is no strict tree: 38 nodes have several parents, of which the first in the ontology's order counts.
    All 632 nodes are here, also those that are no class ("Human sounds"), so that one may climb to a root.
    """
    path = resources.files("audiopatch.zoo") / "labels" / "audioset_tree.tsv"
    rows = (line.split("\t", maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines())
    return dict(rows)


@dataclass(frozen=True)
class Term:
    """One class: its number and machine id in AudioSet, its label, its parent in the ontology (or ""), its group.

    ``group`` is music, genre, mood, role, instrument, voice or sound.
    """

    index: int
    mid: str
    label: str
    parent: str
    group: str

    @property
    def name(self) -> str:
        """``Genre---Heavy metal``: the label as model folders store it, group and leaf (see ``labels.split_label``)."""
        return self.label if self.group == "music" else f"{self.group.capitalize()}---{self.label}"


def load_vocabulary() -> tuple[Term, ...]:
    """The terms of ``labels/audioset_music.csv``, in the order of the default model's logits."""
    text = (resources.files("audiopatch.zoo") / "labels" / "audioset_music.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return tuple(Term(int(row["index"]), row["mid"], row["label"], row["parent"], row["group"]) for row in rows)


@dataclass(frozen=True)
class MusicTerm:
    """One class of the default model: its label, its group, and what its teachers call it.

    ``sources``  label set (``audioset``, ``msd_top50``, ``mtt_top50``) -> names there, none or several
    """

    label: str
    group: str
    sources: Mapping[str, tuple[str, ...]]

    @property
    def name(self) -> str:
        """``Genre---Heavy metal``, as model folders store it; ``Music`` itself has no group there."""
        return self.label if self.group == CONTENT else f"{self.group.capitalize()}{_SEPARATOR}{self.label}"


@cache
def load_terms() -> tuple[MusicTerm, ...]:
    """The terms of ``labels/music.csv``, in the order of the default model's logits."""
    text = (resources.files("audiopatch.zoo") / "labels" / "music.csv").read_text(encoding="utf-8")
    columns = {"audioset": "audioset", "msd": "msd_top50", "mtt": "mtt_top50"}
    return tuple(
        MusicTerm(
            row["label"],
            row["group"],
            {name: tuple(row[column].split("|")) if row[column] else () for column, name in columns.items()},
        )
        for row in csv.DictReader(text.splitlines())
    )
