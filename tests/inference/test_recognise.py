"""Moved, retagged and copied files keep their rows; whatever else changed is computed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from audiopatch.audio.inputs import Inputs
from audiopatch.errors import EnvironmentProblem
from audiopatch.events import Note, silent
from audiopatch.inference.pipeline import RunResult, run_to_folder
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.tables import FORMATS as TABLE_FORMATS
from audiopatch.tables.read import read
from fabricate import encode, music, retag
from soundness import assert_counted, assert_same, assert_sound

ANALYSIS = Analysis(model="tiny-random", embeddings=True, timeline=True, vectors="float32")
FORMATS = ("flac", "mp3", "m4a", "opus", "wav")


@pytest.fixture
def songs(tmp_path) -> Path:
    (tmp_path / "songs").mkdir()
    for number, form in enumerate(FORMATS):
        encode(tmp_path / "songs" / f"song.{form}", music(2.0, seed=number), artist="Before", title=form)
    return tmp_path / "songs"


@pytest.fixture
def run(songs, tmp_path) -> Callable[..., RunResult]:
    def go(output: Path = tmp_path / "out", file_format: str = "parquet", observer=silent) -> RunResult:
        runtime = Runtime(threads=1, workers=0)
        return run_to_folder(
            Inputs([str(songs)]), output, ANALYSIS, runtime, file_format=file_format, observer=observer
        )

    return go


def test_retagged_files_keep_their_rows_and_show_the_new_tags(songs, run, tmp_path):
    run()
    before = assert_sound(tmp_path / "out", songs.iterdir())
    for form in ("flac", "mp3", "m4a"):
        retag(songs / f"song.{form}")
    counts = run().counts
    assert_counted(counts, len(FORMATS))
    assert (counts.n_up_to_date, counts.n_inferences) == (len(FORMATS), 0)
    after = assert_sound(tmp_path / "out", songs.iterdir())
    artists = after.tracks.set_index("path")["artist"]
    assert {Path(path).suffix for path in artists.index[artists == "After"]} == {".flac", ".mp3", ".m4a"}
    for column in ("track_id", "audio_hash", "processed_at", "duration_s"):
        assert after.tracks[column].tolist() == before.tracks[column].tolist()
    assert after.tracks["size_bytes"].tolist() == [path.stat().st_size for path in sorted(songs.iterdir())]
    assert after.tags["score"].tolist() == before.tags["score"].tolist()
    assert run().counts.n_up_to_date == len(FORMATS)


def test_moved_files_take_their_rows_with_them(songs, run, tmp_path):
    run()
    album = songs / "album"
    album.mkdir()
    for path in [path for path in songs.iterdir() if path.is_file()]:
        path.rename(album / f"moved {path.name}")
    counts = run().counts
    assert (counts.n_found, counts.n_up_to_date, counts.n_inferences) == (len(FORMATS), len(FORMATS), 0)
    assert_sound(tmp_path / "out", album.iterdir())  # and none at the old places
    run(tmp_path / "reference")
    assert_same(tmp_path / "out", tmp_path / "reference")


def test_a_copy_is_computed_once(songs, run, tmp_path):
    run()
    for number in range(3):
        shutil.copy2(songs / "song.mp3", songs / f"copy {number}.mp3")
    assert run().counts.n_inferences == 0
    tables = assert_sound(tmp_path / "out", songs.iterdir())
    same = tables.tracks["audio_hash"].value_counts()
    assert same.max() == 4
    vectors = tables.embeddings[tables.embeddings["path"].str.endswith(".mp3")]["embedding"]
    assert len(vectors) == 4 and np.ptp(np.stack(list(vectors)), axis=0).max() == 0


def test_other_audio_of_the_same_size_and_time_is_computed(songs, run, tmp_path):
    run()
    before = (songs / "song.wav").stat()
    data = bytearray((songs / "song.wav").read_bytes())
    data[5_000:5_100] = bytes(100)
    (songs / "new.wav").write_bytes(data)
    os.utime(songs / "new.wav", ns=(before.st_atime_ns, before.st_mtime_ns))
    damaged = (songs / "song.flac").read_bytes()
    (songs / "song.flac").write_bytes(damaged[: len(damaged) // 2])  # its header still names the MD5 of the whole
    counts = run().counts
    assert (counts.n_ok, counts.n_damaged, counts.n_up_to_date) == (2, 1, len(FORMATS) - 1)
    run(tmp_path / "reference")
    assert_same(tmp_path / "out", tmp_path / "reference")


@pytest.mark.parametrize("file_format", TABLE_FORMATS)
def test_names_that_are_not_utf8_move_too_in_every_format(songs, run, tmp_path, file_format):
    run(file_format=file_format)
    odd = Path(os.fsdecode(os.fsencode(songs) + b"/caf\xe9.mp3"))
    (songs / "song.mp3").rename(odd)
    assert run(file_format=file_format).counts.n_inferences == 0
    odd.rename(songs / "again.mp3")
    assert run(file_format=file_format).counts.n_inferences == 0
    assert_sound(tmp_path / "out", songs.iterdir())


def test_a_run_without_candidates_reads_nothing_twice(songs, run):
    class Notes:
        said = ""

        def __call__(self, event):
            if isinstance(event, Note):
                self.said += event.text

    run()
    encode(songs / "another.wav", music(1.0, seed=9))
    notes = Notes()
    assert run(observer=notes).counts.n_ok == 1
    assert "moved or retagged" not in notes.said


def test_a_library_that_moved_takes_its_rows_along(songs, run, tmp_path, monkeypatch):
    run()
    before = assert_sound(tmp_path / "out", songs.iterdir())
    songs.rename(tmp_path / "elsewhere")
    songs = tmp_path / "elsewhere"
    result = run_to_folder(Inputs([str(songs)]), tmp_path / "out", ANALYSIS, Runtime(threads=1, workers=0))
    assert (result.counts.n_up_to_date, result.counts.n_inferences) == (len(FORMATS), 0)
    after = assert_sound(tmp_path / "out", songs.iterdir())
    assert after.tracks["track_id"].tolist() == before.tracks["track_id"].tolist()
    assert set(after.tracks["root"]) == {after.run["root"]} == {str(songs)}
    assert all(path.startswith(f"{songs}/") for path in after.tags["path"])


@pytest.mark.parametrize("times", ["equal", "other"])
def test_another_disk_with_the_same_names_is_another_disk(tmp_path, times):
    """Recorders without a clock write REC001.wav of one length at one time; the first card is not there any more."""

    def card(name: str, seed: int) -> Path:
        path = encode(tmp_path / name / "REC001.wav", music(2.0, seed=seed))
        os.utime(path, (946_684_800, 946_684_800 + (seed if times == "other" else 0)))
        return path.parent

    for name in ("usb1", "usb2"):
        (tmp_path / name).mkdir()
    first, second = card("usb1", 1), card("usb2", 2)

    def go(folder: Path) -> RunResult:
        return run_to_folder(Inputs([str(folder)]), tmp_path / "out", ANALYSIS, Runtime(threads=1, workers=0))

    go(first)
    first.rename(tmp_path / "unplugged")
    assert go(second).counts.n_ok == 1
    tables = read(tmp_path / "out")
    assert {Path(path).parent.name for path in tables.tracks["path"]} == {"usb1", "usb2"}
    assert tables.tracks["audio_hash"].nunique() == tables.tracks["track_id"].nunique() == 2
    (tmp_path / "unplugged").rename(first)
    assert go(first).counts.n_up_to_date == 1 == go(second).counts.n_up_to_date


def test_parts_that_are_empty_or_foreign(songs, run, tmp_path):
    """What synchronisers, full disks and power cuts leave: the tracks are done again, and nothing is there twice."""
    run()
    (part,) = (tmp_path / "out/tracks").glob("part-*.parquet")
    shutil.copy(part, part.with_name(f"{part.stem} (conflicted copy 2024-01-01).parquet"))
    shutil.copy(part, part.with_name(f"{part.stem}.sync-conflict-20240101-120000-ABCDEFG.parquet"))
    (part.parent / "part-of-something-else.parquet").write_bytes(b"")
    assert run().counts.n_up_to_date == len(FORMATS)
    assert_sound(tmp_path / "out", songs.iterdir())
    for table in ("tracks", "tags", "embeddings"):
        (tmp_path / "out" / table / part.name).write_bytes(b"")
        with pytest.raises(EnvironmentProblem, match=part.stem):
            getattr(read(tmp_path / "out"), table)
        counts = run().counts
        assert counts.n_ok == len(FORMATS)
        assert_sound(tmp_path / "out", songs.iterdir())
