"""How well own labels were learnt, on artists that the classifier never heard: figures, confusions, disagreements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audiopatch.evaluation import metrics
from audiopatch.evaluation.bootstrap import Interval, interval, weighted_roc_auc

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
    average_precision: float
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
