"""Which points are nearest: exact, by one product per block of points."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BLOCK = 1 << 16  # points: what a product holds at a time stays a few MB


def nearest_first(similarity: np.ndarray, n: int) -> np.ndarray:
    """similarity (N,) -> rows of the ``n`` highest, the highest first; equal ones in their order."""
    n = min(n, len(similarity))
    if n == 0:
        return np.empty(0, np.int64)
    least = np.partition(similarity, len(similarity) - n)[len(similarity) - n]
    rows = np.flatnonzero(similarity >= least)
    return rows[np.argsort(-similarity[rows], kind="stable")][:n]


def close_pairs(
    points: np.ndarray, lengths: np.ndarray, *, least: float, slack: float, slack_share: float
) -> Iterator[tuple[int, int]]:
    """Pairs of rows whose cosine is at least ``least`` and whose ``lengths`` (N,) hardly differ.

    Lengths may differ by ``slack`` or by ``slack_share`` of the longer one. Sorted by length, the partners of a track
    follow it: a block is compared with its own window, never all with all.
    """
    order = np.argsort(lengths, kind="stable")
    sorted_lengths, sorted_points = lengths[order], points[order]
    reach = np.maximum(sorted_lengths + slack, sorted_lengths / (1 - slack_share))
    end = np.searchsorted(sorted_lengths, reach, side="right")
    start = 0
    while start < len(order):
        stop = min(start + 1024, len(order))
        window = slice(start, int(end[stop - 1]))
        for first in range(window.start, window.stop, _BLOCK):
            last = min(first + _BLOCK, window.stop)
            close = sorted_points[start:stop] @ sorted_points[first:last].T >= least
            for row, column in zip(*np.nonzero(close), strict=True):
                a, b = start + int(row), first + int(column)
                if a < b < end[a]:
                    yield int(order[a]), int(order[b])
        start = stop
