"""Output folders with made-up tracks, written as a run writes them, without a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from audiopatch.audio.walk import track_id
from audiopatch.tables.formats import ParquetSink
from audiopatch.tables.output import folder_at
from audiopatch.tables.parts import PartStore
from audiopatch.tables.schema import Layout
from audiopatch.tables.tables import labels_table, tables_of
from audiopatch.types import Decoded, Failed, Track, TrackRow
from audiopatch.zoo.labels import describe_labels

LABELS = ("Music", "Genre---Jazz", "Genre---Techno", "Mood---Happy music")


@dataclass(frozen=True)
class Made:
    """A track of a made-up library. ``scores`` are those of ``LABELS``."""

    path: str
    vector: np.ndarray
    scores: Sequence[float] = (0.9, 0.1, 0.1, 0.1)
    duration_s: float = 180.0
    codec: str = "mp3"
    size_bytes: int = 4_000_000
    audio_hash: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    damaged: bool = False


def write_output(
    folder: Path, made: Sequence[Made], failed: Sequence[Failed] = (), *, embedding: bool = True, dense: bool = True
) -> Path:
    """The tables of ``made``; each kind of vector can be left out, as a run without it does."""
    rows: list[TrackRow | Failed] = [_row(one, embedding=embedding) for one in made]
    layout = Layout(labels=LABELS, dense=dense, top_k=None)
    store = PartStore(folder_at(folder), ParquetSink())
    parameters = {
        "model": "tiny-random",
        "format": "parquet",
        "embedding": embedding,
        "dense": dense,
        "patchout": "none",
        "top_k": None,
        "min_score": 0.0,
        "pool": "mean",
        "overlap": 0.5,
        "stack": None,
        "weights_sha256": "random",
        "engine": "torch",
        "dtype": "float32",
    }
    with store.folder.locked():
        store.add("part-0", tables_of([*rows, *failed], layout))
        store.write_labels(labels_table(describe_labels("own", LABELS)))
        run = {"parameters": parameters, "fingerprint": "0", "root": "/music", "run_id": "made", "model": {}}
        store.folder.write_text("run.json", json.dumps(run))
    return folder


def _row(made: Made, *, embedding: bool) -> TrackRow:
    scores = np.asarray(made.scores, np.float32)
    track = Track(made.path, "/music", track_id(made.path, "/music"), made.size_bytes, 1)
    decoded = Decoded(
        track, 3, made.duration_s, 44_100, 2, made.codec, made.audio_hash, damaged=made.damaged, tags=made.tags
    )
    return TrackRow(decoded, scores, scores, np.asarray(made.vector, np.float32) if embedding else None)


def spread(n: int, dim: int = 24, *, seed: int = 0, clusters: int = 4) -> np.ndarray:
    """(n, dim) vectors in clusters, on an offset that all share, as networks make them."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(0, 3, (clusters, dim))
    return middle[np.arange(n) % clusters] + rng.normal(0, 1, (n, dim)) + 5
