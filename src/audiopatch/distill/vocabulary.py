"""One vocabulary out of those of several teachers: a label for what they name differently, scored by all of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from audiopatch.distill.teacher import Answer, Standard, Teachers
from audiopatch.errors import UsageError
from audiopatch.models.config import HeadConfig
from audiopatch.models.heads import JointHead
from audiopatch.models.tagger import Tagger
from audiopatch.zoo.labels import load_terms, never_tags

MUSIC = "music"  # the label set that these teachers share
KNOWN_SETS = ("audioset", "msd_top50", "mtt_top50")


@dataclass(frozen=True)
class Mixing:
    """logits (B, C) of all teachers -> (B, V) of the labels: ``matrix`` (V, C) and ``offset`` (V,).

    All labels are on the first teacher's scale. What another says is brought there by one factor and one offset for
    all its labels, so that among those their order stays: a label that two teachers know is on average as sure, and
    as lively, for both. Where several speak, the mean of what they say gets their mean deviation back.
    """

    labels: tuple[str, ...]
    label_set: str
    matrix: Tensor
    offset: Tensor

    @classmethod
    def measure(cls, teachers: Teachers, logits: Tensor, *, first_share: float = 0.6) -> Mixing:
        """``logits`` (N, C) are the teachers' answers to a sample of music; the first of several teachers that know a
        label counts ``first_share``, the others share the rest."""
        label_set, terms = _terms(teachers)
        scales = _scales(logits, [sources for _, sources in terms])
        matrix = logits.new_zeros(len(terms), logits.shape[1])
        offset = logits.new_zeros(len(terms))
        for number, (_, sources) in enumerate(terms):
            rest = (1 - first_share) / max(1, len(sources) - 1)
            deviation = 0.0
            for place, (owner, classes) in enumerate(sources.items()):
                share = 1.0 if len(sources) == 1 else first_share if place == 0 else rest
                factor, shift = scales[owner]
                matrix[number, classes] = share * factor / len(classes)
                offset[number] += share * shift
                deviation += share * factor * float(Standard.measure(_said(logits, classes)[:, None]).std)
            if len(sources) > 1:
                said = Standard.measure((logits @ matrix[number] + offset[number])[:, None])
                widened = deviation / float(said.std)
                matrix[number] *= widened
                offset[number] = (offset[number] - said.mean[0]) * widened + said.mean[0]
        return cls(tuple(name for name, _ in terms), label_set, matrix, offset)

    def __call__(self, logits: Tensor) -> Tensor:
        return logits @ self.matrix.T + self.offset


@dataclass(frozen=True)
class Together:
    """Teachers who answer in the labels of a vocabulary; called as ``Teachers`` are."""

    teachers: Teachers
    mixing: Mixing

    @property
    def device(self) -> torch.device:
        return self.teachers.device

    def __call__(self, wave: Tensor, sample_rate: int) -> Answer:
        answer = self.teachers(wave, sample_rate)
        return replace(answer, logits=self.mixing(answer.logits))


def _scales(logits: Tensor, labels: Sequence[dict[int, list[int]]]) -> dict[int, tuple[float, float]]:
    """The factor and the offset that bring each teacher's logits to the scale of the first, by the labels both know."""
    owners = {owner for sources in labels for owner in sources}
    first = min(owners)
    found = dict.fromkeys(owners, (1.0, 0.0))
    for owner in owners - {first}:
        shared = [sources for sources in labels if owner in sources and first in sources]
        if shared:
            mine, theirs = (
                Standard.measure(torch.stack([_said(logits, sources[who]) for sources in shared], dim=1))
                for who in (first, owner)
            )
            factor = float(mine.std.mean() / theirs.std.mean())
            found[owner] = factor, float(mine.mean.mean() - factor * theirs.mean.mean())
    return found


def _said(logits: Tensor, classes: Sequence[int]) -> Tensor:
    """(N,): what a teacher says to a label that has several names among its classes."""
    return logits[:, classes].mean(dim=1)


def _terms(teachers: Teachers) -> tuple[str, list[tuple[str, dict[int, list[int]]]]]:
    """The label set, and for each label the classes of each teacher that knows it, by the teacher's number."""
    sets = [tagger.card.labels for tagger in teachers.taggers]
    owners = teachers.owners
    at = {(owners[place], teachers.labels[number]): place for place, number in enumerate(teachers.classes)}
    if set(sets) <= set(KNOWN_SETS):
        named = [(term.name, [term.sources[name] for name in sets]) for term in load_terms()]
        label_set = MUSIC
    else:
        theirs = [dict.fromkeys(tagger.labels) for tagger in teachers.taggers]
        names = dict.fromkeys(label for labels in theirs for label in labels)
        named = [(name, [(name,) if name in labels else () for labels in theirs]) for name in names]
        label_set = ""
    found = []
    for name, sources in named:
        classes = [[at[owner, tag] for tag in tags if (owner, tag) in at] for owner, tags in enumerate(sources)]
        if any(classes):
            found.append((name, {owner: group for owner, group in enumerate(classes) if group}))
    return label_set, found


@torch.no_grad()
def in_vocabulary(student: Tagger, mixing: Mixing) -> Tagger:
    """A copy of a student with the logits of several teachers (in their units), its head now giving the labels'.

    The parts of its joint head become one: their hidden layers side by side, the mixture folded into the last layer.
    """
    head = student.head
    assert isinstance(head, JointHead)
    parts: list[Any] = list(head.heads.values())
    n_inputs = student.card.backbone.n_features
    hidden = [nn.functional.pad(part[0].weight, (0, n_inputs - part[0].in_features)) for part in parts]
    last = torch.block_diag(*[part[3].weight for part in parts])
    config = HeadConfig(len(mixing.labels), "mlp", n_hidden=sum(map(len, hidden)), dropout=parts[0][2].p)
    card = replace(student.card, labels=mixing.label_set or student.card.labels, head=config)
    made = Tagger(card, mixing.labels)
    made.backbone = copy.deepcopy(student.backbone)
    made.frontend = student.frontend
    merged: Any = made.head
    merged[0].weight.copy_(torch.cat(hidden))
    merged[0].bias.copy_(torch.cat([part[0].bias for part in parts]))
    merged[3].weight.copy_(mixing.matrix.cpu().to(last) @ last)
    merged[3].bias.copy_(mixing.matrix.to(last) @ torch.cat([part[3].bias for part in parts]) + mixing.offset.to(last))
    made.weights_sha256 = student.weights_sha256
    return made.eval().requires_grad_(False).to(student.device)


@torch.no_grad()
def take_parts_of(merged: Tagger, student: Tagger) -> None:
    """Into ``student``, with a joint head, what ``in_vocabulary`` once made of such a one: all but the last layers.

    A UsageError where ``merged`` learnt from other teachers, or is of other sizes.
    """
    assert isinstance(student.head, JointHead)
    parts: list[Any] = list(student.head.heads.values())
    source: Any = merged.head
    try:
        backbone = merged.backbone.state_dict()
        anew = "stem.dropped_rows."  # which older ones had not
        fresh = {key: value for key, value in student.backbone.state_dict().items() if key.startswith(anew)}
        student.backbone.load_state_dict({**fresh, **backbone})
        rows = source[0].weight.split([part[0].out_features for part in parts])
        biases = source[0].bias.split([part[0].out_features for part in parts])
    except (RuntimeError, AttributeError, TypeError) as error:
        raise UsageError(f"{merged.card.name} did not learn from these teachers; give those that it names") from error
    for part, weight, bias in zip(parts, rows, biases, strict=True):
        part[0].weight.copy_(weight[:, : part[0].in_features])
        part[0].bias.copy_(bias)


def names_in(tagger: Tagger, label: str) -> tuple[str, ...]:
    """What a teacher calls a label of the vocabulary; empty where it does not know it."""
    if tagger.card.labels in KNOWN_SETS:
        return next((term.sources[tagger.card.labels] for term in load_terms() if term.name == label), ())
    return (label,) if label in tagger.labels else ()


def tags_of(labels: Sequence[str]) -> list[int]:
    """The numbers of those ``labels`` that are tags: not what a track is made of."""
    return [number for number, label in enumerate(labels) if label not in never_tags(MUSIC)]
