from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO, StringIO

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiopatch.tables import FORMATS, schema
from audiopatch.tables.formats import JsonLines
from audiopatch.tables.schema import Layout
from audiopatch.tables.tables import labels_table, tables_of, text_path, writable
from audiopatch.types import Decoded, Failed, SegmentRow, Track, TrackRow
from audiopatch.zoo.labels import describe_labels

LABELS = ("Rock---Punk", "Electronic---Ambient", "Speech")
LAYOUT = Layout(labels=LABELS, top_k=2, dense=True, timeline=True)


def _track(name: str = "a.mp3", number: int = 1) -> Track:
    return Track(f"/music/{name}", "/music", f"{number:016x}", 1000 + number, 1_700_000_000_000_000_000 + number)


def _row(track: Track, scores=(0.1, 0.9, 0.5), *, damaged: bool = False) -> TrackRow:
    values = np.array(scores, np.float32)
    decoded = Decoded(
        track, 2, 15.0, 44_100, 2, "mp3", "ab" * 16, damaged, tags={"artist": "A\x1b[31m\nB", "title": "ß"}
    )
    cuts = tuple(SegmentRow(i, 5.0 * i, 5.0 * i + 10, values, values[:2]) for i in range(2))
    return TrackRow(decoded, values, values + 0.05, values[:2] * 100, cuts)


def test_the_best_tags_in_order_with_parent_and_leaf():
    tags = tables_of([_row(_track())], LAYOUT)["tags"].to_pylist()
    assert [(tag["rank"], tag["label"], tag["parent"], tag["leaf"]) for tag in tags] == [
        (1, "Electronic---Ambient", "Electronic", "Ambient"),
        (2, "Speech", None, "Speech"),
    ]
    assert tags[0]["score"] == pytest.approx(0.9)
    assert tags[0]["score_max"] == pytest.approx(0.95)


def test_a_line_of_a_track_without_tags_has_an_empty_list_of_them():
    stream = StringIO()
    JsonLines(stream, replace(LAYOUT, min_score=0.95)).write([_row(_track())])
    assert json.loads(stream.getvalue())["tags"] == []


def test_min_score_and_all_labels():
    def count(**options) -> int:
        return len(tables_of([_row(_track())], Layout(labels=LABELS, **options))["tags"])

    assert count(top_k=None) == 3
    assert count(top_k=None, min_score=0.5) == 2
    assert count(top_k=1, min_score=0.5) == 1


def test_every_label_may_have_a_threshold_of_its_own():
    scores = (0.9, 0.3, 0.2)

    def tags(**options) -> list[str]:
        layout = Layout(labels=LABELS, min_scores=(0.95, 0.3, 0.1), **options)
        return tables_of([_row(_track(), scores)], layout)["tags"]["label"].to_pylist()

    assert tags() == [LABELS[1], LABELS[2]]
    assert tags(top_k=1) == [LABELS[1]]  # the highest score is not meant, so it takes nobody's place
    assert tags(min_score=0.25) == [LABELS[1]]


def test_a_track_without_a_tag_above_the_threshold_keeps_its_row():
    tables = tables_of([_row(_track())], Layout(labels=LABELS, min_score=0.99))
    assert "tags" not in tables and len(tables["tracks"]) == 1


def test_vectors_are_fixed_size_and_halves():
    tables = tables_of([_row(_track()), _row(_track("b.mp3", 2))], LAYOUT)
    assert tables["embeddings"].schema.field("embedding").type == pa.list_(pa.float16(), 2)
    assert tables["embeddings"].schema.field("scores").type == pa.list_(pa.float16(), 3)
    assert len(tables["segments"]) == 4
    assert tables["segments"]["embedding"][1].as_py() == pytest.approx([0.1, 0.9], abs=1e-3)


def test_failed_and_damaged_tracks_have_error_rows():
    tables = tables_of(
        [Failed(_track(), "E_DECODE", "open", "no\x07", ("av",)), _row(_track("b", 2), damaged=True)], LAYOUT
    )
    assert [row["code"] for row in tables["errors"].to_pylist()] == ["E_DECODE", "E_DECODE"]
    assert [row["status"] for row in tables["tracks"].to_pylist()] == ["damaged"]
    assert tables["errors"]["message"][0].as_py() == "no"


def test_names_that_are_not_utf_8_keep_their_bytes():
    raw = b"/music/caf\xe9.mp3"
    track = Track(raw.decode(errors="surrogateescape"), "/music", "1" * 16, 1, 1)
    row = tables_of([_row(track)], LAYOUT)["tracks"].to_pylist()[0]
    assert row["path"] == "/music/caf\ufffd.mp3" and row["path_bytes"] == raw
    assert text_path("/music/café.mp3") == ("/music/café.mp3", None)


def test_control_characters_of_file_tags_are_gone():
    assert tables_of([_row(_track())], LAYOUT)["tracks"]["artist"][0].as_py() == "A [31m B"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_reads_back_what_it_wrote(name, tmp_path):
    sink = FORMATS.load(name)()
    metadata = {"audiopatch": json.dumps({"model": "x"})}
    for table, rows in tables_of([_row(_track()), _row(_track("b", 2), damaged=True)], LAYOUT).items():
        sink.write(rows.replace_schema_metadata(metadata), tmp_path / table)
        back = sink.read(BytesIO((tmp_path / table).read_bytes()))
        assert back.column_names == rows.column_names
        for column in {"size_bytes", "mtime_ns", "rank", "start_s", "score"} & set(rows.column_names):
            assert back[column].to_pylist() == pytest.approx(rows[column].to_pylist())
        assert back["track_id"].to_pylist() == rows["track_id"].to_pylist()
        assert sink.read(BytesIO((tmp_path / table).read_bytes()), ("track_id",)).column_names == ["track_id"]
        if "embedding" in rows.column_names:
            np.testing.assert_allclose(back["embedding"].to_pylist(), rows["embedding"].to_pylist())


@pytest.mark.parametrize("name", FORMATS)
def test_long_vectors_come_back(name, tmp_path):
    """The stacks of six blocks of MAEST."""
    sink = FORMATS.load(name)()
    vectors = np.random.default_rng(0).normal(size=(2, 6 * 3 * 768)).astype(np.float32)
    sink.write(pa.table({"embedding": list(vectors)}), tmp_path / "table")
    back = sink.read(BytesIO((tmp_path / "table").read_bytes()))
    np.testing.assert_array_equal(np.array(back["embedding"].to_pylist(), np.float32), vectors)


def test_parquet_keeps_types_and_metadata(tmp_path):
    sink = FORMATS.load("parquet")()
    rows = tables_of([_row(_track())], LAYOUT)["embeddings"].replace_schema_metadata({"audiopatch": "{}"})
    sink.write(rows, tmp_path / "x")
    assert sink.read(BytesIO((tmp_path / "x").read_bytes())).schema.equals(rows.schema, check_metadata=True)


def test_labels():
    assert labels_table(describe_labels("", LABELS)).to_pylist()[0] == {
        "label_id": 0,
        "label": "Rock---Punk",
        "parent": "Rock",
        "leaf": "Punk",
        "group": "genre",
    }
    assert labels_table(()).num_rows == 0


def test_a_tree_beside_the_labels_gives_their_parents():
    tree = {"Techno": "Electronic music", "Music": ""}
    rows = labels_table(describe_labels("audioset", ["Techno", "Music", "Rock---Punk"])).to_pylist()
    assert [(row["parent"], row["leaf"], row["group"]) for row in rows] == [
        ("Electronic music", "Techno", "genre"),
        (None, "Music", None),
        ("Rock", "Punk", "genre"),
    ]
    tags = tables_of([_row(_track(), scores=(0.9, 0.8))], Layout(labels=("Techno", "Music"), parents=tree))["tags"]
    assert tags["parent"].to_pylist() == ["Electronic music", None]


@given(
    scores=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30), top_k=st.integers(1, 40), least=st.floats(0, 1)
)
def test_tags_are_the_highest_scores(scores, top_k, least):
    layout = Layout(labels=tuple(f"l{i}" for i in range(len(scores))), top_k=top_k, min_score=least)
    tables = tables_of([_row(_track(), scores)], layout)
    got = tables["tags"]["score"].to_pylist() if "tags" in tables else []
    assert got == [
        score for score in sorted(scores, reverse=True)[:top_k] if score >= np.float32(least) or score >= least
    ]


def test_schema_tables_are_those_of_the_folder():
    assert set(schema.TABLES) == {"tracks", "tags", "embeddings", "segments", "errors"}
    assert schema.TABLES[-1] == "tracks"  # written last: who sees a track sees its tags


def test_a_row_that_no_table_can_hold_leaves_its_neighbours_alone():
    tracks = [_track(f"{n}.mp3", n) for n in range(4)]
    beyond = replace(tracks[1], mtime_ns=2**63 + 5)
    loud = _row(tracks[2])
    many = replace(loud, decoded=replace(loud.decoded, channels=70_000))
    tables = writable([_row(tracks[0]), _row(beyond), many, _row(tracks[3])], LAYOUT)
    assert set(tables["tracks"]["track_id"].to_pylist()) == {tracks[0].track_id, tracks[3].track_id}
    errors = {row["track_id"]: row for row in tables["errors"].to_pylist()}
    assert errors.keys() == {tracks[1].track_id, tracks[2].track_id}
    assert {row["code"] for row in errors.values()} == {"E_WRITE"}
    assert errors[beyond.track_id]["mtime_ns"] == 2**63 - 1


def test_what_a_track_is_made_of_becomes_columns_and_no_tags():
    layout = Layout(labels=("Music", "Genre---Jazz"), content={"music": 0}, min_scores=(2.0, 0.0))
    tables = tables_of([_row(_track(), scores=(0.9, 0.4))], layout)
    (row,) = tables["tracks"].to_pylist()
    assert row["music"] == pytest.approx(0.9) and row["speech"] is None
    assert tables["tags"]["leaf"].to_pylist() == ["Jazz"]
