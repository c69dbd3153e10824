"""How well the nearest tracks belong together: the figures of docs/guides/playlists.md, on the tables of any library.

    audiopatch tag ~/Music --embeddings && python scripts/measure_retrieval.py audiopatch.out

Tracks belong together by artist, by album, and by their folder below the one that holds all. P@10 is the share of the
ten nearest that do (of as many as there are, where fewer than ten do); MRR the mean reciprocal rank of the first.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from audiopatch.library.adapt import raw_embeddings
from audiopatch.library.vectors import Vectors, read_vectors
from audiopatch.tables.read import read

MIN_S = 20  # shorter ones are noises and jingles


def whitened(raw: np.ndarray) -> np.ndarray:
    """Principal axes, each divided by its standard deviation."""
    variance, axes = np.linalg.eigh(np.cov((raw - raw.mean(axis=0)).T))
    keep = variance > 1e-6 * variance[-1]
    return (raw - raw.mean(axis=0)) @ (axes[:, keep] / np.sqrt(variance[keep]))


def ledoit_wolf(raw: np.ndarray) -> np.ndarray:
    """The same by a shrunk covariance (Ledoit and Wolf 2004)."""
    from sklearn.covariance import ledoit_wolf as shrunk

    variance, axes = np.linalg.eigh(shrunk(raw)[0])
    return (raw - raw.mean(axis=0)) @ (axes / np.sqrt(variance))


def figures(points: np.ndarray, names: np.ndarray) -> tuple[float, float, int]:
    """points (N, D), names (N,) ("" belongs to nothing) -> P@10, MRR, number of queries."""
    points = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    similarity = points @ points.T
    np.fill_diagonal(similarity, -2)
    precisions, ranks = [], []
    for row in range(len(points)):
        n_same = (names == names[row]).sum() - 1
        if not names[row] or not n_same:
            continue
        hits = names[np.argsort(-similarity[row], kind="stable")[:-1]] == names[row]
        precisions.append(hits[:10].sum() / min(10, n_same))
        ranks.append(1 / (1 + int(hits.argmax())))
    return float(np.mean(precisions)), float(np.mean(ranks)), len(ranks)


def groups(vectors: Vectors) -> dict[str, np.ndarray]:
    """What tracks may share, by name."""
    tracks = vectors.tracks
    home = os.path.commonpath(vectors.paths)
    below = [Path(path).relative_to(home).parts[0] for path in vectors.paths]
    return {
        "folder": np.array(below),
        "artist": tracks["artist"].str.casefold().to_numpy(str),
        "album": tracks["album"].str.casefold().to_numpy(str),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="?", default="audiopatch.out")
    vectors = read_vectors(read(parser.parse_args().tables))
    first = ~vectors.tracks["audio_hash"].duplicated().to_numpy() & (vectors.tracks["duration_s"] > MIN_S).to_numpy()
    raw = raw_embeddings(vectors)[first].astype(np.float64)
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "raw cosine": lambda x: x,
        "centred": lambda x: x - x.mean(axis=0),
        "half whitened (used)": lambda x: vectors.space(x.astype(np.float32)),
        "whitened, shrunk": ledoit_wolf,
        "whitened": whitened,
    }
    for kind, names in groups(vectors).items():
        for way, project in ways.items():
            precision, reciprocal, n = figures(project(raw), names[first])
            print(f"{kind:8}{way:24}P@10 {precision:.3f}  MRR {reciprocal:.3f}  ({n} queries)")


if __name__ == "__main__":
    main()
