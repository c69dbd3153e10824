"""The tables are for other programs: each of these reads them as they are, with one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import audiopatch


@pytest.fixture(scope="module")
def out(library, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("readers") / "audiopatch.out"
    for part in ("album 0", "album 1", "long.wav"):  # three parts, as after three runs
        audiopatch.tag(
            library / part,
            folder,
            model="tiny-random",
            embeddings=True,
            dense=True,
            timeline=True,
            threads=1,
            workers=0,
        )
    assert len(list((folder / "tracks").glob("part-*"))) == 3
    return folder


def test_pandas(out):
    import pandas as pd

    tags = pd.read_parquet(out / "tags")
    assert len(tags) == 90 and tags["track_id"].nunique() == 9
    vectors = pd.read_parquet(out / "embeddings")
    assert np.stack(list(vectors["embedding"])).shape == (9, 64)


def test_polars(out):
    import polars as pl

    tags = pl.read_parquet(out / "tags" / "*.parquet")
    best = tags.filter(pl.col("rank") == 1).sort("score", descending=True)
    assert len(best) == 9
    assert pl.read_parquet(out / "embeddings" / "*.parquet")["embedding"].dtype.shape == (64,)


def test_duckdb(out):
    import duckdb

    rows = duckdb.sql(
        f"""select path, score from '{out}/tags/*.parquet' join '{out}/tracks/*.parquet' using (track_id, path)
            where leaf = (select first(leaf) from '{out}/tags/*.parquet' where rank = 1) order by score desc limit 10"""
    ).fetchall()
    assert 1 <= len(rows) <= 9 and os.path.exists(rows[0][0])  # noqa: PTH110
    norm = duckdb.sql(
        f"select list_inner_product(e, e) from (select embedding::float[64] as e from '{out}/embeddings/*.parquet')"
    )
    assert all(value[0] > 0 for value in norm.fetchall())


def test_hugging_face_datasets(out, tmp_path):
    pytest.importorskip("datasets.load")  # the tests' own folder of that name can be imported, too
    import datasets

    found = datasets.load_dataset(
        "parquet", data_files=f"{out}/embeddings/*.parquet", split="train", cache_dir=str(tmp_path)
    )
    assert len(found) == 9 and len(found[0]["embedding"]) == 64


def test_lancedb(out, tmp_path):
    lancedb = pytest.importorskip("lancedb")

    table = lancedb.connect(tmp_path).create_table("tracks", pq.read_table(out / "embeddings"))
    query = np.asarray(table.to_arrow()["embedding"][0].as_py(), np.float16)
    assert table.search(query).limit(3).to_list()[0]["_distance"] == pytest.approx(0, abs=1e-3)


def test_each_part_says_what_its_numbers_are(out):
    for path in out.glob("*/part-*.parquet"):
        about = json.loads(pq.read_schema(path).metadata[b"audiopatch"])
        assert about["model"] == "tiny-random" and about["licence"] == "CC0-1.0" and about["plan"] == "none"
        assert about["fingerprint"] == json.loads((out / "run.json").read_text())["fingerprint"]
        assert {
            "schema_version",
            "run_id",
            "weights_sha256",
            "labels_hash",
            "frontend",
            "segment_s",
            "overlap",
        } <= about.keys()
        assert {"pool", "dtype", "device", "torch_version", "citation", "audiopatch_version"} <= about.keys()
