"""The tracks of a run that sound most like one, be it of the tables or a file analysed on the spot."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from audiopatch.audio.inputs import Inputs
from audiopatch.errors import AudioPatchError, UsageError
from audiopatch.inference.settings import Analysis, Runtime, Stack
from audiopatch.library.vectors import Vectors, nearest_first, read_vectors
from audiopatch.tables.read import read
from audiopatch.tables.schema import STORED_NAMES
from audiopatch.tables.tables import text_path
from audiopatch.zoo.cards import CARDS


@dataclass(frozen=True)
class Seed:
    """A track that others are compared with: its ``point`` (K,), its tags (leaf -> score), its row if it has one."""

    path: str
    point: np.ndarray
    tags: Mapping[str, float]
    duration_s: float
    row: int | None = None


def find_seeds(vectors: Vectors, names: Sequence[str | os.PathLike[str]], *, model: str | None = None) -> list[Seed]:
    """A Seed per name, in their order. Files that are not in the tables are analysed together, with the run's model.

    ``model`` says where that model is, if it came from a file or folder. One that differs from the run's, a file that
    cannot be analysed and a name that nothing has are errors.
    """
    rows = {os.fspath(name): vectors.row(name) for name in names}
    strangers = [name for name, row in rows.items() if row is None]
    for name in strangers:
        if not Path(name).is_file():
            raise UsageError(vectors.unknown(name))
    made = _analyse(vectors, strangers, model) if strangers else {}
    lengths = vectors.tracks["duration_s"]
    tags = tags_of(vectors, [row for row in rows.values() if row is not None])
    return [
        made[name]
        if row is None
        else Seed(vectors.paths[row], vectors.points[row], tags[row], float(lengths.iat[row]), row)
        for name, row in rows.items()
    ]


def tags_of(vectors: Vectors, rows: Sequence[int]) -> dict[int, dict[str, float]]:
    """row -> its tags, the best first: leaf -> score. Empty where the run wrote none."""
    ids = vectors.tracks["track_id"]
    row_of = {ids.iat[row]: row for row in rows}
    found: dict[int, dict[str, float]] = {row: {} for row in rows}
    tags: Any
    for tags in vectors.tables.rows_of("tags", row_of, ("track_id", "rank", "leaf", "score")).itertuples():
        found[row_of[tags.track_id]].setdefault(tags.leaf, float(tags.score))
    return found


def _analyse(vectors: Vectors, names: Sequence[str], model: str | None) -> dict[str, Seed]:
    """Files that the tables do not hold, through the same analysis as those they do."""
    from audiopatch.inference.pipeline import run_to_folder  # torch: a second that tracks of the tables do not need

    parameters = vectors.tables.run["parameters"]
    with tempfile.TemporaryDirectory(prefix="audiopatch-") as folder:
        analysis = analysis_of(parameters, model=model)
        runtime = Runtime(
            engine=parameters["engine"], dtype=parameters["dtype"], workers=0 if len(names) == 1 else None
        )
        try:
            run_to_folder(Inputs(list(names)), folder, analysis, runtime)
        except AudioPatchError as error:
            of_files = isinstance(error, UsageError) and not model and parameters["model"] not in CARDS
            cure = "; if it came from a file or a folder, say where that is: --model FOLDER" if of_files else ""
            raise type(error)(f"cannot analyse {names[0]} as {vectors.tables.folder} was: {error}{cure}") from error
        made = read(folder)
        _check_same(parameters, made.run["parameters"])
        vector_of = dict(pair for ids, block in made.vectors(vectors.kind) for pair in zip(ids, block, strict=True))
        tags: dict[str, dict[str, float]] = {}
        for tag in made.tags.itertuples():
            tags.setdefault(tag.track_id, {})[tag.leaf] = float(tag.score)
        seeds = {
            track.path: Seed(
                track.path,
                vectors.space(vector_of[track.track_id][None])[0],
                tags.get(track.track_id, {}),
                track.duration_s,
            )
            for track in made.tracks.itertuples()
        }
        for error in made.errors.itertuples():
            if error.path not in seeds:
                raise UsageError(f"{error.path} cannot be analysed: {error.message}")
    return {name: seeds[text_path(os.path.abspath(name)).text] for name in names}  # noqa: PTH100 (names as they are)


def analysis_of(parameters: Mapping[str, Any], *, model: str | None = None) -> Analysis:
    """What a run was asked for, from the parameters in its ``run.json``; ``model`` says where the model is by now."""
    known = {field.name for field in fields(Analysis)}
    stored = {name: STORED_NAMES.get(name, name) for name in known}
    values = {name: parameters[key] for name, key in stored.items() if key in parameters}
    values["top"] = values["top"] or 0
    if stack := values["stack"]:
        values["stack"] = Stack(blocks=tuple(stack["blocks"]), tokens=tuple(stack["tokens"]))
    return Analysis(**values | {"model": model or parameters["model"], "thresholds": False, "timeline": False})


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Vectors of other weights would be compared with these for nothing."""
    if before["weights_sha256"] != now["weights_sha256"]:
        raise UsageError(
            f"the model '{now['model']}' has other weights than the one that made the tables; "
            "say where that one is: --model FOLDER"
        )


_N_SHARED = 3


@dataclass(frozen=True)
class Neighbour:
    """A track near the one asked for. ``distance`` is 1 - cosine: 0 for the same sound, about 1 for nothing in common.

    ``shared`` are the tags that both have, those first that both have most.
    """

    path: str
    distance: float
    shared: tuple[str, ...]
    artist: str | None
    title: str | None
    duration_s: float


@dataclass(frozen=True)
class Similar:
    """The nearest first; ``kind`` says what was compared, "embedding" or "scores"."""

    path: str
    kind: str
    neighbours: tuple[Neighbour, ...]


def similar(
    song: str | os.PathLike[str],
    tables: str | os.PathLike[str] = "audiopatch.out",
    *,
    top: int = 10,
    model: str | None = None,
) -> Similar:
    """The ``top`` tracks of an output folder that are nearest to ``song``, exactly.

    ``song`` is a track of the tables, or any audio file: that is analysed on the spot, as the tables were (``model``
    says where their model is, if it came from a file or folder). Without vectors in the tables, a UsageError says how
    to get them.
    """
    vectors = read_vectors(read(tables))
    (seed,) = find_seeds(vectors, [song], model=model)
    return Similar(seed.path, vectors.kind, tuple(neighbours(vectors, seed, top)))


def neighbours(vectors: Vectors, seed: Seed, n: int) -> list[Neighbour]:
    """The ``n`` nearest of one seed, the seed itself left out."""
    similarity = vectors.points @ seed.point
    if seed.row is not None:
        similarity[seed.row] = -2  # below any cosine
    rows = [int(row) for row in nearest_first(similarity, min(n, len(vectors) - (seed.row is not None)))]
    tags = tags_of(vectors, rows)
    about = vectors.tracks
    return [
        Neighbour(
            path=vectors.paths[row],
            distance=max(0.0, 1 - float(similarity[row])),
            shared=shared_tags(seed.tags, tags[row]),
            artist=about["artist"].iat[row] or None,
            title=about["title"].iat[row] or None,
            duration_s=float(about["duration_s"].iat[row]),
        )
        for row in rows
    ]


def shared_tags(a: Mapping[str, float], b: Mapping[str, float]) -> tuple[str, ...]:
    """Tags of both, at most three, by the lower of their two scores."""
    both: Sequence[str] = sorted(a.keys() & b.keys(), key=lambda tag: (-min(a[tag], b[tag]), tag))
    return tuple(both[:_N_SHARED])
