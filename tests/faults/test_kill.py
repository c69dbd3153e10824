"""``kill -9`` at random instants: nothing is torn, lost or twice, and a resumed run equals an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from audiopatch.audio.inputs import Inputs
from audiopatch.inference.pipeline import run_to_folder
from audiopatch.inference.settings import Analysis, Runtime
from soundness import assert_same, assert_sound

N_TRACKS = 24

# Imports once and forks a child per attempt, so that every kill hits the run itself and not the import of torch.
_HARNESS = """
import json, os, random, signal, sys, time
from pathlib import Path
from audiopatch.audio.inputs import Inputs
from audiopatch.inference.pipeline import run_to_folder
from audiopatch.inference.settings import Analysis, Runtime

music, output, n_kills, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
analysis = Analysis(model="tiny-random", embeddings=True, timeline=True, vectors="float32")
runtime = Runtime(threads=1, workers=1, batch=3, commit_every_n=2, commit_every_s=0.05)
chance = random.Random(seed)

def run():
    return run_to_folder(Inputs([music]), output, analysis, runtime)

killed = 0
for attempt in range(10 * n_kills):
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        run()
        os._exit(0)
    time.sleep(chance.uniform(0.0, 0.4) ** 2 * 4)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    killed += os.WIFSIGNALED(status)
    parts = sum(1 for _ in output.glob("tracks/part-*"))
    print(json.dumps({"killed": killed, "parts": parts}), flush=True)
    sys.stdin.readline()
    if killed == n_kills or not os.WIFSIGNALED(status):
        break
counts = run().counts
fine, failed = counts.n_ok + counts.n_up_to_date, counts.n_failed + counts.n_failed_before
print(json.dumps({"fine": fine, "failed": failed}), flush=True)
"""


@pytest.fixture(scope="module")
def music(tone, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    chance = random.Random(0)
    for number in range(N_TRACKS):
        tone(folder / f"{number:03d}.flac", seconds=chance.uniform(1, 15), frequency=100 + number)
    (folder / "bad.mp3").write_bytes(b"no audio")
    return folder


@pytest.fixture(scope="module")
def undisturbed(music, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("reference") / "out"
    analysis = Analysis(model="tiny-random", embeddings=True, timeline=True, vectors="float32")
    run_to_folder(Inputs([str(music)]), output, analysis, Runtime(threads=1, workers=1, batch=3))
    return output


def _harness(music: Path, output: Path, *, n_kills: int, seed: int) -> tuple[int, dict[str, int]]:
    """(kills that hit, counts of the last run); after every kill the tables are checked as a reader sees them."""
    command = [sys.executable, "-c", _HARNESS, str(music), str(output), str(n_kills), str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    n_killed = 0
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as harness:
        assert harness.stdin is not None and harness.stdout is not None
        for line in harness.stdout:
            said = json.loads(line)
            if "fine" in said:
                return n_killed, said
            n_killed = said["killed"]
            if (output / "run.json").exists():
                assert_sound(output)
            harness.stdin.write("\n")
            harness.stdin.flush()
    raise AssertionError(f"the harness ended early with {harness.returncode}")


def _try_kills(music: Path, undisturbed: Path, output: Path, *, n_kills: int, seed: int) -> int:
    n_killed, last = _harness(music, output, n_kills=n_kills, seed=seed)
    assert last == {"fine": N_TRACKS, "failed": 1}
    assert_sound(output, music.iterdir())
    assert_same(output, undisturbed)
    assert not list((output / ".staging").iterdir())
    return n_killed


@pytest.mark.fault("kill -9 of the run")
def test_killed_several_times_equals_undisturbed(music, undisturbed, tmp_path, record_property):
    n_killed = _try_kills(music, undisturbed, tmp_path / "out", n_kills=5, seed=1)
    assert n_killed >= 2
    record_property("tries", n_killed)


@pytest.mark.slow
@pytest.mark.fault("kill -9 of the run")
def test_killed_a_hundred_times(music, undisturbed, tmp_path, record_property):
    n_killed, seed = 0, 100
    while n_killed < 100:
        n_killed += _try_kills(music, undisturbed, tmp_path / str(seed), n_kills=20, seed=seed)
        seed += 1
    record_property("tries", n_killed)
