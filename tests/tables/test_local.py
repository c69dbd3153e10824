from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from audiopatch.errors import EnvironmentProblem, OutputMismatchError
from audiopatch.tables.local import LocalFile, LocalFolder, disk_errors, locked, pending, recover, transaction
from dying import dies_at

BEFORE = {"a/one": "1", "a/two": "2", "b/one": "1"}
AFTER = {"a/one": "1 changed", "b/three": "3", "c/four": "4"}


def _put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _seen(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and ".staging" not in path.parts]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def _change(folder: Path) -> None:
    with transaction(folder) as change:
        for name in AFTER:
            change.stage(name).write_text(AFTER[name])
        change.delete("a/two")
        change.delete("b/one")


def test_a_crash_before_any_step_leaves_all_of_the_change_or_none(tmp_path):
    outcomes = []
    for step in range(1, 100):
        folder = tmp_path / str(step)
        _put(folder, BEFORE)
        died = dies_at(step, lambda folder=folder: _change(folder))
        recover(folder)
        assert _seen(folder) in (BEFORE, AFTER)
        assert not list((folder / ".staging").glob("*"))
        outcomes.append(_seen(folder) == AFTER)
        if not died:
            break
    assert outcomes[0] is False and outcomes[-1] is True
    assert outcomes == sorted(outcomes)  # once committed it stays committed
    assert outcomes.count(True) > 3  # the roll-forward was really tried


def test_a_failing_block_changes_nothing(tmp_path):
    _put(tmp_path, BEFORE)
    with pytest.raises(ZeroDivisionError), transaction(tmp_path) as change:
        change.stage("a/one").write_text("torn")
        1 / 0  # noqa: B018
    assert _seen(tmp_path) == BEFORE
    assert list((tmp_path / ".staging").iterdir()) == []


def test_pending_tells_readers_of_a_change_that_is_committed_but_not_applied(tmp_path):
    _put(tmp_path, BEFORE | {".staging/x-0": "1 changed"})
    (tmp_path / ".staging" / "x.json").write_text('{"renames": {".staging/x-0": "a/one"}, "deletes": ["b/one"]}')
    assert pending(tmp_path) == ({"a/one": ".staging/x-0"}, {"b/one"})
    recover(tmp_path)
    assert pending(tmp_path) == ({}, set())
    assert _seen(tmp_path) == {"a/one": "1 changed", "a/two": "2"}


_DEEDS = ('{{"renames": {{"bait": "{}"}}, "deletes": []}}', '{{"renames": {{}}, "deletes": ["{}"]}}')


@pytest.mark.parametrize("place", ["../treasure", "{}/treasure", "a/../../treasure"])
@pytest.mark.parametrize("deed", _DEEDS, ids=["overwrite", "delete"])
def test_a_log_from_elsewhere_cannot_lead_out_of_the_folder(tmp_path, place, deed):
    """A folder may come from anybody: what its log wants outside of it is refused, not done."""
    folder, treasure = tmp_path / "out", tmp_path / "treasure"
    treasure.write_text("mine")
    _put(folder, {"bait": "theirs", ".staging/x.json": deed.format(place.format(tmp_path))})
    for obey in (recover, pending):
        with pytest.raises(OutputMismatchError, match="leads out of the output folder"):
            obey(folder)
    with pytest.raises(OutputMismatchError, match="leads out"), transaction(folder) as change:
        change.move(LocalFile(folder / "bait"), place.format(tmp_path))
    assert treasure.read_text() == "mine" and (folder / "bait").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"renames": [], "deletes": []}', '{"renames": {"a": 1}, "deletes": 2}']
)
def test_a_log_that_is_none_is_refused_in_words(tmp_path, text):
    _put(tmp_path, {".staging/x.json": text})
    with pytest.raises(OutputMismatchError, match="is no log of audiopatch"):
        recover(tmp_path)


@pytest.mark.parametrize(("number", "word"), [(28, "no space left"), (30, "cannot write"), (13, "cannot write")])
def test_disk_problems_are_sentences(tmp_path, number, word):
    with pytest.raises(EnvironmentProblem, match=word), disk_errors(tmp_path):
        raise OSError(number, os.strerror(number))


_HOLD = (
    "import sys, time; from pathlib import Path; from audiopatch.tables.local import locked\n"
    "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def test_a_second_run_is_refused_and_a_dead_one_is_no_obstacle(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    try:
        with (
            pytest.raises(OutputMismatchError, match=f"in use by another run \\(process {holder.pid}"),
            locked(tmp_path),
        ):
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with locked(tmp_path):
        pass


def test_a_disk_that_cannot_lock_is_said(tmp_path, monkeypatch):
    def flock(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(EnvironmentProblem, match="cannot lock files"), locked(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.ENOSYS])
def test_a_disk_that_promises_nothing_is_written_to_and_spoken_of(tmp_path, monkeypatch, number):
    """CIFS, WSL's shares and some FUSE answer fsync of a folder with an error."""

    def fsync(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    _change(tmp_path)
    assert _seen(tmp_path) == AFTER
    assert os.strerror(number) in LocalFolder(tmp_path).shortcoming()


def test_a_disk_that_fails_is_still_an_error(tmp_path, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output"):
        _change(tmp_path)


def test_what_a_synchroniser_leaves_in_the_staging_folder_changes_nothing(tmp_path):
    _put(tmp_path, BEFORE)
    stale = f"{'0' * 32} (conflicted copy).json"
    _put(tmp_path / ".staging", {stale: '{"renames": {}, "deletes": ["a/one"]}', "folder/x": ""})
    recover(tmp_path)
    assert _seen(tmp_path) == BEFORE and not list((tmp_path / ".staging").iterdir())
