"""Files that change, vanish or get another time while a run is under way, or between two."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

from audiopatch.events import Planned
from soundness import assert_counted, assert_same, assert_sound


class _OncePlanned:
    """Does something when the inputs are known and none of them is open yet."""

    def __init__(self, deed: Callable[[], object]):
        self._deed = deed

    def __call__(self, event):
        if isinstance(event, Planned):
            self._deed()


@pytest.mark.fault("file changes or vanishes mid-run")
def test_files_that_change_or_vanish_have_one_row_and_the_next_run_sets_it_right(
    music, run, tone, tmp_path, record_property
):
    before = list(music.iterdir())
    gone, changed = [music / f"{n:02d}.flac" for n in (12, 13)], [music / f"{n:02d}.flac" for n in (10, 11, 15)]

    def ruin():
        for path in gone:
            path.unlink()
        changed[0].write_bytes(b"no audio any more")
        changed[1].write_bytes(changed[1].read_bytes()[: changed[1].stat().st_size // 2])
        tone(changed[2], seconds=2.0, frequency=999)

    counts = run(music, tmp_path / "out", observer=_OncePlanned(ruin)).counts
    assert_counted(counts, len(before))
    errors = assert_sound(tmp_path / "out", before).errors
    assert sorted(errors["code"]) == ["E_DECODE", "E_DECODE", "E_VANISHED", "E_VANISHED"]

    counts = run(music, tmp_path / "out").counts  # takes up exactly what is not as it was planned
    assert (counts.n_ok, counts.n_damaged, counts.n_failed) == (1, 1, 1)  # the third was read as it is now
    assert_counted(counts, len(before) - len(gone))
    for number, path in enumerate(gone):
        tone(path, seconds=1.0, frequency=500 + number)
    assert run(music, tmp_path / "out").counts.n_ok == len(gone)
    assert_sound(tmp_path / "out", before)
    run(music, tmp_path / "reference")
    assert_same(tmp_path / "out", tmp_path / "reference")
    record_property("tries", len(gone) + len(changed))


@pytest.mark.fault("file changes or vanishes mid-run")
def test_a_library_that_is_away_for_a_while_is_not_written_off(music, run, tmp_path):
    """An unmounted disk: its files fail, and come back with their old times and sizes."""
    away = tmp_path / "away"
    counts = run(music, tmp_path / "out", observer=_OncePlanned(lambda: music.rename(away))).counts
    assert_counted(counts, 16)
    assert counts.n_failed == 16
    away.rename(music)
    assert run(music, tmp_path / "out").counts.n_ok == 16
    assert len(assert_sound(tmp_path / "out", music.iterdir()).errors) == 0


@pytest.mark.fault("clock jumps")
def test_times_from_the_past_and_the_future_are_times_like_others(music, run, tmp_path, record_property):
    day_s = 86_400
    run(music, tmp_path / "out")
    first = shutil.copytree(tmp_path / "out", tmp_path / "first")
    jumps = {"00": 0, "01": -30 * 365 * day_s, "02": 2**33, "03": 1}
    for number, mtime_s in jumps.items():
        os.utime(music / f"{number}.flac", (mtime_s, mtime_s))
    now_ns = (music / "04.flac").stat().st_mtime_ns
    os.utime(music / "04.flac", ns=(now_ns, now_ns - 1))  # the smallest step backwards
    counts = run(music, tmp_path / "out").counts
    assert (counts.n_up_to_date, counts.n_inferences) == (16, 0)  # another time alone is no other music
    before_ns = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("part-*")}
    assert run(music, tmp_path / "out").counts.n_up_to_date == 16
    assert before_ns == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("part-*")}
    after = assert_sound(tmp_path / "out", music.iterdir())
    assert set(after.tracks["mtime_ns"]) == {path.stat().st_mtime_ns for path in music.iterdir()}
    before = assert_sound(first)
    assert after.tracks["audio_hash"].tolist() == before.tracks["audio_hash"].tolist()
    record_property("tries", len(jumps) + 1)
