"""Points of many dimensions on a flat map, where neighbours stay neighbours."""

from __future__ import annotations

import numpy as np

from audiopatch.errors import EnvironmentProblem

_LANDMARKS = 3000  # t-SNE of these takes half a minute on two cores; of 100 000 it would take an hour
_NEAR = 5
_SHARPNESS = 20.0  # of the weights by which a track is drawn to its nearest landmarks
_BLOCK = 4096


def flat_map(points: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """points (N, D) of length 1 -> places (N, 2) in 0..1: t-SNE (van der Maaten and Hinton 2008) of some landmarks.

    Every other point goes between its nearest landmarks. Equal arguments give equal maps.
    """
    if len(points) < 4:
        return np.linspace(0.2, 0.8, 2 * len(points)).reshape(-1, 2).astype(np.float32)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(points))[:_LANDMARKS])
    places = _tsne(points[chosen], seed)
    if len(chosen) < len(points):
        places = _between(points, points[chosen], places, rng)
    low, high = np.percentile(places, [0.1, 99.9], axis=0)
    return ((places - low) / np.maximum(high - low, 1e-9)).clip(0, 1).astype(np.float32)


def _tsne(points: np.ndarray, seed: int) -> np.ndarray:
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise EnvironmentProblem("the map needs scikit-learn: pip install 'audiopatch[plots]'") from error
    perplexity = min(30.0, (len(points) - 1) / 3)
    tsne = TSNE(init="pca", perplexity=perplexity, random_state=seed, learning_rate="auto")
    return tsne.fit_transform(points + 1e-7 * np.random.default_rng(seed).normal(size=points.shape))


def _between(points: np.ndarray, landmarks: np.ndarray, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places of all points: the mean of their nearest landmarks', with a little scatter so that none hides another."""
    found = np.empty((len(points), 2), np.float32)
    scatter = 0.004 * places.std()
    for start in range(0, len(points), _BLOCK):
        similarity = points[start : start + _BLOCK] @ landmarks.T
        near = np.argpartition(similarity, -_NEAR, axis=1)[:, -_NEAR:]
        weight = np.exp(_SHARPNESS * np.take_along_axis(similarity, near, axis=1))
        weight /= weight.sum(axis=1, keepdims=True)
        found[start : start + _BLOCK] = (places[near] * weight[..., None]).sum(axis=1)
    return found + rng.normal(0, scatter, found.shape)
