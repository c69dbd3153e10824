"""Linear classifiers on cached embeddings: fitted on some artists, judged on the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from audiopatch.datasets.grouped_split import grouped_split
from audiopatch.datasets.recipe import Item

N_FOLDS = 5
STRENGTHS = (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)  # of the penalty on weights of standardised features
Pooled = Callable[["Linear", np.ndarray], np.ndarray]  # a classifier, numbers of tracks (M,) -> scores (M, C)


@dataclass(frozen=True)
class Linear:
    """Logits of raw embeddings: ``x @ weight.T + bias``; weight (C, D), bias (C,)."""

    weight: np.ndarray
    bias: np.ndarray

    def scores(self, x: np.ndarray) -> np.ndarray:
        """x (M, D) -> (M, C) in 0..1."""
        return 1 / (1 + np.exp(-(x @ self.weight.T + self.bias).clip(-30, 30)))


def fit(x: np.ndarray, y: np.ndarray, strength: float) -> Linear:
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
    return Linear(raw.astype(np.float32), (bias.detach().numpy() - raw @ mean).astype(np.float32))


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
