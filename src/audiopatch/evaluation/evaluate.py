"""How good a model is on labelled clips: scores by segments, figures by clip and by track, with their uncertainty."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from audiopatch.datasets.recipe import Dataset, Item, LeftOut, targets
from audiopatch.datasets.waves import OnProgress, Waves, quiet
from audiopatch.errors import UsageError
from audiopatch.evaluation import bootstrap, metrics
from audiopatch.inference.clips import clip_rows
from audiopatch.inference.settings import Analysis
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import NO_REDUCTION, Plan


@dataclass(frozen=True)
class Evaluation:
    """Scores of a split: truth and scores (N, C), known (N, C) bool, and each row's clip and track."""

    labels: tuple[str, ...]
    multilabel: bool
    items: tuple[Item, ...]
    truth: np.ndarray
    known: np.ndarray
    scores: np.ndarray
    left_out: tuple[LeftOut, ...] = ()  # clips that the model could not score, and why

    @property
    def tracks(self) -> np.ndarray:
        """(N,) names; clips without one are tracks of their own."""
        return np.array([item.track or str(item.path) for item in self.items])

    def only(self, paths: Collection[Path]) -> Evaluation:
        """The rows of some clips."""
        kept = [row for row, item in enumerate(self.items) if item.path in paths]
        items = tuple(self.items[row] for row in kept)
        truth, known, scores = self.truth[kept], self.known[kept], self.scores[kept]
        return replace(self, items=items, truth=truth, known=known, scores=scores)

    def by_track(self) -> Evaluation:
        """One row per track: the mean of its clips' scores, every label one of them has."""
        names, first, row = np.unique(self.tracks, return_index=True, return_inverse=True)
        if len(names) == len(self.items):
            return self
        count = np.bincount(row)[:, None]
        scores, truth, known = (np.zeros((len(names), len(self.labels)), np.float32) for _ in range(3))
        np.add.at(scores, row, self.scores)
        np.maximum.at(truth, row, self.truth)
        np.maximum.at(known, row, self.known.astype(np.float32))
        items = tuple(self.items[index] for index in first)
        return Evaluation(self.labels, self.multilabel, items, truth, known > 0, scores / count)


def evaluate(
    tagger: Tagger,
    dataset: Dataset,
    waves: Waves,
    *,
    split: str = "test",
    plan: Plan = NO_REDUCTION,
    pool: str = "mean",
    overlap: float = 0.5,
    batch_size: int | None = None,
    report: OnProgress = quiet,
) -> Evaluation:
    """Score a split, each clip as ``tag`` scores a track; those it could not tag are left out, for the same reasons.

    ``plan`` reduces tokens, ``pool`` and ``overlap`` (0 to below 1) make a clip's scores of those of its segments,
    ``batch_size`` segments are computed at once (None: what suits the device). A model that lacks labels of the
    dataset is a UsageError.
    """
    columns = _columns(tagger.labels, dataset)
    items = tuple(item for item in dataset.items(split) if item.path in waves)
    if not items:
        raise UsageError(f"{dataset.name} has no clip to score in its split '{split}'")
    analysis = Analysis(model=tagger.card.name, patchout=str(plan), pool=pool, overlap=overlap)
    found = clip_rows(tagger, waves.clips(items, report), analysis, batch_size=batch_size)
    gaps = tuple(
        LeftOut(items[number].path, split, f"{row.code}: {row.message}") for number, row in found.failed.items()
    )
    items = tuple(item for item, kept in zip(items, found.kept, strict=True) if kept)
    if not items:
        raise UsageError(f"{dataset.name} has no clip in its split '{split}' that can be scored: {gaps[0].reason}")
    truth, known = targets(items, dataset.labels)
    return Evaluation(dataset.labels, dataset.multilabel, items, truth, known, found.scores[:, columns], gaps)


def _columns(known: Sequence[str], dataset: Dataset) -> list[int]:
    """Where the dataset's labels lie among the model's."""
    missing = [label for label in dataset.labels if label not in known]
    if missing:
        raise UsageError(
            f"this model does not know {len(missing)} of the {len(dataset.labels)} labels of {dataset.name}, "
            f"such as '{missing[0]}'; train it on the dataset first: audiopatch train {dataset.name} --data-dir DIR"
        )
    return [list(known).index(label) for label in dataset.labels]


def figures(evaluation: Evaluation, *, n_resamples: int = 1000, seed: int = 0) -> dict[str, bootstrap.Interval]:
    """Every macro figure with its 95 % interval; F1 figures, which thresholds decide, come as points (NaN interval)."""
    values = metrics.summary(evaluation.truth, evaluation.scores, evaluation.known, multilabel=evaluation.multilabel)
    found = {name: bootstrap.Interval(value, np.nan, np.nan) for name, value in values.items()}
    for name, weighted in weighted_figures(evaluation).items():
        groups = evaluation.tracks
        low_high = bootstrap.interval(weighted, len(evaluation.items), groups=groups, n=n_resamples, seed=seed)
        found[name] = bootstrap.Interval(values[name], low_high.low, low_high.high)
    return found


def compare(a: Evaluation, b: Evaluation, *, n_resamples: int = 1000, seed: int = 0) -> dict[str, bootstrap.Difference]:
    """``b`` minus ``a`` for every figure that can be resampled, by paired bootstrap over tracks."""
    paths = {item.path for item in a.items} & {item.path for item in b.items}
    a, b = a.only(paths), b.only(paths)
    first, second = weighted_figures(a), weighted_figures(b)
    n, groups = len(a.items), a.tracks
    return {
        name: bootstrap.paired(first[name], second[name], n, groups=groups, n=n_resamples, seed=seed) for name in first
    }


def weighted_figures(evaluation: Evaluation) -> dict[str, bootstrap.Weighted]:
    """The figures as functions of clip weights."""
    truth, scores, known = evaluation.truth, evaluation.scores, evaluation.known
    found = {
        "map_macro": bootstrap.weighted_map(truth, scores, known),
        "roc_auc_macro": bootstrap.weighted_roc_auc(truth, scores, known),
    }
    if evaluation.multilabel:
        return found
    return {"accuracy": bootstrap.weighted_accuracy(truth, scores), **found}


def calibration(evaluation: Evaluation) -> metrics.Calibration:
    """Over all decisions where labels may coexist; over the best class of each clip where they exclude each other."""
    truth, scores = evaluation.truth, evaluation.scores
    if evaluation.multilabel:
        return metrics.calibration(truth, scores, evaluation.known)
    best = scores.argmax(axis=1)[:, None]
    return metrics.calibration(np.take_along_axis(truth, best, axis=1), np.take_along_axis(scores, best, axis=1))
