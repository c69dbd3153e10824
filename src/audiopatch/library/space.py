"""Raw vectors of a run -> points on the unit sphere whose dot product says how alike two tracks are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LEAST = 1e-4  # a score, and its distance from 1: float16 does not tell smaller ones apart


@dataclass(frozen=True)
class Space:
    """Around the mean of a library, as points of length 1: what all of its tracks have in common does not count.

    ``mean`` is (D,); ``of_scores`` tells that the vectors are scores in 0..1, whose logits are compared.
    Whitening on top was tried and is worse (docs/guides/playlists.md has the figures).
    """

    mean: np.ndarray
    of_scores: bool = False

    @classmethod
    def fit(cls, sample: np.ndarray, *, of_scores: bool = False) -> Space:
        """The space of a library of which ``sample`` (N, D) is a part."""
        whole = cls(np.zeros(sample.shape[1], np.float32), of_scores)
        return cls(whole._linear(sample).mean(axis=0, dtype=np.float64).astype(np.float32), of_scores)

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """raw (N, D) -> points (N, D) float32; a track that is the mean itself stays at 0, alike to nothing."""
        points = self._linear(raw) - self.mean
        length = np.linalg.norm(points, axis=1, keepdims=True)
        return points / np.where(length > 0, length, 1)

    def _linear(self, raw: np.ndarray) -> np.ndarray:
        values = raw.astype(np.float32)
        if not self.of_scores:
            return values
        values = values.clip(_LEAST, 1 - _LEAST)
        return np.log(values / (1 - values))
