"""Hostile files through whole runs: no crash, no hang, no memory without bound, and each file one row."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from audiopatch.audio.inputs import Inputs
from audiopatch.events import TrackDone
from audiopatch.inference.pipeline import run_to_folder
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.types import Failed
from decode_workers import decode_workers
from mutate import mutant, seeds
from soundness import assert_counted, assert_sound

N_FILES = int(os.environ.get("AUDIOPATCH_FUZZ_FILES", "10000"))
_ROUND = 500  # files in a run, so that the disk never holds many
_MAX_WORKER_BYTES = 1 << 30
_ANALYSIS = Analysis(model="tiny-random")
_RUNTIME = Runtime(threads=1, workers=1, batch=16, decode_timeout=30)


class _Watch:
    """Counts endings, and remembers the most memory any worker ever held."""

    def __init__(self):
        self.endings: Counter[str] = Counter()
        self.worker_bytes = 0

    def __call__(self, event):
        if not isinstance(event, TrackDone):
            return
        row = event.row
        self.endings[row.code if isinstance(row, Failed) else "damaged" if row.decoded.damaged else "ok"] += 1
        if sum(self.endings.values()) % 20 == 0:
            self.measure()

    def measure(self):
        for child in decode_workers():
            try:
                status = Path(f"/proc/{child.pid}/status").read_text()
            except OSError:  # it has just gone
                continue
            if "VmHWM:" in status:  # peak since its start; a zombie has none
                peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
                self.worker_bytes = max(self.worker_bytes, peak)


def _fuzz(numbers: range, folder: Path, sound: dict[str, bytes], watch: _Watch) -> None:
    music, output = folder / "music", folder / "out"
    music.mkdir()
    for number in numbers:
        name, content = mutant(number, sound)
        (music / name).write_bytes(content)
    counts = run_to_folder(Inputs([str(music)]), output, _ANALYSIS, _RUNTIME, observer=watch).counts
    assert_counted(counts, len(numbers))
    assert_sound(output, music.iterdir())
    assert watch.worker_bytes < _MAX_WORKER_BYTES
    shutil.rmtree(folder)


def _try(n_files: int, tmp_path: Path, record_property) -> _Watch:
    sound, watch = seeds(tmp_path), _Watch()
    for start in range(0, n_files, _ROUND):
        folder = tmp_path / str(start)
        folder.mkdir()
        _fuzz(range(start, min(n_files, start + _ROUND)), folder, sound, watch)
    record_property("tries", n_files)
    endings = ", ".join(f"{n} {ending}" for ending, n in watch.endings.most_common())
    record_property("note", f"{endings}; largest decode worker {watch.worker_bytes / 2**20:.0f} MiB")
    return watch


@pytest.mark.fault("mutated audio file")
def test_some_hostile_files(tmp_path, record_property):
    watch = _try(60, tmp_path, record_property)
    assert watch.endings["ok"] and watch.endings["damaged"] and watch.endings["E_DECODE"]


@pytest.mark.slow
@pytest.mark.fault("mutated audio file")
def test_ten_thousand_hostile_files(tmp_path, record_property):
    """``AUDIOPATCH_FUZZ_FILES`` is another number of them."""
    _try(N_FILES, tmp_path, record_property)
