"""Raw vectors of a run -> points on the unit sphere whose dot product says how alike two tracks are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LEAST = 1e-4  # a score, and its distance from 1: float16 does not tell smaller ones apart
_POWER = 0.5  # of the standard deviation: 0 only centres, 1 whitens; docs/guides/playlists.md has the figures
_SHRUNK = 0.5  # of the mean variance, added to each: few tracks do not tell the small ones
_N_AXES = 256  # at most, those along which tracks vary most


@dataclass(frozen=True)
class Space:
    """Around the mean of a library, half whitened, and as points of length 1.

    What all tracks have in common does not count, and no direction drowns the others. ``mean`` is (D,), ``matrix``
    (D, K); ``of_scores`` tells that the vectors are scores in 0..1, whose logits are compared.
    """

    mean: np.ndarray
    matrix: np.ndarray
    of_scores: bool = False

    @classmethod
    def fit(cls, sample: np.ndarray, *, of_scores: bool = False) -> Space:
        """The space of a library of which ``sample`` (N, D) is a part."""
        values = _linear(sample, of_scores).astype(np.float64)
        mean = values.mean(axis=0)
        variance, axes = np.linalg.eigh((values - mean).T @ (values - mean) / len(values))
        variance, axes = variance[::-1][:_N_AXES], axes[:, ::-1][:, :_N_AXES]
        spread = variance + _SHRUNK * max(variance.mean(), 1e-12)
        return cls(mean.astype(np.float32), (axes / spread ** (_POWER / 2)).astype(np.float32), of_scores)

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """raw (N, D) -> points (N, K) float32; a track that is the mean itself stays at 0, alike to nothing."""
        points = (_linear(raw, self.of_scores) - self.mean) @ self.matrix
        length = np.linalg.norm(points, axis=1, keepdims=True)
        return points / np.where(length > 0, length, 1)


def _linear(raw: np.ndarray, of_scores: bool) -> np.ndarray:
    """float32; scores as their logits."""
    values = raw.astype(np.float32)
    if not of_scores:
        return values
    values = values.clip(_LEAST, 1 - _LEAST)
    return np.log(values / (1 - values))
