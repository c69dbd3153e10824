"""Models side by side: what they are, what they cost, what is published of them, and how fast each runs here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from audiopatch.bench.measure import time_runs
from audiopatch.models.card import ModelCard
from audiopatch.models.cost import cost_of
from audiopatch.models.tagger import Tagger
from audiopatch.zoo.cards import find_card
from audiopatch.zoo.load import random_tagger


@dataclass(frozen=True)
class Comparison:
    """One model.

    ``n_params`` and ``macs`` (of one segment) are counted; ``real_time`` is seconds of audio per second of CPU time,
    over all threads, front-end included, on the machine that runs this, or None where it was not measured.
    """

    name: str
    summary: str
    segment_s: float
    sample_rate: int
    n_labels: int
    label_set: str
    n_params: int
    macs: int
    real_time: float | None
    licence: str
    code_licence: str
    page: str
    scores: dict[str, float] = field(default_factory=dict)


def compare_models(names: Sequence[str], *, measure: bool = True, repeats: int = 3) -> list[Comparison]:
    """Known models by name, in their order. Speeds are measured in turns, on random weights, which do not matter to
    them, in float32 with torch, one whole segment at a time."""
    cards = [find_card(name) for name in names]
    taggers = [random_tagger(card).eval() for card in cards]
    speeds: list[float | None] = [None] * len(cards)
    if measure:
        timings = time_runs([_segment_of(tagger) for tagger in taggers], repeats=repeats, clock="cpu")
        speeds = [card.segment_s / timing.best_s for card, timing in zip(cards, timings, strict=True)]
    return [
        _comparison(card, tagger.frontend.sample_rate, speed)
        for card, tagger, speed in zip(cards, taggers, speeds, strict=True)
    ]


def _segment_of(tagger: Tagger) -> Callable[[], None]:
    wave = torch.randn(1, round(tagger.card.segment_s * tagger.frontend.sample_rate)) * 0.1

    def run() -> None:
        with torch.inference_mode():
            tagger(tagger.frontend(wave))

    return run


def _comparison(card: ModelCard, sample_rate: int, real_time: float | None) -> Comparison:
    cost = cost_of(card)
    return Comparison(
        name=card.name,
        summary=card.summary,
        segment_s=card.segment_s,
        sample_rate=sample_rate,
        n_labels=card.head.n_classes,
        label_set=card.labels if card.head.n_classes else "",
        n_params=cost.n_params,
        macs=cost.macs,
        real_time=real_time,
        licence=card.licence,
        code_licence=card.code_licence,
        page=card.page,
        scores=dict(card.scores),
    )
