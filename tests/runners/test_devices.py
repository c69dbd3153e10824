"""A process for each device: together they give what one process gives, and one that dies ends the run in words."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from contextlib import suppress

import numpy as np
import psutil
import pytest
import torch

from audiopatch.audio.inputs import Inputs
from audiopatch.errors import EnvironmentProblem
from audiopatch.inference.pipeline import run_to_folder
from audiopatch.inference.progress import Silent
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.tables.read import read
from audiopatch.zoo.load import devices_of, find_device


def run(library, folder, *, device, observer=None, stop=None):
    analysis = Analysis(model="tiny-random", embedding=True, dense=True)
    runtime = Runtime(device=device, workers=0 if device == "cpu" else 2, threads=2)
    return run_to_folder(Inputs([os.fspath(library)]), folder, analysis, runtime, observer=observer, stop=stop)


def device_processes() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.ZombieProcess):
            found += [child] if "audiopatch.runners.device_process" in child.cmdline() else []
    return found


class _AtFirstRow(Silent):
    def __init__(self, act):
        self.act, self.seen = act, 0

    def advanced(self, counts, row):
        self.seen = max(self.seen, len(device_processes()))
        self.act()


def test_two_devices_give_what_one_gives(library, tmp_path):
    music = tmp_path / "music"
    shutil.copytree(library, music)
    for number in range(4):
        shutil.copy(music / "long.wav", music / f"copy {number}.wav")  # whichever of them is heard first
    watch = _AtFirstRow(lambda: None)
    together = run(music, tmp_path / "two", device="cpu,cpu", observer=watch).counts
    alone = run(music, tmp_path / "one", device="cpu").counts
    assert watch.seen == 2 and device_processes() == []
    assert (together.n_ok, together.n_failed, together.n_left) == (alone.n_ok, alone.n_failed, 0)
    assert (together.n_repeats, together.n_inferences) == (4, alone.n_inferences)
    assert read(tmp_path / "two").run["model"]["device"] == "cpu, cpu"
    two, one = (read(tmp_path / name).embeddings.sort_values("track_id") for name in ("two", "one"))
    assert two["track_id"].tolist() == one["track_id"].tolist()
    np.testing.assert_allclose(np.stack(two["embedding"]), np.stack(one["embedding"]), atol=2e-3)  # float16
    assert run(music, tmp_path / "two", device="cpu").counts.n_inferences == 0  # where it ran does not matter


def test_a_process_that_dies_ends_the_run_and_the_next_completes_it(library, tmp_path):
    def kill():
        for process in device_processes():
            process.send_signal(signal.SIGKILL)

    with pytest.raises(EnvironmentProblem, match="the process of device cpu died"):
        run(library, tmp_path / "out", device="cpu,cpu", observer=_AtFirstRow(kill))
    assert device_processes() == []
    counts = run(library, tmp_path / "out", device="cpu").counts
    assert (counts.n_left, counts.n_failed + counts.n_failed_before) == (0, 2)


@pytest.mark.slow
def test_stopping_leaves_no_process(library, tmp_path):
    stop = threading.Event()
    result = run(library, tmp_path / "out", device="cpu,cpu", observer=_AtFirstRow(stop.set), stop=stop)
    assert result.interrupted and device_processes() == []


def test_devices_have_names(monkeypatch):
    assert devices_of("cuda:0,cuda:2") == ["cuda:0", "cuda:2"]
    if not torch.cuda.is_available():
        for name in ("all", "cuda:0,cuda:1"):
            with pytest.raises(EnvironmentProblem, match="torch sees no GPU"):
                [find_device(device) for device in devices_of(name)]
