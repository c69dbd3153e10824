"""Which labels somebody means: "metal" is Heavy metal, "hiphop" is Hip hop music."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from audiopatch.catalog import nearest
from audiopatch.errors import UsageError
from audiopatch.models.card import ModelCard
from audiopatch.storage.place import at_home
from audiopatch.tables.read import read
from audiopatch.zoo import DEFAULT_MODEL, find_card
from audiopatch.zoo.cards import CARD_FILE, LABELS_FILE, shipped_folder
from audiopatch.zoo.labels import (
    CONTENT,
    GROUPS,
    Label,
    describe_labels,
    groups_in,
    load_labels,
    load_terms,
    split_label,
)

if TYPE_CHECKING:
    import pandas as pd

# what people write -> what labels say, where the vocabularies of the packaged models do not bring them together
_SAID = {
    "dnb": "drum and bass",
    "d n b": "drum and bass",
    "edm": "electronic dance music",
    "hiphop": "hip hop",
    "rap": "hip hop",
    "r b": "rhythm and blues",
    "rnb": "rhythm and blues",
    "classic": "classical",
    "electro": "electronic",
    "electronica": "electronic",
    "vocals": "singing",
    "vocal": "singing",
    "synth": "synthesizer",
    "scifi": "science fiction",
    "calm": "tender",
    "relaxing": "chill",
    "drums": "drum kit",
}
_EMPTY_WORDS = {"music", "and", "the", "n"}


def find_labels(words: str, names: Sequence[str]) -> list[str]:
    """The labels among ``names`` that ``words`` mean, the nearest first: by name, by synonym, by the words in them.

    None is a UsageError with the nearest one that exists.
    """
    leaves = {name: _plain(split_label(name).leaf) for name in names}
    asked = _plain(words)
    for meant in dict.fromkeys((asked, _SAID.get(asked, asked))):
        exact = [name for name, leaf in leaves.items() if _same(meant, leaf) or meant == _plain(name)]
        known = _synonyms().get(meant, frozenset())
        same = [name for name, leaf in leaves.items() if leaf in known and name not in exact]
        holding = [name for name, leaf in leaves.items() if _holds(leaf, meant) and name not in (*exact, *same)]
        found = exact + same + sorted(holding, key=lambda name: (len(leaves[name]), name))
        if found:
            return found
    known = {part for leaf in leaves.values() for part in (leaf, *leaf.split())} - _EMPTY_WORDS
    cure = nearest(asked, known, otherwise="'audiopatch labels' lists the labels")
    raise UsageError(f"no track and no label is called '{words}'; {cure}")


def _plain(text: str) -> str:
    """Lower case, words alone: ``Rock_and_roll`` and ``rock & roll`` are one."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


def _same(asked: str, leaf: str) -> bool:
    """``hip hop`` is ``hip hop music``, and no other kind of music is."""
    return asked == leaf or asked == leaf.removesuffix(" music")


def _holds(leaf: str, asked: str) -> bool:
    wanted = set(asked.split()) - _EMPTY_WORDS
    return bool(wanted) and wanted <= set(leaf.split())


@cache
def _synonyms() -> dict[str, frozenset[str]]:
    """Plain name -> the plain names of the same thing, as the default vocabulary brings its teachers' together."""
    table: dict[str, set[str]] = {}
    for term in load_terms():
        same = {_plain(name) for names in term.sources.values() for name in names} | {_plain(term.label)}
        for name in same:
            table.setdefault(name, set()).update(same - {name})
    return {name: frozenset(same) for name, same in table.items()}


def labels(
    model: str = DEFAULT_MODEL, *, tables: str | os.PathLike[str] | None = None, words: str | None = None
) -> list[Label]:
    """The labels of a model, or of the run that wrote ``tables``, by group; with ``words`` only what those mean."""
    found = {label.name: label for label in (_of_model(model) if tables is None else _of_run(read(tables).labels))}
    chosen = found if words is None else find_labels(words, list(found))
    order = {group: number for number, group in enumerate((*GROUPS, CONTENT, ""))}
    return sorted((found[name] for name in chosen), key=lambda label: order[label.group])


def _of_run(labels: pd.DataFrame) -> list[Label]:
    return [replace(split_label(name), group=group) for name, group in groups_in(labels).items()]


def _of_model(model: str) -> Sequence[Label]:
    folder = shipped_folder(model) or at_home(model)
    card, names = folder / CARD_FILE, folder / LABELS_FILE
    if not (card.is_file() and names.is_file()):
        label_set = find_card(model).labels
        return describe_labels(label_set, load_labels(label_set))
    label_set = ModelCard.from_json(card.read_text(encoding="utf-8")).labels
    return describe_labels(label_set, names.read_text(encoding="utf-8").splitlines())
