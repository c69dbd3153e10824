"""What a teacher says about the training clips: the targets of a separated DIST head (MAEST, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from audiopatch.datasets.recipe import Dataset, Item, targets
from audiopatch.datasets.waves import Waves, decode_waves
from audiopatch.errors import UsageError
from audiopatch.inference.clips import clip_rows
from audiopatch.inference.settings import Analysis
from audiopatch.models.tagger import Tagger
from audiopatch.storage.cache import cache_folder
from audiopatch.training.config import Teacher
from audiopatch.zoo.load import load_model


def teacher_labels(teacher: Teacher, dataset: Dataset, waves: Waves, path: Path, *, device: str) -> np.ndarray:
    """(N, C) of 0 and 1 for the training items: scores above the threshold, or the best one where none is.

    They are written to ``path`` (one row per clip, with the labels' names) and read from there by a resumed run. A
    teacher that lacks a label of the dataset is a UsageError; it may know others, and listen at another rate.
    """
    items = dataset.items("train")
    if not path.is_file():
        tagger = load_model(teacher.model, device=device)
        hard = _hard(_scores(tagger, teacher.model, dataset, waves), teacher.threshold)
        names = [[dataset.labels[index] for index in np.flatnonzero(row)] for row in hard]
        pd.DataFrame({"path": [str(item.path) for item in items], "labels": names}).to_parquet(path, index=False)
    return _read(path, items, dataset.labels)


def _scores(tagger: Tagger, name: str, dataset: Dataset, waves: Waves) -> np.ndarray:
    missing = [label for label in dataset.labels if label not in tagger.labels]
    if missing:
        raise UsageError(f"the teacher '{name}' does not know {len(missing)} labels, such as '{missing[0]}'")
    items = dataset.items("train")
    if tagger.frontend.sample_rate != waves.sample_rate:
        waves = decode_waves([item.path for item in items], tagger.frontend.sample_rate, cache_folder(), workers=2)
    columns = [tagger.labels.index(label) for label in dataset.labels]
    rows = clip_rows(tagger, waves.clips(items), Analysis(model=tagger.card.name))
    return rows.require_all([item.path for item in items]).scores[:, columns]


def _hard(scores: np.ndarray, threshold: float) -> np.ndarray:
    hard = scores > threshold
    silent = ~hard.any(axis=1)
    hard[silent, scores[silent].argmax(axis=1)] = True
    return hard


def _read(path: Path, items: Sequence[Item], labels: Sequence[str]) -> np.ndarray:
    table = pd.read_parquet(path)
    if table.path.tolist() != [str(item.path) for item in items]:
        raise UsageError(f"{path} is about other clips than the dataset now holds; choose another -o")
    taught = [Item(item.path, tuple(names)) for item, names in zip(items, table.labels, strict=True)]
    return targets(taught, labels)[0]
