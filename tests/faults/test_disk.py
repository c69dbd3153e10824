"""Disks that fill up at any point of a run, and disks that turn read-only: exit in words, resume where it stood."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audiopatch.errors import EnvironmentProblem
from audiopatch.events import TrackDone
from soundness import assert_counted, assert_same, assert_sound


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own; skips where this user may not mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    _mount(place, "-t", "tmpfs", "-o", "size=2m", "tmpfs") or pytest.skip("no right to mount a small disk here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)  # a traceback may still hold a file open


def _mount(place: Path, *options: str) -> bool:
    if not shutil.which("mount"):
        return False
    return subprocess.run(["mount", *options, place], capture_output=True, check=False).returncode == 0


class _After:
    """Does something once so many tracks are finished."""

    def __init__(self, n_tracks: int, deed: Callable[[], object]):
        self._n_tracks, self._deed = n_tracks, deed

    def __call__(self, event):
        if isinstance(event, TrackDone) and event.counts.n_ok + event.counts.n_failed == self._n_tracks:
            self._deed()


@pytest.mark.slow
@pytest.mark.fault("full disk")
def test_a_disk_that_fills_up_at_any_point(music, run, disk, tmp_path, record_property):
    """Room for nothing, for half a part, for some parts: every time the run ends in words and can be resumed."""
    run(music, tmp_path / "reference")
    n_full = 0
    for spare_kb in range(0, 600, 20):
        output = disk / "out"
        (disk / "ballast").write_bytes(b"x" * (shutil.disk_usage(disk).free - spare_kb * 1024))
        try:
            run(music, output)
        except EnvironmentProblem as error:
            assert "no space left" in str(error)
            n_full += 1
        if (output / "run.json").exists():
            assert_sound(output)
        (disk / "ballast").unlink()
        assert_counted(run(music, output).counts, 16)
        assert_same(output, tmp_path / "reference")
        shutil.rmtree(output)
    assert n_full > 5
    record_property("tries", n_full)


@pytest.mark.fault("read-only output")
def test_an_output_that_turns_read_only_ends_in_words_and_resumes(music, run, disk, record_property):
    output = disk / "out"
    staging = output / ".staging"

    def turn_read_only():
        while not list(output.glob("tracks/part-*")):  # the writer has a thread of its own
            time.sleep(0.01)
        assert _mount(staging, "-t", "tmpfs", "-o", "ro", "tmpfs")  # the disk itself has files open for writing

    with pytest.raises(EnvironmentProblem, match="cannot write to"):
        run(music, output, observer=_After(5, turn_read_only))
    subprocess.run(["umount", staging], check=True)
    n_safe = len(assert_sound(output).tracks)
    assert 0 < n_safe < 16
    assert _mount(disk, "-o", "remount,ro")
    with pytest.raises(EnvironmentProblem, match="cannot write to"):  # from the start
        run(music, output)
    assert len(assert_sound(output).tracks) == n_safe
    assert _mount(disk, "-o", "remount,rw")
    counts = run(music, output).counts
    assert (counts.n_up_to_date, counts.n_ok) == (n_safe, 16 - n_safe)
    assert_sound(output, music.iterdir())
    record_property("tries", 2)
