"""The Ray runner: what it refuses, how it hands out work, and that its tables are those of a local run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from audiopatch.audio.inputs import Inputs
from audiopatch.audio.pool import decode_tracks
from audiopatch.errors import EnvironmentProblem, UsageError
from audiopatch.inference.pipeline import run_to_folder
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.runners.ray import Connection, check_reachable, gpu_numbers, visible
from audiopatch.runners.ray_decode import decode
from audiopatch.runners.ray_shards import Shard, Shards
from audiopatch.tables.read import read
from audiopatch.types import CutSpec, Failed, Segment, Track
from fabricate import bad_files
from soundness import assert_same, assert_sound

SMALL = {"RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "200000000", "OMP_NUM_THREADS": "1"}


def _tracks(folder: Path) -> list[Track]:
    return list(Inputs([str(folder)]).tracks())


@pytest.mark.parametrize("address", ["nonsense", "ray://head:10001", "head:", ":6379"])
def test_an_address_that_is_none_is_refused(address):
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match="--address"):
        Connection(address).open()


def test_a_port_without_a_cluster_is_refused_at_once():
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(EnvironmentProblem, match=f"no Ray answers at 127.0.0.1:{port}"):
        Connection(f"127.0.0.1:{port}").open()


def test_without_ray_the_run_says_what_to_install(library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    with pytest.raises(EnvironmentProblem, match=r"\[ray\]"):
        run_to_folder(Inputs([str(library)]), tmp_path / "out", Analysis(model="tiny-random"), Runtime(runner="ray"))
    assert not (tmp_path / "out").exists()


def test_a_decode_task_gives_what_the_pool_gives_in_bounded_chunks(library):
    cut = CutSpec(sample_rate=16_000, segment_s=5.0, overlap=0.9)
    tracks = _tracks(library)
    expected = list(decode_tracks(tracks, cut, workers=0))
    chunks = list(decode(tracks, cut, 60.0))
    assert len(chunks) > 1
    limit = (8 << 20) + cut.segment_samples * 4
    assert all(sum(item.wave.nbytes for item in chunk if isinstance(item, Segment)) <= limit for chunk in chunks)
    assert [repr(item) for chunk in chunks for item in chunk] == [repr(item) for item in expected]


def test_what_is_lost_is_done_again_and_who_kills_everyone_fails_alone():
    tracks = {name: Track(name, "/", name, 1, 1) for name in ("good", "other", "killer")}
    shards = Shards(crew=None, todo=iter(()))  # pyright: ignore[reportArgumentType]
    failed: list[Failed] = []
    shard: Shard | None = Shard(tracks)
    n_given = 0
    while shard is not None:
        n_given += 1
        if "killer" in shard.left:
            step = shards.lost(shard)
            failed += step.rows if step else []
        shard = shards.next()
    assert [(row.track.path, row.code) for row in failed] == [("killer", "E_WORKER_CRASH")]
    assert n_given == 2 + 2 + 2  # twice as a whole; the others once; the killer twice more


def test_a_file_that_only_the_workers_miss_ends_the_run(tmp_path):
    here = tmp_path / "here.wav"
    here.touch()
    with pytest.raises(EnvironmentProblem, match="same path"):
        check_reachable(Failed(Track(str(here), str(tmp_path), "0", 0, 0), "E_VANISHED", "open", "No such file"))
    check_reachable(Failed(Track(str(here) + "?", str(tmp_path), "0", 0, 0), "E_VANISHED", "open", "No such file"))


@pytest.mark.slow
def test_the_tables_are_those_of_a_local_run(library, tmp_path):
    pytest.importorskip("ray")
    bad = tmp_path / "bad"
    bad.mkdir()
    bad_files(bad)
    for number in range(4):
        shutil.copy(library / "long.wav", bad / f"copy {number}.wav")
    command = [sys.executable, "-m", "audiopatch", "tag", library, bad, "--embeddings", "--timeline", "--dense"]
    command += ["--vectors", "float32", "--fail-on", "never", "--threads", "1", "-q"]
    environment = {**os.environ, **SMALL, "AUDIOPATCH_MODEL": "tiny-random"}
    for runner in ("local", "ray"):
        subprocess.run([*command, "-o", tmp_path / runner, "--runner", runner], env=environment, check=True)
    tables = assert_sound(tmp_path / "ray")
    assert tables.run["model"]["device"] == "cpu"
    here, there = (read(tmp_path / runner).run["counts"] for runner in ("local", "ray"))
    assert here["n_repeats"] >= 4
    assert (there["n_repeats"], there["n_inferences"]) == (here["n_repeats"], here["n_inferences"])
    n_files = sum(path.is_file() for folder in (library, bad) for path in folder.rglob("*"))
    assert len({*tables.tracks["track_id"], *tables.errors["track_id"]}) == n_files
    assert_same(tmp_path / "local", tmp_path / "ray")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
@pytest.mark.parametrize("device", ["all", "cuda:0,cuda:1"])
def test_several_devices_are_rays_and_must_be_there(library, tmp_path, device):
    with pytest.raises(EnvironmentProblem, match="torch sees no GPU"):
        run_to_folder(Inputs([str(library)]), tmp_path / "out", Analysis(model="tiny-random"), Runtime(device=device))
    with pytest.raises(UsageError, match="name GPUs"):
        gpu_numbers("cpu,cpu")


def test_several_devices_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentProblem, match=r"sharing several devices out needs .*\[ray\]"):
        Connection("local", gpus=[0, 1]).open()


def test_a_ray_of_our_own_sees_the_gpus_that_were_named(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    with visible([0, 2]):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,7"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5,7"
