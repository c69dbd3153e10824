"""The same recording more than once: in two encodings, in two folders, in two names."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from audiopatch.library.vectors import Vectors, close_pairs, read_vectors
from audiopatch.tables.read import read

NEAR = 0.92  # cosine; 32 encodings of 8 tracks (MP3 at 40 and 128 kbit/s, AAC at 96, Opus at 64) had 0.946 and more
SLACK_S, SLACK_SHARE = 1.0, 0.005  # encoders pad by hundredths of a second, and rippers cut silence
_LOSSLESS = ("flac", "alac", "wavpack", "tta", "ape", "pcm_")


@dataclass(frozen=True)
class Copy:
    """One of several files with the same recording, and what tells it from the others.

    ``similarity`` is its cosine to the first of its group; ``kbit_s`` counts the whole file.
    """

    path: str
    similarity: float
    duration_s: float
    codec: str
    kbit_s: float
    sample_rate: int
    channels: int
    size_bytes: int
    damaged: bool


def duplicates(tables: str | os.PathLike[str] = "audiopatch.out") -> list[list[Copy]]:
    """Groups of near-identical recordings in an output folder, each with the file of the best quality first.

    Two files are the same recording if their audio is identical, or if their vectors are all but equal and they last
    equally long within 1 s or 0.5 %. Groups that waste most bytes come first.
    """
    vectors = read_vectors(read(tables))
    groups = [_ranked(vectors, rows) for rows in _groups(vectors)]
    return sorted(groups, key=lambda group: (-sum(copy.size_bytes for copy in group[1:]), group[0].path))


def is_duplicate(vectors: Vectors, row: int, others: Sequence[int]) -> bool:
    """Whether a track has the same recording as one of ``others``."""
    if not len(others):
        return False
    lengths, hashes = vectors.tracks["duration_s"].to_numpy(), vectors.tracks["audio_hash"].to_numpy()
    there = np.asarray(others)
    longer = np.maximum(lengths[there], lengths[row])
    close = np.abs(lengths[there] - lengths[row]) <= np.maximum(SLACK_S, SLACK_SHARE * longer)
    alike = vectors.points[there] @ vectors.points[row] >= NEAR
    same = (hashes[there] == hashes[row]) if hashes[row] else np.zeros(len(there), bool)
    return bool(((close & alike) | same).any())


def _groups(vectors: Vectors) -> list[list[int]]:
    """Rows that are linked by pairs, two or more each."""
    lengths, hashes = vectors.tracks["duration_s"].to_numpy(), vectors.tracks["audio_hash"]
    parent = list(range(len(vectors)))

    def top(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for a, b in close_pairs(vectors.points, lengths, least=NEAR, slack=SLACK_S, slack_share=SLACK_SHARE):
        parent[top(b)] = top(a)
    first: dict[str, int] = {}
    for row, audio in enumerate(hashes):
        if audio:
            parent[top(row)] = top(first.setdefault(audio, row))
    members: dict[int, list[int]] = defaultdict(list)
    for row in range(len(vectors)):
        members[top(row)].append(row)
    return [rows for rows in members.values() if len(rows) > 1]


def _ranked(vectors: Vectors, rows: Sequence[int]) -> list[Copy]:
    """Sound before damaged, lossless before lossy, then by bit rate."""

    def quality(row: int) -> tuple[bool, bool, float, str]:
        track = vectors.tracks.iloc[row]
        lossless = str(track["codec"]).startswith(_LOSSLESS)
        return track["status"] != "ok", not lossless, -_kbit_s(track), track["path"]

    best, *_ = ranked = sorted(rows, key=quality)
    return [_copy(vectors, row, float(vectors.points[row] @ vectors.points[best])) for row in ranked]


def _copy(vectors: Vectors, row: int, similarity: float) -> Copy:
    track = vectors.tracks.iloc[row]
    return Copy(
        path=vectors.paths[row],
        similarity=min(1.0, similarity),
        duration_s=float(track["duration_s"]),
        codec=track["codec"],
        kbit_s=_kbit_s(track),
        sample_rate=int(track["sample_rate"]),
        channels=int(track["channels"]),
        size_bytes=int(track["size_bytes"]),
        damaged=track["status"] != "ok",
    )


def _kbit_s(track: Any) -> float:
    return float(track["size_bytes"] * 8 / 1000 / max(track["duration_s"], 1e-3))
