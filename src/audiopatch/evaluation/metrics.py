"""How good scores are: scikit-learn's figures, with the cases it leaves undefined decided once, here.

Arrays are ``truth`` (N, C) of 0 and 1, ``scores`` (N, C) and ``known`` (N, C) of bool, False where nobody knows the
answer (OpenMIC). A class counts for average precision when it has a known positive, for ROC-AUC when it has a known
positive and a known negative; macro figures are means over the classes that count, and say how many those are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Macro:
    """A mean over classes. ``per_class`` (C,) holds NaN where a class does not count; ``value`` is NaN if none does."""

    per_class: np.ndarray

    @property
    def value(self) -> float:
        counted = self.per_class[~np.isnan(self.per_class)]
        return float(counted.mean()) if len(counted) else float("nan")

    @property
    def n_classes(self) -> int:
        return int((~np.isnan(self.per_class)).sum())

    @property
    def left_out(self) -> list[int]:
        """Indices of the classes that do not count."""
        return np.flatnonzero(np.isnan(self.per_class)).tolist()


def average_precision(truth: np.ndarray, scores: np.ndarray, known: np.ndarray | None = None) -> Macro:
    """Step-wise average precision of every class (no interpolation), macro-averaged: mAP."""
    from sklearn.metrics import average_precision_score

    def of_class(positive: np.ndarray, score: np.ndarray) -> float:
        return average_precision_score(positive, score) if positive.any() else float("nan")

    return _per_class(of_class, truth, scores, known)


def roc_auc(truth: np.ndarray, scores: np.ndarray, known: np.ndarray | None = None) -> Macro:
    """Area under the ROC curve of every class, macro-averaged."""
    from sklearn.metrics import roc_auc_score

    def of_class(positive: np.ndarray, score: np.ndarray) -> float:
        return roc_auc_score(positive, score) if positive.any() and not positive.all() else float("nan")

    return _per_class(of_class, truth, scores, known)


def accuracy(truth: np.ndarray, scores: np.ndarray) -> float:
    """Share of clips whose best-scoring class is their (one) true class; NaN without clips."""
    return float((scores.argmax(axis=1) == truth.argmax(axis=1)).mean()) if len(truth) else float("nan")


@dataclass(frozen=True)
class F1:
    """Per class (C,), their mean over classes with a positive or a prediction, and the F1 of all decisions pooled."""

    per_class: np.ndarray
    macro: float
    micro: float


def f1(truth: np.ndarray, predicted: np.ndarray, known: np.ndarray | None = None) -> F1:
    """F1 of yes/no decisions ``predicted`` (N, C); a class with neither positives nor predictions is NaN."""
    truth, predicted = truth.astype(bool), predicted.astype(bool)
    known = np.ones_like(truth) if known is None else known.astype(bool)
    hits = (truth & predicted & known).sum(axis=0)
    involved = (truth & known).sum(axis=0) + (predicted & known).sum(axis=0)  # 2 tp + fp + fn
    per_class = np.divide(2 * hits, involved, out=np.full(len(hits), np.nan), where=involved > 0)
    micro = 2 * hits.sum() / involved.sum() if involved.sum() else float("nan")
    return F1(per_class, Macro(per_class).value, float(micro))


def decisions(scores: np.ndarray, *, multilabel: bool, thresholds: np.ndarray | float = 0.5) -> np.ndarray:
    """scores (N, C) -> yes/no (N, C): at or above the threshold, or the single best class where labels exclude."""
    if multilabel:
        return scores >= thresholds
    return np.eye(scores.shape[1], dtype=bool)[scores.argmax(axis=1)]


def confusion(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(C, C) counts: rows are the true class, columns the best-scoring one."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(truth.argmax(axis=1), scores.argmax(axis=1), labels=np.arange(truth.shape[1]))


@dataclass(frozen=True)
class Calibration:
    """Reliability of scores read as probabilities.

    ``ece`` is the expected calibration error: the mean over bins, weighted by count, of |positives' share - score|.
    Per bin: its ``count``, the mean ``score`` and the ``positive_rate`` (NaN where empty).
    """

    ece: float
    count: np.ndarray
    score: np.ndarray
    positive_rate: np.ndarray


def calibration(
    truth: np.ndarray, scores: np.ndarray, known: np.ndarray | None = None, *, n_bins: int = 15
) -> Calibration:
    """Equal-width bins over all known decisions (Guo et al. 2017, section 2); for exclusive labels give the best class
    only: scores (N, 1) and whether it was right (N, 1)."""
    keep = np.ones(truth.shape, dtype=bool) if known is None else known.astype(bool)
    positive, score = truth[keep].astype(float), scores[keep].astype(float)
    bins = np.minimum((score * n_bins).astype(int), n_bins - 1)
    count = np.bincount(bins, minlength=n_bins)
    full = count > 0
    mean_score, rate = np.full(n_bins, np.nan), np.full(n_bins, np.nan)
    mean_score[full] = np.bincount(bins, score, n_bins)[full] / count[full]
    rate[full] = np.bincount(bins, positive, n_bins)[full] / count[full]
    gap = np.abs(rate - mean_score)[full]
    ece = float((gap * count[full]).sum() / count.sum()) if count.sum() else float("nan")
    return Calibration(ece, count, mean_score, rate)


def best_thresholds(truth: np.ndarray, scores: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """(C,): for each class the score from which on "yes" gives the best F1; 0.5 where it has no known positive.

    The threshold lies half-way between the lowest score accepted and the next lower one.
    """
    from sklearn.metrics import precision_recall_curve

    def of_class(positive: np.ndarray, score: np.ndarray) -> float:
        if not positive.any():
            return 0.5
        precision, recall, threshold = precision_recall_curve(positive, score)
        total = np.maximum(precision + recall, 1e-12)
        best = int((2 * precision * recall / total)[:-1].argmax())
        below = threshold[best - 1] if best > 0 else 0.0
        return float((threshold[best] + below) / 2)

    return _per_class(of_class, truth, scores, known).per_class


def expected_thresholds(chances: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) chances that a class holds, and scores -> (C,) thresholds of best expected F1, and (C,) that F1.

    As ``best_thresholds``, with truth known by chance only: the expected F1 is taken as 2 Σ chances accepted /
    (Σ chances + number accepted).
    """
    order = (-scores).argsort(axis=0, kind="stable")
    falling = np.take_along_axis(scores, order, axis=0)
    right = np.take_along_axis(chances, order, axis=0).cumsum(axis=0)
    f1 = 2 * right / (right[-1] + np.arange(1, len(scores) + 1)[:, None])
    next_lower = np.concatenate([falling[1:], np.zeros_like(falling[:1])])
    f1[:-1][falling[:-1] == next_lower[:-1]] = 0  # equal scores are accepted together
    best = f1.argmax(axis=0)
    column = np.arange(scores.shape[1])
    return (falling[best, column] + next_lower[best, column]) / 2, f1[best, column]


def _per_class(
    metric: Callable[[np.ndarray, np.ndarray], float],
    truth: np.ndarray,
    scores: np.ndarray,
    known: np.ndarray | None,
) -> Macro:
    keep = np.ones(truth.shape, dtype=bool) if known is None else known.astype(bool)
    columns = range(truth.shape[1])
    return Macro(np.array([metric(truth[keep[:, c], c].astype(bool), scores[keep[:, c], c]) for c in columns]))


def summary(
    truth: np.ndarray, scores: np.ndarray, known: np.ndarray | None = None, *, multilabel: bool
) -> dict[str, float]:
    """The figures by the names that recipes use for them; accuracy only where labels exclude each other."""
    decided = f1(truth, decisions(scores, multilabel=multilabel), known)
    figures = {
        "map_macro": average_precision(truth, scores, known).value,
        "roc_auc_macro": roc_auc(truth, scores, known).value,
        "f1_macro": decided.macro,
        "f1_micro": decided.micro,
    }
    return figures if multilabel else {"accuracy": accuracy(truth, scores), **figures}
