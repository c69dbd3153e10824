from __future__ import annotations

import dataclasses
import os
import resource
import time

import numpy as np
import pytest

from audiopatch.tables.formats import ParquetSink
from audiopatch.tables.journal import Journal, Known, list_work, part_name
from audiopatch.tables.output import folder_at
from audiopatch.tables.parts import PartStore
from audiopatch.tables.schema import Layout
from audiopatch.tables.tables import tables_of
from audiopatch.types import Decoded, Failed, Track, TrackRow


def _track(number: int) -> Track:
    return Track(
        f"/music/{number}.mp3", "/music", f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}", 1000 + number, 5 + number
    )


def _ok(track: Track, *, damaged: bool = False) -> TrackRow:
    return TrackRow(Decoded(track, 1, 9.0, 44_100, 2, "mp3", "", damaged), np.array([0.5]), np.array([0.5]), None)


@pytest.fixture
def journal(tmp_path) -> Journal:
    """Tracks 0-2 are done (2 damaged), 3 failed, the rest unknown."""
    store = PartStore(folder_at(tmp_path), ParquetSink())
    layout = Layout(labels=("x",))
    store.add("part-0", tables_of([_ok(_track(0)), _ok(_track(1))], layout))
    store.add("part-1", tables_of([_ok(_track(2), damaged=True), Failed(_track(3), "E_DECODE", "open", "no")], layout))
    return Journal.of(store)


def test_every_track_is_in_exactly_one_class(journal):
    with list_work(map(_track, range(10)), journal, folder=None) as work:
        assert (work.n_up_to_date, work.n_failed_before, work.n_todo) == (3, 1, 6)
        assert work.n_found == 10
        assert list(work) == [_track(number) for number in range(4, 10)]


def test_retry_failed(journal):
    with list_work(map(_track, range(4)), journal, folder=None, retry_failed=True) as work:
        assert list(work) == [_track(2), _track(3)]  # a damaged one may be whole now


@pytest.mark.parametrize("code", ["E_IO", "E_NETWORK", "E_PERM"])
def test_trouble_of_the_moment_is_no_property_of_a_file(tmp_path, code):
    store = PartStore(folder_at(tmp_path), ParquetSink())
    store.add("part-0", tables_of([Failed(_track(1), code, "decode", "no")], Layout()))
    with list_work([_track(1)], Journal.of(store), folder=None) as work:
        assert list(work) == [_track(1)]


@pytest.mark.parametrize("number", [0, 2, 3])
def test_a_changed_file_is_done_again_and_replaces_its_rows(journal, number):
    changed = dataclasses.replace(_track(number), mtime_ns=77)
    with list_work([changed], journal, folder=None) as work:
        assert list(work) == [changed]
    assert journal.replaced_by([changed, _track(9)]) == {f"part-{number // 2}": {changed.track_id}}


def test_a_file_that_had_vanished_is_to_do_once_it_is_back(tmp_path):
    store = PartStore(folder_at(tmp_path), ParquetSink())
    away = dataclasses.replace(_track(2), size_bytes=0, mtime_ns=0)  # a listed name with no file behind it
    store.add("part-0", tables_of([Failed(track, "E_VANISHED", "open", "no") for track in (_track(1), away)], Layout()))
    with list_work([_track(1), away], Journal.of(store), folder=None) as work:
        assert list(work) == [_track(1)] and work.n_failed_before == 1


def test_plans_hold_any_name(tmp_path):
    odd = Track(os.fsdecode(b"/m/\xff\n\t.mp3"), "/m", "f" * 16, 1, 2)
    with list_work([odd], Journal.empty(), folder=tmp_path) as work:
        assert list(work) == [odd] == list(work)


def test_shards_are_fixed(journal):
    with list_work(map(_track, range(10)), journal, folder=None) as work:
        sizes = [len(shard) for shard in work.shards(4)]
        assert sizes == [4, 2]
        assert list(work.shards(4)) == list(work.shards(4))


def test_part_names_depend_on_tracks_and_parameters_only():
    tracks = [_track(number) for number in range(3)]
    assert part_name(tracks, "0" * 16) == part_name(tracks[::-1], "0" * 16)
    assert part_name(tracks, "0" * 16) != part_name(tracks, "1" * 16)
    assert part_name(tracks, "0" * 16) != part_name(tracks[:2], "0" * 16)


def test_negative_and_huge_times_are_stamps_too(tmp_path):
    store = PartStore(folder_at(tmp_path), ParquetSink())
    old = dataclasses.replace(_track(1), mtime_ns=-5, size_bytes=2**50)
    store.add("part-0", tables_of([_ok(old)], Layout(labels=("x",))))
    assert Journal.of(store).find(old) == Known(0, failed=False, damaged=False, unchanged=True)


@pytest.mark.slow
def test_planning_a_million_tracks(tmp_path):
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with list_work(map(_track, range(1_000_000)), Journal.empty(), folder=tmp_path) as work:
        assert work.n_todo == 1_000_000
    seconds, grown_mb = (
        time.process_time() - start,
        (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    )
    print(f"\nplanned 1 M tracks in {seconds:.1f} CPU-s, +{grown_mb:.0f} MB")
    assert grown_mb < 200
