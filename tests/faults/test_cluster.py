"""A cluster of two nodes on this machine that loses models, decoders, a node, or the process that leads the run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from audiopatch.events import TrackDone
from soundness import assert_counted, assert_same, assert_sound

pytestmark = pytest.mark.slow

N_TRACKS, N_COPIES = 24, 4
NODE = {"num_cpus": 2, "object_store_memory": 120_000_000}
HOW = {"embedding": True, "timeline": True, "vectors": "float32"}


@pytest.fixture
def cluster(monkeypatch) -> Iterator:
    """Two nodes of two CPUs; every process of theirs ends with the test."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    yield cluster
    started = psutil.Process().children(recursive=True)
    cluster.shutdown()
    _, alive = psutil.wait_procs(started, timeout=10)
    for process in alive:
        process.kill()


@pytest.fixture(scope="module")
def many(tone, tmp_path_factory) -> Path:
    """Tracks, some of them copies, and one that is none."""
    folder = tmp_path_factory.mktemp("many")
    chance = random.Random(0)
    for number in range(N_TRACKS - N_COPIES):
        tone(folder / f"{number:02d}.flac", seconds=chance.uniform(10, 60), frequency=100 + number)
    for number in range(N_COPIES):
        shutil.copy(folder / f"{5 * number:02d}.flac", folder / f"{5 * number:02d} again.flac")
    (folder / "bad.mp3").write_bytes(b"no audio")
    return folder


class _At:
    """Does terrible things once so many tracks have come back."""

    def __init__(self, deeds: Mapping[int, Callable[[], object]]):
        self.deeds = dict(deeds)

    def __call__(self, event):
        if isinstance(event, TrackDone) and (deed := self.deeds.pop(event.counts.n_ok + event.counts.n_failed, None)):
            deed()


def _processes(title: str) -> list[psutil.Process]:
    """Ray's workers by what they do."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            found += [process] if process.cmdline()[:1] == [title] or process.cmdline()[0].startswith(title) else []
        except (psutil.Error, IndexError):
            continue
    return found


def _kill(title: str) -> int:
    victims = _processes(title)
    for process in victims:
        os.kill(process.pid, signal.SIGKILL)
    return len(victims)


def _assert_whole(result, run, many: Path, output: Path, reference: Path) -> None:
    assert_counted(result.counts, N_TRACKS + 1)
    assert result.counts.n_failed == 1
    assert_sound(output, many.iterdir())
    run(many, reference)
    assert_same(output, reference)


@pytest.mark.fault("kill -9 of a model of a Ray cluster")
def test_killed_models_are_replaced(cluster, many, run, tmp_path, record_property):
    killed: list[int] = []
    deeds = {at: lambda: killed.append(_kill("ray::Model")) for at in (1, 9, 17)}
    deeds[3] = lambda: killed.append(_kill("ray::Beginnings"))  # where models ask which tracks begin alike
    observer = _At(deeds)
    result = run(many, tmp_path / "out", runner="ray", address=cluster.address, observer=observer)
    assert len(killed) == 4 and all(killed)
    _assert_whole(result, run, many, tmp_path / "out", tmp_path / "reference")
    record_property("tries", sum(killed))


@pytest.mark.fault("kill -9 of a decoder of a Ray cluster")
def test_killed_decoders_lose_nothing(cluster, many, run, tmp_path, record_property):
    killed: list[int] = []
    while sum(killed) < 3:  # none may be at work at such a moment
        output = tmp_path / f"out{len(killed)}"
        observer = _At({at: lambda: killed.append(_kill("ray::decode")) for at in (1, 6, 11, 16)})
        result = run(many, output, runner="ray", address=cluster.address, observer=observer)
        _assert_whole(result, run, many, output, tmp_path / "reference")
        assert len(killed) < 40
    record_property("tries", sum(killed))


@pytest.mark.fault("a node of a Ray cluster is removed")
def test_a_removed_node_loses_nothing_and_a_new_one_joins(cluster, many, run, tmp_path):
    def remove() -> None:
        cluster.remove_node(next(node for node in cluster.list_all_nodes() if not node.head), allow_graceful=False)

    observer = _At({2: remove, 6: lambda: cluster.add_node(**NODE)})
    result = run(many, tmp_path / "out", runner="ray", address=cluster.address, observer=observer)
    assert not observer.deeds
    _assert_whole(result, run, many, tmp_path / "out", tmp_path / "reference")


_DRIVER = """
import json, sys
from pathlib import Path
from audiopatch.audio.inputs import Inputs
from audiopatch.inference.pipeline import run_to_folder
from audiopatch.inference.settings import Analysis, Runtime

music, output, how, runtime = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4])
run_to_folder(Inputs([music]), output, Analysis(model="tiny-random", **how), Runtime(**runtime))
"""


@pytest.mark.fault("kill -9 of a run on a Ray cluster")
def test_a_killed_run_is_resumed(cluster, many, run, tmp_path, record_property):
    output, chance, n_killed = tmp_path / "out", random.Random(2), 0
    runtime = {"runner": "ray", "address": cluster.address, "threads": 1, "workers": 1, "batch": 4}
    often = {"commit_every_n": 2, "commit_every_s": 0.1}
    command = [sys.executable, "-c", _DRIVER, many, output, json.dumps(HOW), json.dumps(runtime | often)]
    for wanted in (1, 4, 8):
        driver = subprocess.Popen(command)
        while driver.poll() is None and len(list(output.glob("tracks/part-*"))) < wanted:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 0.5))
        driver.kill()
        n_killed += driver.wait() == -signal.SIGKILL
        assert_sound(output)
    assert n_killed == 3
    result = run(many, output, runner="ray", address=cluster.address)
    assert_counted(result.counts, N_TRACKS + 1)
    assert result.counts.n_up_to_date > 0
    assert_sound(output, many.iterdir())
    run(many, tmp_path / "reference")
    assert_same(output, tmp_path / "reference")
    record_property("tries", n_killed)
