"""A classifier of own labels on frozen vectors, judged on artists that it never heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from audiopatch.datasets.recipe import Item, grouped_split
from audiopatch.documents import MaybeNaN
from audiopatch.evaluation import metrics
from audiopatch.evaluation.bootstrap import Interval, interval, weighted_roc_auc

N_FOLDS = 5
STRENGTHS = (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)  # of the penalty on weights of standardised features
Pooled = Callable[["Classifier", np.ndarray], np.ndarray]  # a classifier, numbers of tracks (M,) -> scores (M, C)


@dataclass(frozen=True)
class Classifier:
    """Logits of raw embeddings: ``x @ weight.T + bias``; weight (C, D), bias (C,)."""

    weight: np.ndarray
    bias: np.ndarray

    def scores(self, x: np.ndarray) -> np.ndarray:
        """x (M, D) -> (M, C) in 0..1."""
        return 1 / (1 + np.exp(-(x @ self.weight.T + self.bias).clip(-30, 30)))


def fit(x: np.ndarray, y: np.ndarray, strength: float) -> Classifier:
    """x (M, D), y (M, C) of 0 and 1 -> a logistic regression per class, penalised by ``strength`` on its weights.

    Features are standardised inside, and the result takes raw ones.
    """
    mean, std = x.mean(axis=0), x.std(axis=0).clip(1e-6)
    features, truth = torch.from_numpy((x - mean) / std).float(), torch.from_numpy(y).float()
    rate = truth.mean(dim=0).clamp(1e-4, 1 - 1e-4)
    weight = torch.zeros(y.shape[1], x.shape[1], requires_grad=True)
    bias = torch.logit(rate).clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        error = F.binary_cross_entropy_with_logits(features @ weight.T + bias, truth, reduction="sum") / len(truth)
        error = error + strength * weight.square().sum() / 2
        error.backward()
        return error

    optimizer.step(loss)
    raw = weight.detach().numpy() / std
    return Classifier(raw.astype(np.float32), (bias.detach().numpy() - raw @ mean).astype(np.float32))


def folds(truth: np.ndarray, labels: Sequence[str], groups: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """(M,) which of five folds a track is judged in: labels spread evenly, an artist never in two."""
    named = [tuple(label for label, has in zip(labels, row, strict=True) if has) for row in truth]
    items = [Item(Path(f"{i:08d}"), some, group=str(groups[i])) for i, some in enumerate(named)]
    split = grouped_split(items, shares={str(fold): 1 / N_FOLDS for fold in range(N_FOLDS)}, seed=seed)
    fold_of = np.zeros(len(items), np.int64)
    for fold, some in split.items():
        fold_of[[int(item.path.name) for item in some]] = int(fold)
    return fold_of


def validate(x: np.ndarray, y: np.ndarray, fold_of: np.ndarray, pooled: Pooled) -> tuple[float, np.ndarray]:
    """The penalty whose classifiers say the most of artists that they never heard, and those scores (M, C)."""
    tried = {strength: _held_out(x, y, fold_of, pooled, strength) for strength in STRENGTHS}

    def error(strength: float) -> float:
        scores = tried[strength].clip(1e-6, 1 - 1e-6)
        return float(-np.where(y > 0, np.log(scores), np.log(1 - scores)).mean())

    best = min(STRENGTHS, key=error)
    return best, tried[best]


def _held_out(x: np.ndarray, y: np.ndarray, fold_of: np.ndarray, pooled: Pooled, strength: float) -> np.ndarray:
    scores = np.zeros(y.shape, np.float32)
    for fold in np.unique(fold_of):
        held = fold_of == fold
        scores[held] = pooled(fit(x[~held], y[~held], strength), np.flatnonzero(held))
    return scores


_N_RESAMPLES = 1000
_N_FOR_AUC = 200
_N_CONFUSED = 3
_N_DISAGREED = 10


@dataclass(frozen=True)
class Judged:
    """One label. ``precision`` and ``recall`` are at ``threshold``-like cuts that were chosen on other artists.

    ``confused`` names the labels that its tracks score best in instead, with the share of its tracks.
    """

    label: str
    n_tracks: int
    n_artists: int
    threshold: float
    precision: Interval
    recall: Interval
    average_precision: MaybeNaN
    roc_auc: Interval
    confused: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Disagreed:
    """A track whose own tag the model finds unlikely: what the file says, and what the model would."""

    row: int
    has: tuple[tuple[str, float], ...]
    says: tuple[str, float]


def judge(
    labels: Sequence[str], truth: np.ndarray, scores: np.ndarray, groups: np.ndarray, fold_of: np.ndarray
) -> list[Judged]:
    """truth, held-out scores (M, C), artists (M,), folds (M,) -> a Judged per label, intervals over whole artists.

    What counts as yes in a fold is decided by the best F1 on the other folds; the threshold to keep is that of all.
    """
    decided = np.zeros(truth.shape, bool)
    for fold in np.unique(fold_of):
        held = fold_of == fold
        decided[held] = scores[held] >= metrics.best_thresholds(truth[~held], scores[~held])
    precision, recall = _intervals(truth > 0, decided, groups)
    thresholds = metrics.best_thresholds(truth, scores)
    average = metrics.average_precision(truth, scores).per_class
    return [
        Judged(
            label=label,
            n_tracks=int(truth[:, c].sum()),
            n_artists=len(np.unique(groups[truth[:, c] > 0])),
            threshold=float(thresholds[c]),
            precision=precision[c],
            recall=recall[c],
            average_precision=float(average[c]),
            roc_auc=interval(
                weighted_roc_auc(truth[:, c : c + 1], scores[:, c : c + 1]), len(truth), groups=groups, n=_N_FOR_AUC
            ),
            confused=_confused(labels, truth, scores, c),
        )
        for c, label in enumerate(labels)
    ]


def _intervals(truth: np.ndarray, decided: np.ndarray, groups: np.ndarray) -> tuple[list[Interval], list[Interval]]:
    """Precision and recall of each class with 95 % intervals: artists are drawn anew, all classes at once."""
    n_groups = int(groups.max()) + 1
    counts = np.zeros((n_groups, 3 * truth.shape[1]))
    np.add.at(counts, groups, np.concatenate([truth & decided, decided, truth], axis=1))
    rng = np.random.default_rng(0)
    draws = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=_N_RESAMPLES)
    hits, said, meant = np.split(np.concatenate([counts.sum(axis=0)[None], draws @ counts]), 3, axis=1)
    found = []
    for over in (said, meant):
        share = np.divide(hits, over, out=np.full(hits.shape, np.nan), where=over > 0)
        drawn = np.where(np.isnan(share[1:]), 0, share[1:])  # a draw in which nothing is said is right about nothing
        low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
        found.append([Interval(*map(float, one)) for one in zip(share[0], low, high, strict=True)])
    return found[0], found[1]


def _confused(labels: Sequence[str], truth: np.ndarray, scores: np.ndarray, c: int) -> tuple[tuple[str, float], ...]:
    own = truth[:, c] > 0
    others = np.where(truth[own] > 0, -1.0, scores[own])  # its other labels are right, too
    best, beaten = others.argmax(axis=1), others.max(axis=1) > scores[own, c]
    shares = np.bincount(best[beaten], minlength=len(labels)) / own.sum()
    often = [int(i) for i in np.argsort(-shares)[:_N_CONFUSED] if shares[i] > 0]
    return tuple((labels[i], float(shares[i])) for i in often)


def disagreements(labels: Sequence[str], rows: np.ndarray, truth: np.ndarray, scores: np.ndarray) -> list[Disagreed]:
    """The ten tracks whose labels the held-out classifier finds least likely beside another one."""
    logit = np.log(scores.clip(1e-6, 1 - 1e-6) / (1 - scores.clip(1e-6, 1 - 1e-6)))
    own = np.where(truth > 0, logit, -np.inf).max(axis=1)
    other = np.where(truth > 0, -np.inf, logit)
    gap = np.where(np.isfinite(own), other.max(axis=1) - own, -np.inf)
    found = []
    for place in np.argsort(-gap, kind="stable")[:_N_DISAGREED]:
        if gap[place] <= 0:
            break
        has = tuple((label, float(scores[place, c])) for c, label in enumerate(labels) if truth[place, c])
        best = int(other[place].argmax())
        found.append(Disagreed(int(rows[place]), has, (labels[best], float(scores[place, best]))))
    return found
