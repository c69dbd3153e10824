"""What a setting's answers are worth: on labelled clips, or without labels against those of the unreduced model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from audiopatch.bench.contender import Case, Contender
from audiopatch.datasets import DATASETS
from audiopatch.datasets.recipe import Dataset, Item, Recipe, targets
from audiopatch.datasets.waves import Waves, decode_waves, with_audio
from audiopatch.evaluation import metrics
from audiopatch.inference.clips import clip_rows
from audiopatch.inference.extract import Extractor
from audiopatch.models.tagger import Tagger
from audiopatch.storage.place import cache_folder
from audiopatch.training.config import ProbeConfig
from audiopatch.training.probe import POOLED, ClipFeatures, Fit, fitting_split
from audiopatch.types import Segment
from audiopatch.zoo.load import load_model

_TOP = 10
_LEAST = 1e-7  # of a score and of what it lacks to 1, lest its log-odds (then -16 to 16) be infinite in float32


class Quality(NamedTuple):
    """A figure in 0..1, and what it is, such as ``esc10 accuracy``."""

    value: float
    name: str


class Judge(Protocol):
    """Says what a model of the zoo is worth under its case."""

    def quality(self, contender: Contender) -> Quality: ...


class Unreduced:
    """Compares with the unreduced model in float32, on the same ``segments`` of each model.

    A shrunk model is compared with the whole one, where that takes part, too.
    """

    def __init__(self, segments: Mapping[str, Sequence[Segment]], device: str):
        self._segments = segments
        self._device = device
        self._answers: dict[Case, Tensor] = {}

    def quality(self, contender: Contender) -> Quality:
        """How far the answers agree: top-ten tags that are kept, or the cosine of embeddings."""
        scores = contender.case.block is None
        name = "top-10 tags kept" if scores else "cosine of embeddings"
        value = agreement(self._answer(contender), self._reference(contender), scores=scores)
        whole = self._whole(contender)
        other = "the unreduced model" if whole == contender.case.model else whole
        return Quality(value, f"agreement with {other} ({name})")

    def error(self, contender: Contender) -> float:
        """|outputs - reference| / |reference| of the scores' log-odds or of embeddings, over all segments at once."""
        outputs, reference = self._answer(contender), self._reference(contender)
        if contender.case.block is None:
            outputs, reference = log_odds(outputs), log_odds(reference)
        return relative_error(outputs, reference)

    def _whole(self, contender: Contender) -> str:
        """The model to compare with; blocks of a shrunk one are not those of the whole."""
        assert contender.tagger is not None
        origin = contender.tagger.card.shrunk_from
        return origin if origin in self._segments and contender.case.block is None else contender.case.model

    def _reference(self, contender: Contender) -> Tensor:
        model = self._whole(contender)
        full = Case(model, dtype="float32", block=contender.case.block)
        if full not in self._answers:
            self._answers[full] = self._extract(full, load_model(model, device=self._device, dtype="float32"))
        return self._answers[full]

    def _answer(self, contender: Contender) -> Tensor:
        if contender.case not in self._answers:
            assert contender.tagger is not None
            self._answers[contender.case] = self._extract(contender.case, contender.tagger)
        return self._answers[contender.case]

    def _extract(self, case: Case, tagger: Tagger) -> Tensor:
        """Scores (N, C) or embeddings (N, E) of the model's segments, one at a time: that shape is compiled already."""
        found = Extractor(tagger, case.analysis, batch_size=1)(self._segments[case.model])
        values = found.scores if case.block is None else found.embeddings
        assert values is not None
        return torch.from_numpy(values)


class Labelled:
    """A labelled dataset; the first of its metrics on its test split is the quality.

    UsageError where it is not there or not whole, NoAudioError where nothing of it can be decoded.
    """

    def __init__(self, name: str, root: Path):
        recipe: Recipe = DATASETS.load(name)
        self.dataset: Dataset = recipe.read(root.expanduser().resolve())
        self.metric: str = self.dataset.metrics[0]
        self._waves: dict[int, Waves] = {}

    def quality(self, contender: Contender) -> Quality:
        """Of the scores where the model knows the labels; else of a probe on its features or embeddings."""
        assert contender.tagger is not None
        waves = self._decoded(contender.tagger.frontend.sample_rate)
        dataset = with_audio(self.dataset, waves)
        knows = set(dataset.labels) <= set(contender.tagger.labels)
        if knows and contender.case.block is None:
            return Quality(self._own(contender, dataset, waves), f"{dataset.name} {self.metric}")
        return Quality(self._probed(contender, dataset, waves), f"{dataset.name} {self.metric} of a probe")

    def _decoded(self, sample_rate: int) -> Waves:
        if sample_rate not in self._waves:
            paths = [item.path for items in self.dataset.splits.values() for item in items]
            self._waves[sample_rate] = decode_waves(paths, sample_rate, cache_folder(), workers=1)
        return self._waves[sample_rate]

    def _own(self, contender: Contender, dataset: Dataset, waves: Waves) -> float:
        tagger, test = contender.tagger, dataset.items("test")
        assert tagger is not None
        rows = clip_rows(tagger, waves.clips(test), contender.case.analysis)
        test = [item for item, kept in zip(test, rows.kept, strict=True) if kept]
        return self._figure(test, rows.scores[:, [tagger.labels.index(label) for label in dataset.labels]])

    def _probed(self, contender: Contender, dataset: Dataset, waves: Waves) -> float:
        """By an MLP as in MAEST (section 4.1), fitted on what the contender makes of the training clips."""
        tagger = contender.tagger
        assert tagger is not None
        config = ProbeConfig(dataset.name, lrs=(1e-3, 1e-4))
        train, valid = fitting_split(dataset, config.seed)
        test = dataset.items("test")

        items = (*train, *valid, *test)
        analysis = replace(contender.case.analysis, tags=False, embeddings=True)
        rows = clip_rows(tagger, waves.clips(items), analysis).require_all([item.path for item in items])
        x = rows.embeddings  # (N, E)
        cell = (POOLED, ("pooled",))
        features = ClipFeatures((POOLED,), ("pooled",), x[: -len(test), None, None])
        fit = Fit(config, dataset, train, valid, features, torch.device("cpu"))
        usual = {"weight_decay": config.weight_decays[0], "dropout": config.dropouts[0]}
        best = max((fit(cell, {"lr": lr, **usual}) for lr in config.lrs), key=lambda fitted: fitted.value)
        with torch.no_grad():
            return self._figure(test, fit.head(best)(torch.from_numpy(x[-len(test) :])).sigmoid().numpy())

    def _figure(self, items: Sequence[Item], scores: np.ndarray) -> float:
        truth, known = targets(items, self.dataset.labels)
        figures = metrics.summary(truth, scores, known, multilabel=self.dataset.multilabel)
        return figures[self.metric]


def agreement(outputs: Tensor, reference: Tensor, *, scores: bool) -> float:
    """0..1, mean over segments, of outputs (B, E) against those of the full model in float32.

    Of ``scores``: the share of its ten best labels that are still among the ten best (of a fifth of them, where there
    are fewer than fifty). Of embeddings: the cosine.
    """
    if not scores:
        return float(torch.cosine_similarity(outputs, reference, dim=1).mean())
    k = max(1, min(_TOP, reference.shape[1] // 5))
    best, found = reference.topk(k, dim=1).indices, outputs.topk(k, dim=1).indices
    return float((best[:, :, None] == found[:, None, :]).any(dim=2).float().mean())


def log_odds(scores: Tensor) -> Tensor:
    """Scores in 0..1 -> log(score / (1 - score)): the logits of a model whose labels may coexist, from -16 to 16."""
    return torch.logit(scores, eps=_LEAST)


def relative_error(outputs: Tensor, reference: Tensor) -> float:
    """|outputs - reference| / |reference|, over all segments at once."""
    return float((outputs - reference).norm() / reference.norm())
