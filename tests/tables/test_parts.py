from __future__ import annotations

import pyarrow as pa
import pytest

from audiopatch.tables.formats import ParquetSink
from audiopatch.tables.output import folder_at
from audiopatch.tables.parts import PartStore


@pytest.fixture
def store(tmp_path) -> PartStore:
    return PartStore(folder_at(tmp_path), ParquetSink())


def _tables(*track_ids: str, n_tags: int = 2) -> dict[str, pa.Table]:
    tags = [track_id for track_id in track_ids for _ in range(n_tags)]
    words = pa.array([f"label {i}" for i in range(len(tags))]).dictionary_encode()
    return {"tracks": pa.table({"track_id": list(track_ids)}), "tags": pa.table({"track_id": tags, "label": words})}


def _ids(store: PartStore, table: str = "tracks") -> list[str]:
    return sorted(track_id for _, rows in store.read(table) for track_id in rows["track_id"].to_pylist())


def test_parts_add_up(store):
    store.add("part-a", _tables("1", "2"))
    store.add("part-b", _tables("3"))
    assert store.names() == ["part-a", "part-b"]
    assert _ids(store) == ["1", "2", "3"]
    assert _ids(store, "tags") == ["1", "1", "2", "2", "3", "3"]
    assert store.track_ids("part-a") == {"1", "2"}


def test_new_rows_of_a_track_take_the_place_of_its_old_ones(store):
    store.add("part-a", _tables("1", "2"))
    store.add("part-b", _tables("2", "4", n_tags=3), replaces={"part-a": {"2"}})
    assert _ids(store) == ["1", "2", "4"]
    assert _ids(store, "tags").count("2") == 3


def test_a_part_replaced_as_a_whole_is_gone(store):
    store.add("part-a", _tables("1"))
    store.add("part-b", {"errors": pa.table({"track_id": ["1"]})}, replaces={"part-a": {"1"}})
    assert store.parts("tracks") == {} and store.parts("tags") == {}
    assert _ids(store, "errors") == ["1"]


def test_a_part_may_replace_one_of_its_own_name(store):
    store.add("part-a", {"errors": pa.table({"track_id": ["1"]})})
    store.add("part-a", _tables("1"), replaces={"part-a": {"1"}})
    assert _ids(store) == ["1"] and _ids(store, "errors") == []


def test_compaction_keeps_every_row(store):
    for number in range(5):
        store.add(f"part-{number}", _tables(str(number), f"{number}x"))
    before = _ids(store, "tags")
    store.compact("part-a11", [f"part-{number}" for number in range(4)])
    assert store.names() == ["part-4", "part-a11"]
    assert _ids(store, "tags") == before
