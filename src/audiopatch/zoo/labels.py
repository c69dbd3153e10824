"""Label sets that ship with the package: the class order of the published models, and the trees behind them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from audiopatch.errors import WeightsError

_SEPARATOR = "---"  # Discogs labels are written Parent---Leaf


@dataclass(frozen=True)
class Label:
    """One class: ``name`` as the model's authors write it; ``parent`` is empty where there is no tree."""

    name: str
    parent: str
    leaf: str


def load_labels(name: str) -> tuple[str, ...]:
    """The class names of a label set, in the order of the logits. ``classes-N`` gives N numbered ones."""
    count = name.removeprefix("classes-")
    if count != name and count.isdecimal():
        return tuple(f"class {index}" for index in range(int(count)))
    if name == "audioset_music":
        return tuple(term.name for term in load_vocabulary())
    path = resources.files("audiopatch.zoo") / "labels" / f"{name}.txt"
    if not name.isidentifier() or not path.is_file():
        raise WeightsError(f"there is no label set called '{name}'")
    return tuple(path.read_text(encoding="utf-8").splitlines())


def describe_labels(label_set: str, names: Sequence[str]) -> tuple[Label, ...]:
    """Each class with its place in its tree: Discogs' parent genre, AudioSet's parent in the ontology."""
    parents = label_parents(label_set)
    return tuple(Label(name, parents[name], name) if name in parents else split_label(name) for name in names)


def label_parents(label_set: str) -> Mapping[str, str]:
    """Label -> parent, for sets whose labels do not carry it: AudioSet's. Empty for any other."""
    return audioset_parents() if label_set == "audioset" else {}


def split_label(name: str) -> Label:
    """``Electronic---House`` -> parent Electronic, leaf House."""
    parent, separator, leaf = name.partition(_SEPARATOR)
    return Label(name, parent, leaf) if separator else Label(name, "", name)


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
