"""A folder of tables about real files, without a model: labels and scores as a test wants them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import av
import numpy as np

from audiopatch.audio.packets import audio_hash_of
from audiopatch.audio.source import own_tags
from audiopatch.audio.walk import track_id
from audiopatch.errors import TrackError
from audiopatch.tables.output import open_output
from audiopatch.tables.schema import Layout
from audiopatch.tables.tables import labels_table, tables_of
from audiopatch.types import Decoded, Track, TrackRow
from audiopatch.zoo.labels import describe_labels

LABELS = (
    "Genre---Heavy metal", "Genre---Drum and bass", "Genre---Rock music", "Genre---Jazz",
    "Mood---Happy music", "Mood---Sad music", "Instrument---Guitar", "Instrument---Piano", "Music",
)  # fmt: skip
PARAMETERS = {
    "model": "made-up", "tags": True, "format": "parquet", "patchout": "F3T2", "pool": "mean", "overlap": 0.5,
    "top_k": 10,
}  # fmt: skip
SCORES = (0.8, 0.6, 0.3, 0.05, 0.7, 0.2, 0.9, 0.4, 0.95)


def decoded(path: Path, root: Path) -> Decoded:
    """What ``tag`` knows of a file once it was read."""
    about = path.stat()
    track = Track(str(path), str(root), track_id(str(path), str(root)), about.st_size, about.st_mtime_ns)
    try:
        audio_hash = audio_hash_of(str(path))
    except TrackError:  # PyAV has no decoder for Musepack, which other decoders read
        return Decoded(track, 1, 1.0, 44_100, 2, "musepack8", None)
    with av.open(str(path)) as file:
        tags = own_tags(file.metadata | file.streams.audio[0].metadata)
    return Decoded(track, 1, 1.0, 44_100, 2, "some", audio_hash, tags=tags)


def make_tables(
    out: Path,
    files: Iterable[Path],
    scores: Mapping[str, Iterable[float]] | None = None,
    file_format: str = "parquet",
    labels: tuple[str, ...] = LABELS,
    label_set: str = "audioset_music",
) -> Path:
    """Tables of these files; each has ``SCORES``, or those under its name, one for each of ``labels``."""
    files = sorted(files)
    root = Path(os.path.commonpath(files)) if len(files) > 1 else files[0].parent
    rows = []
    for path in files:
        mine = np.array(list((scores or {}).get(path.name, SCORES)), np.float32)
        rows.append(TrackRow(decoded(path, root), mine, mine, None))
    with open_output(out, PARAMETERS | {"format": file_format}) as output:
        output.save_run({"root": str(root), "model": {"model": "made-up", "plan": "F3T2", "labels": label_set}})
        output.store.write_labels(labels_table(describe_labels(label_set, labels)))
        output.store.add("part-0", tables_of(rows, Layout(labels=labels)))
    return out
