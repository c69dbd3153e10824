"""Whole runs from S3 to S3: as from disk to disk, also where the server misbehaves."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from audiopatch.audio.inputs import Inputs
from audiopatch.errors import EnvironmentProblem, OutputMismatchError
from audiopatch.events import Planned, silent
from audiopatch.inference.pipeline import RunResult, run_to_folder
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.tables.compaction import compact_folder
from audiopatch.tables.read import read
from fabricate import encode
from fabricate import music as samples
from s3 import CREDENTIALS, PAGE
from soundness import assert_counted, assert_sound

N_TRACKS = 6
ANALYSIS = Analysis(model="tiny-random", embeddings=True, timeline=True, vectors="float32")


@pytest.fixture(scope="module")
def music(tone, tmp_path_factory) -> Path:
    """Four tracks in two folders and two that are none."""
    folder = tmp_path_factory.mktemp("music")
    for number, suffix in enumerate(("wav", "flac", "ogg", "mp3")):
        tone(folder / f"album {number % 2} é#?" / f"{number}.{suffix}", seconds=2 + number, frequency=200 + number)
    (folder / "empty.mp3").touch()
    (folder / "text.ogg").write_text("this is no audio\n" * 50)
    return folder


@pytest.fixture(scope="module")
def local(music, tmp_path_factory) -> Path:
    """What a run from disk to disk gives."""
    output = tmp_path_factory.mktemp("local") / "out"
    run(music, output)
    return output


def run(music: str | Path, output: str | Path, *, observer=silent, analysis: Analysis = ANALYSIS, **how) -> RunResult:
    how = {"threads": 1, "workers": 1, "batch": 4, "commit_every_n": 2, "commit_every_s": 0.3, **how}
    return run_to_folder(Inputs([str(music)]), str(output), analysis, Runtime(**how), observer=observer)


def _rows(output: str | Path, root: str | Path, table: str) -> pd.DataFrame:
    """A table without what tells where the files were and when."""
    frame = getattr(read(output), table).drop(columns=["root", "mtime_ns", "processed_at"], errors="ignore")
    if "path" in frame:
        frame["path"] = frame["path"].str.removeprefix(f"{root}/")
    keys = [key for key in ("track_id", "rank", "segment") if key in frame]
    return frame.sort_values(keys, ignore_index=True)


def _assert_same_rows(one: tuple[str | Path, str | Path], other: tuple[str | Path, str | Path]) -> None:
    for table in ("tracks", "tags", "embeddings", "segments", "errors"):
        left, right = _rows(*one, table), _rows(*other, table)
        pd.testing.assert_frame_equal(left, right, check_categorical=False, atol=1e-5)
        assert len(left)


def test_from_s3_to_s3_as_from_disk_to_disk(music, local, bucket, between):
    bucket.put(music)
    output = f"{bucket.url}/some tags"
    assert_counted(run(f"{bucket.url}/music/", output).counts, N_TRACKS)
    gets = [path for method, path, _ in between.requests if method == "GET" and "/music/" in path]
    assert len(gets) == len(set(gets)) == N_TRACKS - 1  # each read in one go, the empty one not at all
    _assert_same_rows((output, f"{bucket.url}/music"), (local, music))
    counts = run(f"{bucket.url}/music", output).counts
    assert (counts.n_up_to_date, counts.n_failed_before, counts.n_inferences) == (4, 2, 0)
    _assert_nothing_secret(bucket)


def _assert_nothing_secret(bucket) -> None:
    for key in bucket.keys(""):
        content = bucket.fs.cat_file(f"{bucket.name}/{key}")
        assert not any(CREDENTIALS[name].encode() in content for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"))


def test_a_server_that_throttles_cuts_and_stalls_costs_nothing_but_time(music, local, bucket, between):
    bucket.put(music)
    chance = random.Random(1)
    between.mischief = lambda number, method, path: chance.choice(["503", "cut", "half"]) if number % 3 == 2 else None
    assert_counted(run(f"{bucket.url}/music", f"{bucket.url}/out").counts, N_TRACKS)
    between.calm()
    _assert_same_rows((f"{bucket.url}/out", f"{bucket.url}/music"), (local, music))


class _Once:
    """Does something once the inputs are known."""

    def __init__(self, deed):
        self._deed = deed

    def __call__(self, event):
        if isinstance(event, Planned):
            self._deed()


def test_each_object_that_cannot_be_had_is_one_row_with_its_reason(music, bucket, between, monkeypatch):
    monkeypatch.setenv("AUDIOPATCH_PATIENCE_S", "1")
    bucket.put(music)
    doomed = bucket.keys("music/album")
    deeds = {doomed[1]: "403", doomed[2]: "cut"}

    def spoil():
        bucket.fs.rm_file(f"{bucket.name}/{doomed[0]}")
        between.mischief = lambda number, method, path: next(
            (deed for key, deed in deeds.items() if path.endswith(f"/{Path(key).name}")), None
        )

    counts = run(f"{bucket.url}/music", f"{bucket.url}/out", observer=_Once(spoil)).counts
    assert_counted(counts, N_TRACKS)
    errors = read(f"{bucket.url}/out").errors.set_index("path")["code"].to_dict()
    found = [errors[f"{bucket.url}/{key}"] for key in doomed[:3]]
    assert found == ["E_VANISHED", "E_PERM", "E_NETWORK"]
    between.calm()
    again = run(f"{bucket.url}/music", f"{bucket.url}/out").counts  # the one that is gone is not among the inputs
    assert (again.n_ok, again.n_failed_before) == (2, 2)  # a network's failure and a refusal are tried again


@pytest.mark.slow
def test_a_listing_that_fails_part_way_is_not_taken_for_the_library(music, bucket, between, monkeypatch):
    monkeypatch.setenv("AUDIOPATCH_PATIENCE_S", "1")
    bucket.put(music)
    bucket.fs.pipe({f"{bucket.name}/music/more/{number:04d}.txt": b"x" for number in range(2 * PAGE)})
    between.mischief = lambda number, method, path: "503" if "continuation-token" in path else None
    with pytest.raises(EnvironmentProblem, match=r"listing .* failed after 20 files"):
        run(f"{bucket.url}/music", f"{bucket.url}/out")
    assert not [key for key in bucket.keys("out") if "/part-" in key]


@pytest.mark.slow
def test_an_output_that_goes_away_ends_in_words_and_resumes(music, local, bucket, between, monkeypatch):
    monkeypatch.setenv("AUDIOPATCH_PATIENCE_S", "1")
    bucket.put(music)

    def break_down():
        between.mischief = lambda number, method, path: "cut" if method == "PUT" and "/tracks/" in path else None

    with pytest.raises(EnvironmentProblem, match="cannot reach"):
        run(f"{bucket.url}/music", f"{bucket.url}/out", observer=_Once(break_down))
    between.calm()
    assert_counted(run(f"{bucket.url}/music", f"{bucket.url}/out").counts, N_TRACKS)
    _assert_same_rows((f"{bucket.url}/out", f"{bucket.url}/music"), (local, music))


@pytest.mark.slow
def test_segments_are_fetched_without_the_rest_of_the_file(tmp_path, bucket, between):
    """Two minutes in each format that can be cut: three segments of them are as from disk."""
    folder = tmp_path / "long"
    folder.mkdir()
    for number, suffix in enumerate(("flac", "mp3", "opus", "m4a", "wav")):
        encode(folder / f"a.{suffix}", samples(120, n_channels=1, seed=number))
    bucket.put(folder)
    few = Analysis(model="tiny-random", timeline=True, vectors="float32", segments=3)
    run(folder, tmp_path / "out", analysis=few)
    between.calm()
    run(f"{bucket.url}/music", f"{bucket.url}/out", analysis=few)
    fetched: dict[str, int] = {}
    for _, path, n_bytes in between.requests:
        fetched[Path(path).name] = fetched.get(Path(path).name, 0) + n_bytes
    for path in folder.iterdir():
        share = 1.0 if path.suffix == ".mp3" else 0.9  # it has no index and is read through, once; of others less
        assert fetched[path.name] <= share * path.stat().st_size, path.name
    here, there = read(tmp_path / "out"), read(f"{bucket.url}/out")
    assert there.tracks["n_segments"].tolist() == [3] * 5 and not len(there.errors)
    cuts = [tables.segments.merge(tables.tracks[["track_id", "codec"]]) for tables in (here, there)]
    cuts = [frame.sort_values(["codec", "segment"], ignore_index=True) for frame in cuts]
    pd.testing.assert_series_equal(cuts[0]["start_s"], cuts[1]["start_s"], atol=0.05)
    tags = [tables.tags.astype({"label": str}).set_index(["track_id", "label"])["score"] for tables in (here, there)]
    pd.testing.assert_series_equal(tags[0].sort_index(), tags[1].sort_index(), atol=2e-3)


@pytest.mark.slow
def test_force_and_compaction_in_a_bucket(music, bucket):
    bucket.put(music)
    output = f"{bucket.url}/out"
    run(f"{bucket.url}/music", output)
    with pytest.raises(OutputMismatchError, match="top was 10, now 3"):
        run(f"{bucket.url}/music", output, analysis=Analysis(model="tiny-random", top=3))
    run(f"{bucket.url}/music", output, analysis=Analysis(model="tiny-random", top=3), force=True)
    assert len(assert_sound(output).tags) == 4 * 3
    assert bucket.keys("out/.next") == []
    counts = run(f"{bucket.url}/music", output, analysis=Analysis(model="tiny-random", top=3)).counts
    assert counts.n_inferences == 0
    assert compact_folder(output).n_after == 1
    assert len(assert_sound(output).tags) == 4 * 3
    assert len([key for key in bucket.keys("out") if "/part-" in key]) == 3  # tracks, tags, errors: the old ones went
    assert json.loads(bucket.fs.cat_file(f"{bucket.name}/out/run.json"))["parameters"]["top_k"] == 3


_RUN = """
import sys
from audiopatch.audio.inputs import Inputs
from audiopatch.inference.pipeline import run_to_folder
from audiopatch.inference.settings import Analysis, Runtime
analysis = Analysis(model="tiny-random", embeddings=True, timeline=True, vectors="float32")
runtime = Runtime(threads=1, workers=1, batch=1, commit_every_n=1, commit_every_s=0.05)
run_to_folder(Inputs([sys.argv[1]]), sys.argv[2], analysis, runtime)
"""


def _killed_after(n_parts: int, bucket, between) -> None:
    """A run that is killed as it puts so many objects of parts."""
    numbers = itertools.count(1)
    command = [sys.executable, "-c", _RUN, f"{bucket.url}/music", f"{bucket.url}/out"]
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:

        def watch(number: int, method: str, path: str) -> None:
            if method == "PUT" and "/part-" in path and next(numbers) == n_parts:
                process.kill()

        between.mischief = watch
    assert process.returncode == -signal.SIGKILL
    between.calm()


@pytest.mark.slow  # test_remote_lock.py has the lock of the dead, faults/test_kill.py the resuming
@pytest.mark.fault("kill -9 of a run into a bucket")
def test_a_killed_run_resumes_at_once(music, local, bucket, between, record_property):
    """Its lock is there still: the next run sees that the process is gone."""
    bucket.put(music)
    _killed_after(6, bucket, between)
    assert ".lock" in {Path(key).name for key in bucket.keys("out")}
    assert_sound(f"{bucket.url}/out")
    assert_counted(run(f"{bucket.url}/music", f"{bucket.url}/out").counts, N_TRACKS)
    _assert_same_rows((f"{bucket.url}/out", f"{bucket.url}/music"), (local, music))
    record_property("tries", 1)


@pytest.mark.slow
@pytest.mark.fault("kill -9 of a run into a bucket")
def test_killed_at_any_request(music, local, bucket, between, record_property):
    """Before every put of the first parts, of a record and of what follows."""
    bucket.put(music)
    for n_parts in range(1, 13):
        bucket.fs.rm(f"{bucket.name}/out", recursive=True) if bucket.keys("out") else None
        _killed_after(n_parts, bucket, between)
        if any(key.endswith("run.json") for key in bucket.keys("out")):
            assert_sound(f"{bucket.url}/out")
        assert_counted(run(f"{bucket.url}/music", f"{bucket.url}/out").counts, N_TRACKS)
        _assert_same_rows((f"{bucket.url}/out", f"{bucket.url}/music"), (local, music))
    record_property("tries", 12)
