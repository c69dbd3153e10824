"""Which network learns, and which of the teacher's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from audiopatch.models.card import ModelCard
from audiopatch.models.tagger import Tagger
from audiopatch.zoo import find_card
from audiopatch.zoo.labels import load_labels, split_label
from audiopatch.zoo.load import load_model, random_tagger
from audiopatch.zoo.vocabulary import load_vocabulary


def new_student(student: str, teacher: Tagger, *, name: str) -> Tagger:
    """A random network with the architecture of a model or of a card.json, on the teacher's device.

    It keeps the classes of that model where the teacher knows all of them, and else takes the teacher's.
    """
    card = _card(student)
    labels: Sequence[str] = load_labels(card.labels)
    if not all(_at(label, teacher.labels) is not None for label in labels):
        labels = teacher.labels
        card = replace(card, labels=teacher.card.labels, head=replace(card.head, n_classes=len(labels)))
    card = replace(
        card, name=name, weights=None, scores={}, thresholds={}, licence="", multilabel=teacher.card.multilabel,
        paper=f"distilled from {teacher.card.name} by function matching (Beyer et al. 2022)",
        summary=f"{len(labels)} classes of {teacher.card.name}, learnt from unlabelled music",
    )  # fmt: skip
    return random_tagger(card, labels).to(teacher.device)


def classes_of(labels: Sequence[str], teachers: Sequence[str]) -> list[int]:
    """The numbers of ``labels`` among the teacher's; ``Genre---Rock music`` is its ``Rock music``."""
    numbers = [_at(label, teachers) for label in labels]
    return [number for number in numbers if number is not None]


def ranked_of(student: Tagger) -> list[int] | None:
    """The classes that compete for the first place, where the vocabulary says so: not "Music", nor mere sounds."""
    if student.card.labels != "audioset_music":
        return None
    return [number for number, term in enumerate(load_vocabulary()) if term.group not in ("music", "sound")]


def _card(student: str) -> ModelCard:
    path = Path(student).expanduser()
    if path.is_file() and path.suffix == ".json":
        return ModelCard.from_json(path.read_text(encoding="utf-8"))
    return load_model(path, device="cpu", offline=True).card if path.exists() else find_card(student)


def _at(label: str, labels: Sequence[str]) -> int | None:
    for name in (label, split_label(label).leaf):
        if name in labels:
            return labels.index(name)
    return None
