"""Models side by side: what they are, what they cost, what is published of them, and how fast each runs here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from audiopatch.bench.measure import time_runs
from audiopatch.inference.extract import batch_size_for
from audiopatch.models.card import ModelCard
from audiopatch.models.cost import cost_of
from audiopatch.models.engines.eager import fast_float32
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import NO_REDUCTION, Plan, parse_plan
from audiopatch.storage.place import at_home
from audiopatch.zoo import native
from audiopatch.zoo.cards import CARDS, shipped_folder
from audiopatch.zoo.load import random_tagger, read_model


@dataclass(frozen=True)
class Comparison:
    """One model; ``size_bytes`` is that of its weights' file, None where there is none.

    ``n_params`` and ``macs`` (of one segment) are counted; ``real_time`` is seconds of audio per second of one core,
    front-end included, on the machine that runs this, or None where it was not measured. ``real_time_thinned`` is the
    same with patchout F3T2 (F0T2 where there is one row of patches), None for a network without tokens.
    """

    name: str
    summary: str
    segment_s: float
    sample_rate: int
    n_labels: int
    label_set: str
    n_params: int
    size_bytes: int | None
    macs: int
    real_time: float | None
    real_time_thinned: float | None
    licence: str
    code_licence: str
    page: str
    scores: dict[str, float] = field(default_factory=dict)


def compare_models(names: Sequence[str], *, measure: bool = True, repeats: int = 3) -> list[Comparison]:
    """Known models by name and others by their file or folder, in their order.

    Speeds are measured in turns, in float32 with torch on one thread, in batches of whole segments as a run takes them;
    of known models on random weights, which do not matter to them.
    """
    taggers = [random_tagger(CARDS[name]).eval() if name in CARDS else read_model(name) for name in names]
    whole, thinned = ([None] * len(names), [None] * len(names))
    if measure:
        whole = _real_times(taggers, [NO_REDUCTION] * len(names), repeats)
        thinned = _real_times(taggers, [_thinning(tagger) for tagger in taggers], repeats)
    return [_comparison(*row) for row in zip(names, taggers, whole, thinned, strict=True)]


def _size_bytes(name: str, card: ModelCard) -> int | None:
    """Of the weights' file, on this machine or as published."""
    place = shipped_folder(name) or at_home(name)
    file = place / native.WEIGHTS_FILE if place.is_dir() else place
    if file.is_file():
        return file.stat().st_size
    return (card.weights.size_bytes or None) if card.weights else None


def _thinning(tagger: Tagger) -> Plan | None:
    if tagger.grid is None:
        return None
    return parse_plan("F3T2" if tagger.grid[0] > 1 else "F0T2")


def _real_times(taggers: Sequence[Tagger], plans: Sequence[Plan | None], repeats: int) -> list[float | None]:
    """Seconds of audio per second of one core, the best of some runs; None without a plan."""
    runs = {index: _batch_of(taggers[index], plan) for index, plan in enumerate(plans) if plan is not None}
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with fast_float32():
            timings = dict(zip(runs, time_runs(list(runs.values()), repeats=repeats, clock="cpu"), strict=True))
    finally:
        torch.set_num_threads(n_threads)
    best_s = {index: timing.best_s for index, timing in timings.items() if timing is not None}
    audio_s = [batch_size_for(tagger) * tagger.card.segment_s for tagger in taggers]
    return [seconds / best_s[index] if index in best_s else None for index, seconds in enumerate(audio_s)]


def _batch_of(tagger: Tagger, plan: Plan) -> Callable[[], None]:
    n_samples = round(tagger.card.segment_s * tagger.frontend.sample_rate)
    wave = torch.randn(batch_size_for(tagger), n_samples) * 0.1

    def run() -> None:
        with torch.inference_mode():
            tagger(tagger.hear(wave, plan), plan)

    run()
    return run


def _comparison(name: str, tagger: Tagger, real_time: float | None, real_time_thinned: float | None) -> Comparison:
    card, cost = tagger.card, cost_of(tagger.card)
    return Comparison(
        name=card.name,
        summary=card.summary,
        segment_s=card.segment_s,
        sample_rate=tagger.frontend.sample_rate,
        n_labels=card.head.n_classes,
        label_set=card.labels if card.head.n_classes else "",
        n_params=cost.n_params,
        size_bytes=_size_bytes(name, card),
        macs=cost.macs,
        real_time=real_time,
        real_time_thinned=real_time_thinned,
        licence=card.licence,
        code_licence=card.code_licence,
        page=card.page,
        scores=dict(card.scores),
    )
