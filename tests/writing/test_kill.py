"""``kill -9`` before every step of a write or an undo: each file is wholly old or wholly new, and all come back."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import audiopatch
from audiopatch.writing.apply import Written
from audiopatch.writing.journal import Write, WriteJournal
from audiopatch.writing.undo import list_writes
from containers import CONTAINERS, make, state

# What changes a disk, as the interpreter tells of it, and what makes a change durable.
_STEPS = {
    "open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.chown", "os.utime", "os.setxattr", "os.truncate"
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def killed_at(step: int, deed: Callable[[], object]) -> bool:
    """Do it in a child that is killed before its ``step``-th step; False once it has fewer and got to its end."""
    if pid := os.fork():
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status in (0, -signal.SIGKILL)
        return status != 0
    left, sync = step, os.fsync

    def watch(event: str, args: tuple) -> None:
        nonlocal left
        if (event in _STEPS and (event != "open" or (args[2] or 0) & _WRITING)) or event == "fsync":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = lambda descriptor: (sys.audit("fsync", descriptor), sync(descriptor))[1]
    sys.addaudithook(watch)
    try:
        deed()
    except BaseException:
        os._exit(1)
    os._exit(0)


@pytest.fixture(params=[("mp3",), pytest.param(CONTAINERS, marks=pytest.mark.slow)], ids=["some steps", "all"])
def music(request, tmp_path) -> Path:
    (tmp_path / "music").mkdir()
    for kind in request.param:
        make(tmp_path / "music", kind)
    return tmp_path / "music"


def _stride(music: Path) -> int:
    """Every fifth step of one file, or all steps of many."""
    return 5 if len(list(music.iterdir())) == 1 else 1


def _write(out: Path) -> Written:
    return audiopatch.apply_changes(audiopatch.propose_changes(out, genre=2, mood=1), out)


def _undo_all(out: Path) -> None:
    for one in reversed(list_writes(out)):
        audiopatch.undo(out, one.name)


def _bytes(folder: Path) -> dict[str, str]:
    return {name: digest for name, (digest, _) in state(folder).items() if not name.startswith(".")}


@pytest.mark.fault("kill -9 of a write")
def test_a_write_killed_before_every_step(music, tables, tmp_path, record_property):
    out = tables(*music.iterdir())
    before, fresh = state(music), shutil.copytree(out, tmp_path / "fresh")
    _write(out)
    old, new = ({name: digest for name, (digest, _) in one.items()} for one in (before, state(music)))
    audiopatch.undo(out)
    step, stride = 0, _stride(music)
    while True:
        step += stride
        shutil.rmtree(out)
        shutil.copytree(fresh, out)
        ended = not killed_at(step, lambda: _write(out))
        now = _bytes(music)
        assert now.keys() == old.keys() and all(now[name] in (old[name], new[name]) for name in now), step
        if step // stride % 2:
            _write(out)
            assert _bytes(music) == new, step
            assert len(list_writes(out)) == 1, "an interrupted write goes on under its name"
        audiopatch.undo(out)
        assert state(music) == before, step
        tracks = audiopatch.read(out).tracks.set_index("path")
        for path in music.iterdir():
            assert tracks.loc[str(path), "size_bytes"] == path.stat().st_size
        if ended:
            break
    assert step > 30
    record_property("tries", step // stride)


@pytest.mark.fault("kill -9 of an undo")
def test_an_undo_killed_before_every_step(music, tables, record_property):
    out = tables(*music.iterdir())
    before = state(music)
    step, stride = 0, _stride(music)
    while True:
        step += stride
        _write(out)
        new = _bytes(music)
        ended = not killed_at(step, lambda: audiopatch.undo(out))
        now = _bytes(music)
        assert all(now[name] in (before[name][0], new[name]) for name in now), step
        if step // stride % 3 == 0:
            _write(out)
            assert _bytes(music) == new, step
        _undo_all(out)
        assert state(music) == before, step
        shutil.rmtree(out / "writes")
        if ended:
            break
    assert step > 15
    record_property("tries", step // stride)


def test_tables_that_a_killed_undo_left_behind_know_the_file_by_the_journal(tables, tmp_path):
    """Musepack, whose audio the tables have no hash of."""
    path = make(tmp_path, "mpc")
    out, before = tables(path), path.read_bytes()
    assert _write(out).n("written") == 1
    shutil.copytree(out, tmp_path / "behind")
    audiopatch.undo(out)
    shutil.rmtree(out)
    shutil.copytree(tmp_path / "behind", out)
    assert _write(out).n("written") == 1
    _undo_all(out)
    assert path.read_bytes() == before
    shutil.rmtree(out)
    shutil.copytree(tmp_path / "behind", out)
    path.write_bytes(before[:-20] + bytes(20))  # other audio, which no journal has seen
    (refused,) = _write(out).outcomes
    assert "is not what was analysed" in refused.reason


@pytest.mark.slow
@pytest.mark.fault("kill -9 of a write")
def test_the_command_killed_at_any_time(tables, tmp_path, record_property):
    """From outside, at random instants, the process that a user starts."""
    (tmp_path / "music").mkdir()
    for number, kind in enumerate(CONTAINERS * 3):
        make(tmp_path / "music", kind, seed=number).rename(tmp_path / "music" / f"{number}.{kind}")
    before, out = state(tmp_path / "music"), tables(*(tmp_path / "music").iterdir())
    command = [sys.executable, "-m", "audiopatch", "write", "--in", str(out), "--genre", "2", "--mood", "1", "--apply"]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole_s = time.monotonic() - began
    new = _bytes(tmp_path / "music")
    audiopatch.undo(out)
    chance, n_killed = random.Random(0), 0
    for number in range(40):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(chance.uniform(whole_s * 0.4, whole_s))
            process.kill()
            n_killed += process.wait() == -signal.SIGKILL
        now = _bytes(tmp_path / "music")
        assert all(now[name] in (before[name][0], new[name]) for name in now)
        if number % 2:
            subprocess.run(command, check=True, capture_output=True)
            assert _bytes(tmp_path / "music") == new
        audiopatch.undo(out)
        assert state(tmp_path / "music") == before
    assert n_killed > 10
    record_property("tries", n_killed)


def test_a_journal_torn_at_any_byte_keeps_the_records_before(tmp_path):
    write = Write(tmp_path)
    with WriteJournal(write) as journal:
        for number in range(3):
            journal.append(os.urandom(50), kind="file", number=number)
    path = tmp_path / "journal"
    whole = path.read_bytes()
    ends = [record.end for record in write.records()]
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        assert len(list(write.records())) == sum(end <= size for end in ends)
        with WriteJournal(write) as journal:
            journal.append(b"more", kind="file", number=99)
        assert [record.said["number"] for record in write.records()][-1] == 99
        assert list(write.records())[-1].content() == b"more"
