"""Figures on the validation split, by segments of whole tracks; several processes share the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from lightning_fabric import Fabric

from audiopatch import metrics
from audiopatch.datasets.recipe import Dataset, targets
from audiopatch.datasets.waves import Waves
from audiopatch.models.segments import clip_scores
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import Plan


@dataclass(frozen=True)
class Validation:
    """A Tagger -> its ``valid_*`` figures, the same in every process."""

    dataset: Dataset
    waves: Waves
    plan: Plan
    fabric: Fabric

    @classmethod
    def of(cls, dataset: Dataset, waves: Waves, plan: Plan, fabric: Fabric) -> Self | None:
        """None for a dataset without a validation split."""
        return cls(dataset, waves, plan, fabric) if dataset.splits.get("valid") else None

    def __call__(self, tagger: Tagger) -> dict[str, float]:
        items = self.dataset.items("valid")
        rank, world = self.fabric.global_rank, self.fabric.world_size
        tagger.eval()
        own = clip_scores(tagger, self.waves.clips(items[rank::world]), plan=self.plan)
        scores = np.empty((len(items), len(tagger.labels)), np.float32)
        for other, found in enumerate(self._gathered(own)):
            scores[other::world] = found
        truth, known = targets(items, self.dataset.labels)
        figures = metrics.summary(truth, scores, known, multilabel=self.dataset.multilabel)
        return {f"valid_{name}": value for name, value in figures.items()}

    def _gathered(self, own: np.ndarray) -> list[np.ndarray]:
        if self.fabric.world_size == 1:
            return [own]
        found: list[Any] = [None] * self.fabric.world_size
        torch.distributed.all_gather_object(found, own)
        return found
