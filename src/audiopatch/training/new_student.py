"""Which network learns, from which weights on, and which of the teacher's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from audiopatch.models.card import ModelCard
from audiopatch.models.tagger import Tagger
from audiopatch.zoo.labels import load_vocabulary, split_label
from audiopatch.zoo.load import random_tagger, read_model


def new_student(student: str, teacher: Tagger, *, name: str) -> Tagger:
    """A network with the architecture of ``student``, a model or a card.json, on the teacher's device.

    It goes on from that model's weights where the teacher knows all of its classes. Else it takes the
    teacher's, and starts from random weights, as ``random/NAME`` and a card.json do.
    """
    before = _read(student)
    labels: Sequence[str] = before.labels
    card = replace(
        before.card, name=name, weights=None, scores={}, thresholds={}, licence="", multilabel=teacher.card.multilabel,
        paper=f"distilled from {teacher.card.name} by function matching (Beyer et al. 2022)",
    )  # fmt: skip
    known = all(_at(label, teacher.labels) is not None for label in labels)
    if not known:
        labels = teacher.labels
        card = replace(card, labels=teacher.card.labels, head=replace(card.head, n_classes=len(labels)))
    card = replace(card, summary=f"{len(labels)} classes of {teacher.card.name}, learnt from unlabelled music")
    tagger = random_tagger(card, labels)
    if known:
        tagger.load_state_dict(before.state_dict())
        tagger.weights_sha256 = before.weights_sha256
    return tagger.to(teacher.device)


def classes_of(labels: Sequence[str], teachers: Sequence[str]) -> list[int]:
    """The numbers of ``labels`` among the teacher's; ``Genre---Rock music`` is its ``Rock music``."""
    numbers = [_at(label, teachers) for label in labels]
    return [number for number in numbers if number is not None]


def ranked_of(student: Tagger) -> list[int] | None:
    """The classes that compete for the first place, where the vocabulary says so: not "Music", nor mere sounds."""
    if student.card.labels != "audioset_music":
        return None
    return [number for number, term in enumerate(load_vocabulary()) if term.group not in ("music", "sound")]


def _read(student: str) -> Tagger:
    if student.endswith(".json"):
        return random_tagger(ModelCard.from_json(Path(student).expanduser().read_text(encoding="utf-8")))
    return read_model(student)


def _at(label: str, labels: Sequence[str]) -> int | None:
    for name in (label, split_label(label).leaf):
        if name in labels:
            return labels.index(name)
    return None
