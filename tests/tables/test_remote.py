"""A folder in a store: every change as a whole, one writer at a time. fsspec's memory stands for the store."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time

import fsspec
import pyarrow as pa
import pytest

from audiopatch.errors import OutputMismatchError
from audiopatch.storage import store as storage
from audiopatch.tables import remote, remote_lock
from audiopatch.tables.formats import ParquetSink
from audiopatch.tables.output import folder_at
from audiopatch.tables.parts import PartStore

_numbers = itertools.count()


@pytest.fixture
def url() -> str:
    return f"memory://tags-{next(_numbers)}"


def _rows(*track_ids: str) -> dict[str, pa.Table]:
    return {"tracks": pa.table({"track_id": list(track_ids)})}


def _ids(url: str) -> list[str]:
    """As a reader sees them."""
    store = PartStore(folder_at(url), ParquetSink())
    return sorted(track_id for _, rows in store.read("tracks") for track_id in rows["track_id"].to_pylist())


def _keys(url: str) -> list[str]:
    fs = fsspec.filesystem("memory")
    return sorted(name.removeprefix(f"/{url.removeprefix('memory://')}/") for name in fs.find(url))


def test_parts_are_added_replaced_and_merged(url):
    folder = folder_at(url)
    store = PartStore(folder, ParquetSink())
    with folder.locked():
        store.add("part-a", _rows("1", "2"))
        store.add("part-b", _rows("2", "3"), replaces={"part-a": {"2"}})
        assert _ids(url) == ["1", "2", "3"]
        store.add("part-b", _rows("3"), replaces={"part-b": {"2", "3"}})
        assert _ids(url) == ["1", "3"]
        store.compact("part-c", ["part-a", "part-b"])
        assert store.names() == ["part-c"]
    assert _ids(url) == ["1", "3"]
    assert [key for key in _keys(url) if key.startswith("tracks/")] == ["tracks/part-c.parquet"]


def test_a_change_that_dies_before_any_request_is_there_or_not(url, monkeypatch):
    """Stop before every write and deletion of a change in turn; then open the folder again."""
    left = [0]

    def dying(deed):
        def do(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return deed(*arguments, **options)

        return do

    fs = storage.store("memory")
    for name in ("pipe_file", "put_file", "rm_file", "cp_file"):
        monkeypatch.setattr(fs, name, dying(getattr(fs, name)))
    outcomes = []
    for step in range(1, 50):
        place = f"{url}/{step}"
        folder = folder_at(place)
        store = PartStore(folder, ParquetSink())
        with folder.locked():
            store.add("part-a", _rows("1", "2"))
            store.add("part-b", _rows("3"))
            left[0] = step
            try:
                store.add("part-c", _rows("2", "4"), replaces={"part-a": {"2"}, "part-b": {"3"}})
                died = False
            except KeyboardInterrupt:
                died = True
            left[0] = 0
        outcomes.append(_ids(place))
        assert outcomes[-1] in (["1", "2", "3"], ["1", "2", "4"])
        with folder_at(place).locked():
            assert _ids(place) == outcomes[-1]
        n_parts = 2  # a and b, or what is left of a and c
        assert len([key for key in _keys(place) if key.startswith("tracks/")]) == n_parts  # what was left has gone
        if not died:
            break
    assert not died and outcomes[0] == ["1", "2", "3"] and outcomes[-1] == ["1", "2", "4"]


def test_readers_see_the_old_or_the_new(url):
    """A reader that never rests, beside a writer that moves rows from part to part and merges them."""
    folder = folder_at(url)
    store = PartStore(folder, ParquetSink())
    seen: list[list[str]] = []
    done = threading.Event()

    def look():
        while not done.is_set():
            try:
                seen.append(_ids(url))
            except FileNotFoundError:  # as ``read`` does, look again
                continue

    with folder.locked():
        store.add("part-0", _rows("1", "2"))
        reader = threading.Thread(target=look)
        reader.start()
        for number in range(1, 80):
            store.add(f"part-{number}", _rows("1", "2"), replaces={f"part-{number - 1}": {"1", "2"}})
        done.set()
        reader.join()
    assert len(seen) > 3 and all(ids == ["1", "2"] for ids in seen)


def test_long_histories_stay_short(url):
    folder = folder_at(url)
    with folder.locked():
        for number in range(200):
            folder.write_text("run.json", str(number))
    assert folder_at(url).read_text("run.json") == "199"
    assert len([key for key in _keys(url) if key.startswith(remote.HISTORY)]) < 2 * 64 + 2
    assert fsspec.filesystem("memory").cat_file(f"{url}/run.json") == b"199"


def test_of_two_writers_that_saw_the_same_one_is_refused(url):
    """As when a run that was stalled for long comes back after another has taken over."""
    stalled = folder_at(url)
    with stalled.locked():
        PartStore(stalled, ParquetSink()).add("part-a", _rows("1"))
        storage.delete([f"{url}/.lock"])
        with folder_at(url).locked(), pytest.raises(OutputMismatchError, match="another run writes"):
            PartStore(stalled, ParquetSink()).add("part-b", _rows("2"))
    assert _ids(url) == ["1"]


def test_the_second_run_is_refused_with_the_name_of_the_first(url):
    with (
        folder_at(url).locked(),
        pytest.raises(OutputMismatchError, match=f"in use by another run \\(process {os.getpid()} on "),
        folder_at(url).locked(),
    ):
        pass
    with folder_at(url).locked():
        pass
    assert ".lock" not in _keys(url)


def _foreign(url: str, renewals: int = 1) -> None:
    lock = {"process": 1, "host": "elsewhere", "machine": "elsewhere", "token": "x", "renewals": renewals}
    fsspec.filesystem("memory").pipe_file(f"{url}/.lock", json.dumps(lock).encode())


def test_a_lock_of_another_machine_holds_while_it_is_renewed(url, monkeypatch):
    monkeypatch.setattr(remote_lock, "_DEAD_AFTER_S", 0.6)
    monkeypatch.setattr(remote_lock, "_LOOK_S", 0.05)
    _foreign(url)
    threading.Timer(0.2, _foreign, (url, 2)).start()
    with pytest.raises(OutputMismatchError, match="process 1 on elsewhere"), folder_at(url).locked():
        pass
    began = time.monotonic()
    with folder_at(url).locked():  # nothing more is heard of it
        assert time.monotonic() - began > 0.5


def test_who_loses_the_lock_commits_nothing_more(url, monkeypatch):
    monkeypatch.setattr(remote_lock, "_RENEWED_S", 0.05)
    folder = folder_at(url)
    with folder.locked():
        _foreign(url)
        time.sleep(0.3)
        with pytest.raises(OutputMismatchError, match="has taken over"):
            folder.write_text("run.json", "{}")
    assert ".lock" in _keys(url)  # and leaves the other's lock alone


@pytest.mark.parametrize("text", ["", "[]", '{"whole": false, "files": {"a": ["../../b", 1, "", 1]}, "texts": {}}'])
def test_a_history_from_elsewhere_is_refused_in_words(url, text):
    fsspec.filesystem("memory").pipe_file(f"{url}/{remote.HISTORY}/000000000001.json", text.encode())
    with pytest.raises(OutputMismatchError, match="is no record of audiopatch"):
        folder_at(url).files("tracks")
