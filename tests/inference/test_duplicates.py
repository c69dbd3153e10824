"""Audio that is there several times is inferred once in one run, and every file ends as if it had been computed."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from audiopatch.audio.inputs import Inputs
from audiopatch.inference.beginnings import Beginnings, beginning_of
from audiopatch.inference.pipeline import RunResult, run_to_folder, run_to_stream
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.types import Segment, Track
from fabricate import encode, music, retag
from soundness import assert_counted, assert_sound

FORMATS = ("flac", "mp3", "m4a", "opus", "wav")
ANALYSIS = Analysis(model="tiny-random", embeddings=True, timeline=True, vectors="float32", top=400)


@pytest.fixture
def songs(tmp_path) -> Path:
    """Five songs."""
    (tmp_path / "songs").mkdir()
    for number, form in enumerate(FORMATS):
        encode(tmp_path / "songs" / f"song.{form}", music(6.0, seed=number), artist="Before", title=form)
    return tmp_path / "songs"


def _run(songs: Path, output: Path, *, workers: int = 0) -> RunResult:
    return run_to_folder(Inputs([str(songs)]), output, ANALYSIS, Runtime(threads=1, workers=workers, batch=4))


def _computed_each(songs: Path) -> dict[str, dict]:
    """What a run says that remembers nothing: path -> its line."""
    stream = io.StringIO()
    run_to_stream(Inputs([str(songs)]), stream, ANALYSIS, Runtime(threads=1, workers=0, batch=4))
    return {line["path"]: line for line in map(json.loads, stream.getvalue().splitlines())}


def _assert_equals_computing_each(songs: Path, output: Path) -> None:
    tables, each = assert_sound(output, songs.rglob("*.*")), _computed_each(songs)
    tracks, vectors = tables.tracks.set_index("path"), tables.embeddings.set_index("path")["embedding"]
    for path, line in each.items():
        for name in ("track_id", "size_bytes", "audio_hash", "duration_s", "n_segments", "codec", "artist", "title"):
            assert tracks.loc[path, name] == line.get(name, tracks.loc[path, name])
        np.testing.assert_allclose(vectors[path], line["embedding"], atol=1e-5)
        scores = tables.tags[tables.tags["path"] == path].set_index("label")["score"]
        each_scores = [tag["score"] for tag in line["tags"]]  # of other batches: float32 sums in another order
        np.testing.assert_allclose(scores[[tag["label"] for tag in line["tags"]]], each_scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("workers", [0, 2])
def test_copies_and_retagged_copies_are_inferred_once(songs, tmp_path, workers):
    alone = _run(songs, tmp_path / "alone").counts.n_inferences
    (songs / "copies").mkdir()
    for path in [songs / f"song.{form}" for form in FORMATS]:
        shutil.copy(path, songs / "copies" / path.name)  # with times of their own
        shutil.copy(path, songs / f"another {path.name}")
    for form in ("flac", "mp3", "m4a"):
        retag(songs / f"another song.{form}")
    counts = _run(songs, tmp_path / "out", workers=workers).counts
    assert_counted(counts, 15)
    assert (counts.n_ok, counts.n_repeats, counts.n_inferences) == (15, 10, alone)
    assert counts.audio_s == pytest.approx(3 * 5 * 6, abs=2)
    _assert_equals_computing_each(songs, tmp_path / "out")
    artists = assert_sound(tmp_path / "out").tracks["artist"]
    assert (artists == "After").sum() == 3
    assert _run(songs, tmp_path / "out").counts.n_up_to_date == 15


def test_tracks_that_only_begin_alike_are_computed(tmp_path):
    songs = tmp_path / "songs"
    songs.mkdir()
    silence = np.zeros((2, 44_100 * 15), np.float32)  # longer than a segment
    for number in range(3):
        encode(
            songs / f"{number}.flac", np.concatenate([silence, music(3.0, seed=number)], axis=1), artist="A", title="T"
        )
    shutil.copy(songs / "0.flac", songs / "3.flac")
    damaged = (songs / "1.flac").read_bytes()
    (songs / "4.flac").write_bytes(damaged[: len(damaged) - 20_000])
    counts = _run(songs, tmp_path / "out").counts
    assert_counted(counts, 5)
    assert (counts.n_ok, counts.n_damaged, counts.n_repeats) == (5, 1, 1)
    _assert_equals_computing_each(songs, tmp_path / "out")


def test_a_copy_of_a_track_that_fails_is_computed(songs, tmp_path):
    """The first to begin so is damaged, hence no source for the sound one."""
    whole = (songs / "song.flac").read_bytes()
    (songs / "a.flac").write_bytes(whole[: len(whole) * 9 // 10])
    counts = _run(songs, tmp_path / "out").counts
    assert (counts.n_ok, counts.n_damaged, counts.n_repeats) == (6, 1, 0)
    _assert_equals_computing_each(songs, tmp_path / "out")


def test_beginnings_are_remembered_over_many_merges():
    waves = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    beginnings = Beginnings(n_latest=7)

    def first(number: int, wave: np.ndarray) -> int:
        track = Track("", "", f"{number:016x}", 0, 0)
        return int(beginnings.first(beginning_of(Segment(track, 0, 0.0, 1.0, wave)), track.track_id), 16)

    assert [first(number, wave) for number, wave in enumerate(waves)] == list(range(300))
    assert [first(1000 + number, wave) for number, wave in enumerate(waves)] == list(range(300))
