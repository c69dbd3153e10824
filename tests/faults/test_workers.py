"""Decoders that crash, hang or are killed in the middle of a run: each costs one track, and only until a retry."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path

import psutil
import pytest

from audiopatch.events import Finished, Planned
from decode_workers import decode_workers
from soundness import assert_counted, assert_same, assert_sound

N_LONG = 12

# Imported by every worker at its start: real crashes and hangs inside the decoder, for files that ask for one.
_SABOTAGE = """
import os, signal, time
from audiopatch.audio import decode

def crash():
    os.kill(os.getpid(), signal.SIGSEGV)

def hang():
    while True:
        time.sleep(1)

def opener(file, _open=decode.DECODERS["av"]):
    source = _open(file)
    for word, deed in (("crash", crash), ("hang", hang)):
        if word in file.name:
            deed()
    return source

decode.DECODERS["av"] = opener
"""


@pytest.fixture
def sabotaged(tmp_path, monkeypatch):
    """Workers started until ``undo`` do what a file's name says."""
    (tmp_path / "sabotage").mkdir()
    (tmp_path / "sabotage" / "sitecustomize.py").write_text(_SABOTAGE)
    monkeypatch.syspath_prepend(tmp_path / "sabotage")
    return monkeypatch


@pytest.mark.fault("decoder crashes or hangs")
def test_crashes_and_hangs_cost_their_track_until_a_retry(music, run, sabotaged, tmp_path, record_property):
    bad = {"03": "crash", "04": "crash", "09": "hang", "15": "crash"}
    for number, word in bad.items():
        (music / f"{number}.flac").rename(music / f"{number} {word}.flac")
    counts = run(music, tmp_path / "out", decode_timeout=1.0, workers=2).counts
    assert_counted(counts, 16)
    errors = assert_sound(tmp_path / "out", music.iterdir()).errors
    codes = {"crash": "E_WORKER_CRASH", "hang": "E_TIMEOUT"}
    assert {Path(row.path).stem: row.code for row in errors.itertuples()} == {
        f"{number} {word}": codes[word] for number, word in bad.items()
    }
    assert all("SIGSEGV" in row.message for row in errors.itertuples() if row.code == "E_WORKER_CRASH")
    sabotaged.undo()
    assert run(music, tmp_path / "out", retry_failed=True).counts.n_ok == len(bad)
    run(music, tmp_path / "reference")
    assert_same(tmp_path / "out", tmp_path / "reference")
    record_property("tries", len(bad))


class _KillWorkers:
    """Kills decode workers at random instants of a run, about ``every_s`` apart."""

    def __init__(self, every_s: float):
        self.n_killed = 0
        self._every_s, self._over = every_s, threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __call__(self, event):
        if isinstance(event, Planned):
            self._thread.start()
        elif isinstance(event, Finished):
            self._over.set()
            self._thread.join()

    def _work(self):
        chance = random.Random(1)
        while not self._over.wait(chance.uniform(0, 2 * self._every_s)):
            for worker in decode_workers():
                if self._is_at_work(worker):
                    os.kill(worker.pid, signal.SIGKILL)
                    self.n_killed += 1

    @staticmethod
    def _is_at_work(worker: psutil.Process) -> bool:
        """Its stderr goes nowhere once it is ready; before, it would be a machine on which no decoder starts."""
        try:
            return os.readlink(f"/proc/{worker.pid}/fd/2") == os.devnull  # noqa: PTH115
        except OSError:
            return False


@pytest.mark.slow
@pytest.mark.fault("kill -9 of a decoder")
def test_killed_decoders_lose_nothing_for_good(tone, run, tmp_path, record_property):
    music = tmp_path / "long"
    for number in range(N_LONG):
        tone(music / f"{number:02d}.flac", seconds=90, frequency=100 + number)
    run(music, tmp_path / "reference")
    n_killed = attempt = 0
    while n_killed < 100:
        killer = _KillWorkers(every_s=0.3)
        output = tmp_path / str(attempt)
        assert_counted(run(music, output, observer=killer).counts, N_LONG)
        errors = assert_sound(output, music.iterdir()).errors
        assert set(errors["code"] if len(errors) else ()) <= {"E_WORKER_CRASH"}
        assert_counted(run(music, output, retry_failed=True).counts, N_LONG)
        assert_same(output, tmp_path / "reference")
        n_killed, attempt = n_killed + killer.n_killed, attempt + 1
        assert attempt < 100
    record_property("tries", n_killed)
