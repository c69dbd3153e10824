"""What must hold for an output folder after any fault: its tables agree, and every input ended exactly once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from audiopatch.events import Counts
from audiopatch.tables.read import Tables, read

_TABLES = ("tracks", "tags", "embeddings", "segments", "errors")


def assert_sound(output: Path, inputs: Iterable[str | Path] | None = None) -> Tables:
    """The tables as a reader sees them now. ``inputs``, where given, are the files that must have a row each."""
    tables = read(output)
    wanted = tables.run["parameters"]
    read_ids, error_ids = _ids(tables.tracks), _ids(tables.errors)
    assert len(set(read_ids)) == len(read_ids) and len(set(error_ids)) == len(error_ids)
    if read_ids:
        tracks = tables.tracks.set_index("track_id")
        assert set(tracks.index[tracks["status"] == "damaged"]) == set(read_ids) & set(error_ids)
        if wanted["tags"]:
            _assert_tags(tables.tags, read_ids, wanted["top_k"])
        if wanted["embedding"]:
            assert sorted(_ids(tables.embeddings)) == sorted(read_ids)
        if wanted["timeline"]:
            assert tables.segments.groupby("track_id").size().to_dict() == tracks["n_segments"].to_dict()
            assert not tables.segments.duplicated(["track_id", "segment"]).any()
    else:
        assert not len(tables.tags) and not len(tables.embeddings) and not len(tables.segments)
    if inputs is not None:
        rows = pd.concat([frame[["track_id", "path"]] for frame in (tables.tracks, tables.errors) if len(frame)])
        assert sorted(rows.drop_duplicates("track_id")["path"]) == sorted(os.fspath(path) for path in inputs)
    return tables


def assert_counted(counts: Counts, n_inputs: int) -> None:
    """Every input is ok, up to date or failed; the counts add up and nothing is left."""
    ended = counts.n_ok + counts.n_up_to_date + counts.n_failed + counts.n_failed_before
    assert (counts.n_found, ended, counts.n_left) == (n_inputs, n_inputs, 0)


def assert_same(one: Path, other: Path) -> None:
    """Row for row but for when it was made; scores to 1e-6 and vectors to 1e-5."""
    for table in _TABLES:
        left, right = (
            getattr(read(folder), table).drop(columns=["processed_at"], errors="ignore") for folder in (one, other)
        )
        vectors = [name for name in ("embedding", "scores") if name in left]
        numbers = [name for name in ("score", "score_max") if name in left]
        rest = [frame.drop(columns=vectors + numbers) for frame in (left, right)]
        pd.testing.assert_frame_equal(*rest, check_categorical=False)
        for name in vectors:
            np.testing.assert_allclose(np.stack(list(left[name])), np.stack(list(right[name])), atol=1e-5)
        for name in numbers:
            np.testing.assert_allclose(left[name], right[name], atol=1e-6)


def _assert_tags(tags: pd.DataFrame, track_ids: list[str], top_k: int) -> None:
    assert tags.groupby("track_id").size().to_dict() == dict.fromkeys(track_ids, top_k)
    ordered = tags.sort_values(["track_id", "rank"])
    assert (ordered.groupby("track_id").cumcount() + 1 == ordered["rank"]).all()
    assert np.isfinite(ordered["score"]).all()


def _ids(frame: pd.DataFrame) -> list[str]:
    return frame["track_id"].tolist() if len(frame) else []
