from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from audiopatch.errors import OutputMismatchError, UsageError
from audiopatch.tables import FORMATS
from audiopatch.tables.compaction import Compacted, compact, compact_folder
from audiopatch.tables.local import locked, recover
from audiopatch.tables.output import fingerprint, folder_at
from audiopatch.tables.parts import PartStore
from audiopatch.tables.read import read
from dying import dies_at

FINGERPRINT = "0123456789abcdef"


@pytest.mark.parametrize("file_format", FORMATS)
def test_small_parts_become_few_and_keep_every_row(tmp_path, file_format):
    store = PartStore(folder_at(tmp_path), FORMATS.load(file_format)())
    for number in range(20):
        tables = {"tracks": pa.table({"track_id": [f"{number:016x}"], "title": pa.array([None], pa.string())})}
        if number % 3 == 0:
            tables["errors"] = pa.table({"track_id": [f"{number:016x}"]})
        store.add(f"part-{number:02d}", tables)
    size = sum(store.sizes().values())
    assert compact(store, FINGERPRINT, part_bytes=size // 2) >= 16
    assert len(store.names()) <= 4
    for table, expected in (("tracks", range(20)), ("errors", range(0, 20, 3))):
        found = sorted(track_id for _, rows in store.read(table) for track_id in rows["track_id"].to_pylist())
        assert found == [f"{number:016x}" for number in expected]
    assert compact(store, FINGERPRINT) == 0


def test_few_or_large_parts_are_left_alone(tmp_path):
    store = PartStore(folder_at(tmp_path), FORMATS.load("parquet")())
    for number in range(20):
        store.add(f"part-{number:02d}", {"tracks": pa.table({"track_id": [f"{number:016x}"]})})
    assert compact(store, FINGERPRINT, at_least=21) == 0
    assert compact(store, FINGERPRINT, part_bytes=100) == 0
    assert len(store.names()) == 20


def _output(folder: Path, n_parts: int) -> PartStore:
    """As a run leaves it: a row of two tables in each part, and ``run.json``."""
    parameters = {"format": "parquet"}
    store = PartStore(folder_at(folder), FORMATS.load("parquet")())
    for number in range(n_parts):
        rows = pa.table({"track_id": [f"{number:016x}"]})
        store.add(f"part-{number:02d}", {"tracks": rows, "tags": rows})
    run = {"parameters": parameters, "fingerprint": fingerprint(parameters)}
    (folder / "run.json").write_text(json.dumps(run))
    return store


def _seen(folder: Path) -> tuple[list[str], list[str]]:
    tables = read(folder)
    return tables.tracks["track_id"].tolist(), tables.tags["track_id"].tolist()


def test_a_folder_is_merged_whatever_the_number_of_its_parts(tmp_path):
    _output(tmp_path, 3)
    before = _seen(tmp_path)
    assert compact_folder(tmp_path) == Compacted(3, 1)
    assert compact_folder(tmp_path) == Compacted(1, 1)
    assert _seen(tmp_path) == before


def test_a_folder_in_use_or_of_something_else_is_left_alone(tmp_path):
    _output(tmp_path / "out", 3)
    with locked(tmp_path / "out"), pytest.raises(OutputMismatchError, match="in use by another run"):
        compact_folder(tmp_path / "out")
    with pytest.raises(UsageError, match="there are no tables in"):
        compact_folder(tmp_path / "music")
    assert not (tmp_path / "music").exists()


@pytest.mark.fault("kill -9 of a compaction")
def test_a_compaction_killed_before_any_step_loses_and_repeats_nothing(tmp_path, record_property):
    _output(tmp_path / "pristine", 2)
    before = _seen(tmp_path / "pristine")
    step, merged = 0, []
    while True:
        step += 1
        folder = shutil.copytree(tmp_path / "pristine", tmp_path / str(step))
        store = PartStore(folder_at(folder), FORMATS.load("parquet")())
        died = dies_at(step, lambda store=store: compact(store, FINGERPRINT, at_least=2))
        assert _seen(tmp_path / str(step)) == before  # as the crash left it
        recover(tmp_path / str(step))
        assert _seen(tmp_path / str(step)) == before
        merged.append(len(store.names()) == 1)
        if not died:
            break
    assert merged == sorted(merged) and merged[-1] and merged.count(True) > 3
    record_property("tries", step - 1)


def test_readers_see_the_old_parts_or_the_new_one(tmp_path):
    """A reader that never rests, beside a compaction that begins again and again."""
    for round_ in range(8):
        store = _output(tmp_path / str(round_), 12)
        before = _seen(tmp_path / str(round_))
        merging = threading.Thread(target=compact, args=(store, FINGERPRINT), kwargs={"at_least": 2})
        merging.start()
        while merging.is_alive():
            assert _seen(tmp_path / str(round_)) == before
        assert store.names() != [] and _seen(tmp_path / str(round_)) == before
