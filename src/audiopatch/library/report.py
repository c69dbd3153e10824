"""A library as one page to look at: offline, in one file, with every track in it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from audiopatch.amounts import audio
from audiopatch.errors import missing_extra
from audiopatch.library.vectors import Vectors, read_vectors
from audiopatch.tables.read import read
from audiopatch.zoo.cards import least_scores
from audiopatch.zoo.labels import groups_in

_SCRIPTS = ("data.js", "filter.js", "list.js", "map.js", "panels.js", "app.js")


@dataclass(frozen=True)
class Page:
    """A page as written."""

    path: Path
    n_tracks: int
    size_bytes: int
    has_map: bool


def report(output: str | os.PathLike[str] = "library.html", tables: str | os.PathLike[str] = "audiopatch.out") -> Page:
    """Write the tracks of an output folder as a page to search, filter, see on a map and choose a playlist from.

    The page needs no network and no server, and its own script is the only one that may run in it: names from files
    are text. Without vectors in the tables it has no map and no nearest tracks.
    """
    vectors = read_vectors(read(tables), required=False)
    text = page(vectors, title=f"Library {Path(vectors.tables.run.get('root') or os.fspath(tables)).name}".strip())
    path = Path(output)
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
    return Page(path, len(vectors), path.stat().st_size, bool(vectors.kind))


def page(vectors: Vectors, *, title: str) -> str:
    """The whole page as HTML."""
    script = "\n".join(_part(name) for name in _SCRIPTS)
    style = _part("page.css")
    rules = f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'"
    parts = {
        "csp": f"{rules}; img-src data:; base-uri 'none'; form-action 'none'",
        "title": escape(title),
        "facts": escape(_facts(vectors)),
        "style": style,
        "data": payload(vectors),
        "script": script,
    }
    return re.sub(r"\{(\w+)\}", lambda field: parts[field[1]], _part("page.html"))  # one pass: names stay as they are


def _facts(vectors: Vectors) -> str:
    run = vectors.tables.run
    length = audio(float(vectors.tracks["duration_s"].sum()))
    made = (run.get("finished_at") or run.get("started_at") or "")[:10]
    return f"{len(vectors)} tracks, {length}, by {run['parameters']['model']}{f', {made}' if made else ''}"


def _part(name: str) -> str:
    return (resources.files("audiopatch.library") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What a content security policy calls an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


N_TAGS = 10
NO_TAG = 65_535
N_DIMS = 48  # of each track's vector on the page: enough to find nine of ten of the ten nearest
_TIMELINES = 500  # tracks; with more, segments would make the page too large
_TIMELINE_TAGS = 5
DAMAGED, NO_LINE = 1, 2  # bits of "status"


def payload(vectors: Vectors) -> str:
    """Base64 of gzip of: the header's length (uint32), the header as JSON, and columns, each at a multiple of 8 bytes.

    The header holds the words, and for each column its type, offset from the end of the header and number of values.
    """
    words, columns = _words(vectors), _columns(vectors)
    tags, labels = _tags(vectors)
    columns |= tags
    if vectors.points.shape[1]:
        columns |= _places(vectors.points)
    timelines = _timelines(vectors)
    return _packed({**words, "labels": labels, "timelines": timelines, "errors": _errors(vectors)}, columns)


def _packed(header: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> str:
    blobs, where, offset = [], {}, 0
    for name, values in columns.items():
        data = np.ascontiguousarray(values).tobytes()
        where[name] = [values.dtype.name, offset, values.size]
        data += bytes(-len(data) % 8)
        blobs.append(data)
        offset += len(data)
    text = json.dumps({**header, "columns": where}, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 4) % 8)
    whole = b"".join([np.uint32(len(text)).tobytes(), text, *blobs])
    return base64.b64encode(gzip.compress(whole, 6, mtime=0)).decode()


def _words(vectors: Vectors) -> dict[str, Any]:
    """Names as they are; folders, artists, albums and formats once each, counted from 0 by the columns."""
    folders, names = _split(vectors.tracks["path"])
    return {
        "names": names.tolist(),
        "titles": vectors.tracks["title"].tolist(),
        **{kind: categories(values).words for kind, values in _repeated(vectors, folders).items()},
    }


def _repeated(vectors: Vectors, folders: pd.Series) -> dict[str, pd.Series]:
    tracks = vectors.tracks
    return {"folders": folders, "artists": tracks["artist"], "albums": tracks["album"], "formats": tracks["codec"]}


def _split(paths: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Paths -> folders with the separator at their ends, and names."""
    names = paths.str.extract(r"([^/\\]*)\Z" if paths.str.contains(r"^[A-Za-z]:\\").any() else r"([^/]*)\Z")[0]
    folders = pd.Series([path[: len(path) - len(name)] for path, name in zip(paths, names, strict=True)])
    return folders, names


class Categories(NamedTuple):
    """Each value's number (N,) uint32, and the values that the numbers mean, sorted."""

    codes: np.ndarray
    words: list[str]


def categories(values: pd.Series) -> Categories:
    """Values as numbers of words."""
    codes, found = pd.factorize(values, sort=True)
    return Categories(codes.astype(np.uint32), [str(value) for value in found])


def _columns(vectors: Vectors) -> dict[str, np.ndarray]:
    tracks = vectors.tracks
    folders, _ = _split(tracks["path"])
    lengths = tracks["duration_s"].to_numpy(np.float64)
    kbit_s = tracks["size_bytes"].to_numpy(np.float64) * 8 / 1000 / np.maximum(lengths, 1e-3)
    one_line = np.array([raw is None and len(p.splitlines()) == 1 for p, raw in _paths(tracks)])
    return {
        **{kind: categories(values).codes for kind, values in _repeated(vectors, folders).items()},
        "seconds": lengths.round().clip(0, 2**32 - 1).astype(np.uint32),
        "kbit_s": kbit_s.round().clip(0, 65_535).astype(np.uint16),
        "status": (DAMAGED * (tracks["status"] != "ok").to_numpy() + NO_LINE * ~one_line).astype(np.uint8),
    }


def _paths(tracks: pd.DataFrame) -> Sequence[tuple[str, bytes | None]]:
    raw = (data if isinstance(data, bytes) else None for data in tracks["path_bytes"])
    return list(zip(tracks["path"], raw, strict=True))


def _tags(vectors: Vectors) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """``tags`` and ``scores`` (N, T), the best first (scores of 0..1 as 0..255), and each label's leaf, group
    and least score that is meant (0..255)."""
    table = vectors.tables.arrow("tags", ("track_id", "rank", "label", "leaf", "score"))
    if not table.num_columns:
        return {"tags": np.empty(0, np.uint16), "scores": np.empty(0, np.uint8)}, []
    frame = table.to_pandas()
    frame = frame[frame["rank"] <= N_TAGS]
    row_of = pd.Series(np.arange(len(vectors)), index=vectors.tracks["track_id"])
    rows = row_of.reindex(frame["track_id"].astype(str)).to_numpy()
    frame, rows = frame[~np.isnan(rows)], rows[~np.isnan(rows)].astype(np.int64)
    codes, labels = categories(frame["label"].astype(str))
    tags = np.full((len(vectors), N_TAGS), NO_TAG, np.uint16)
    scores = np.zeros((len(vectors), N_TAGS), np.uint8)
    place = rows, frame["rank"].to_numpy() - 1
    tags[place] = codes
    scores[place] = (frame["score"].to_numpy().clip(0, 1) * 255).round().astype(np.uint8)
    leaves = frame.drop_duplicates("label").set_index(frame.drop_duplicates("label")["label"].astype(str))["leaf"]
    least, _ = least_scores(vectors.tables.run, labels)
    groups = groups_in(vectors.tables.labels)
    about = [
        {"name": str(leaves[label]), "group": groups[label], "least": round(255 * least[label])} for label in labels
    ]
    return {"tags": tags, "scores": scores}, about


def _places(points: np.ndarray) -> dict[str, np.ndarray]:
    """``map`` (N, 2) in 0..65535, and ``vectors`` (N, K) int8 on the axes along which the tracks vary most."""
    sample = points[:: max(1, len(points) // 20_000)].astype(np.float64)
    _, axes = np.linalg.eigh(sample.T @ sample)
    short = points @ axes[:, ::-1][:, :N_DIMS].astype(np.float32)
    whole = np.abs(short).max() or 1.0
    return {
        "map": (flat_map(points) * 65_535).round().astype(np.uint16),
        "vectors": (short / whole * 127).round().astype(np.int8),
    }


def _timelines(vectors: Vectors) -> dict[int, Any]:
    """For a small library with rows per segment: row -> ends of its segments (s) and its best tags' scores in each."""
    if len(vectors) > _TIMELINES or not vectors.tables.run["parameters"].get("timeline"):
        return {}
    segments, labels = vectors.tables.segments, vectors.tables.labels
    if "scores" not in segments or not len(segments):
        return {}
    row_of = {track_id: row for row, track_id in enumerate(vectors.tracks["track_id"])}
    found = {}
    for track_id, some in segments.groupby("track_id"):
        scores = np.stack(list(some["scores"])).astype(np.float32)  # (n_segments, C)
        best = np.argsort(-scores.max(axis=0), kind="stable")[:_TIMELINE_TAGS]
        if track_id in row_of:
            found[row_of[track_id]] = {
                "starts": some["start_s"].round(1).tolist(),
                "ends": some["end_s"].round(1).tolist(),
                "tags": [[str(labels["leaf"].iat[c]), (scores[:, c] * 100).round().astype(int).tolist()] for c in best],
            }
    return found


def _errors(vectors: Vectors) -> list[list[str]]:
    errors = vectors.tables.errors
    if not len(errors):
        return []
    return errors[["path", "code", "message"]].astype(str).to_numpy().tolist()


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
        raise missing_extra("the map", "plots") from error
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
