"""Files that are no longer there, disks that are away, and runs that need no model to see that nothing is to do."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pyarrow.parquet as pq
import pytest

import audiopatch
from audiopatch.audio.inputs import Inputs
from audiopatch.errors import NoAudioError, OutputMismatchError
from audiopatch.inference.missing import Disks
from audiopatch.inference.pipeline import run_to_folder
from audiopatch.inference.request import run_if_current
from audiopatch.inference.settings import Analysis, Runtime

ANALYSIS = Analysis(model="tiny-random")


@pytest.fixture
def music(tmp_path, tone):
    for name in ("a", "b", "album/c"):
        tone(tmp_path / "music" / f"{name}.wav", seconds=1)
    return tmp_path / "music"


def run(music, output, analysis=ANALYSIS, **how):
    runtime = Runtime(threads=1, workers=0, **how)
    inputs = Inputs([str(music)])
    found = run_if_current(inputs, output, analysis, runtime)
    return (found or run_to_folder(inputs, output, analysis, runtime)).counts


def paths(output):
    return sorted(path.rpartition("/")[2] for path in audiopatch.read(output).tracks["path"])


def test_rows_of_deleted_files_are_counted_and_removed_when_told(music, tmp_path):
    assert run(music, tmp_path / "out").n_ok == 3
    (music / "a.wav").unlink()
    counts = run(music, tmp_path / "out")
    assert (counts.n_up_to_date, counts.n_missing, counts.n_removed) == (2, 1, 0)
    assert paths(tmp_path / "out") == ["a.wav", "b.wav", "c.wav"]
    assert run(music, tmp_path / "out", force=True).n_missing == 1
    assert run(music, tmp_path / "out", prune=True).n_removed == 1
    assert paths(tmp_path / "out") == ["b.wav", "c.wav"] and run(music, tmp_path / "out").n_missing == 0


def test_files_beside_the_inputs_are_not_missed(music, tmp_path):
    run(music, tmp_path / "out")
    (music / "a.wav").unlink()
    assert run(music / "album", tmp_path / "out", prune=True).n_removed == 0
    assert paths(tmp_path / "out") == ["a.wav", "b.wav", "c.wav"]


def test_a_folder_that_became_empty(music, tmp_path):
    run(music, tmp_path / "out")
    for path in music.rglob("*.wav"):
        path.unlink()
    (music / "album").rmdir()
    assert run(music, tmp_path / "out").n_missing == 3
    assert run(music, tmp_path / "out", prune=True).n_removed == 3
    with pytest.raises(NoAudioError):
        run(music, tmp_path / "out")


def test_a_disk_that_is_away_deletes_nothing(music, tmp_path):
    run(music, tmp_path / "out")
    music.rename(tmp_path / "away")
    music.mkdir()  # as an unmounted disk looks: another folder is there, and empty
    with pytest.raises(NoAudioError):
        run(music, tmp_path / "out", prune=True)
    assert paths(tmp_path / "out") == ["a.wav", "b.wav", "c.wav"]
    # inside the music: a folder where a disk was mounted, and a link to one
    (music / "disk").mkdir()
    (music / "link").symlink_to(tmp_path / "nowhere")
    disks = Disks(mounts=(str(music / "disk"),))
    assert not disks.is_gone(str(music / "disk" / "a.wav")) and not disks.is_gone(str(music / "link" / "a.wav"))
    assert disks.is_gone(str(music / "album" / "a.wav"))


def test_nothing_to_do_is_seen_without_the_model(music, tmp_path):
    run(music, tmp_path / "out")
    code = (
        "import sys; from audiopatch.cli.main import app\n"
        "try: app(sys.argv[1:])\nexcept SystemExit as end: print(end.code)\n"
        "print(*{'torch', 'pandas'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, "tag", str(music), "-o", str(tmp_path / "out"), "--model", "tiny-random"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"] and "Nothing to do: 3 current" in done.stderr


def test_what_is_new_or_asked_otherwise_needs_it(music, tmp_path, tone):
    inputs, how = Inputs([str(music)]), Runtime(threads=1, workers=0)
    assert run_if_current(inputs, tmp_path / "out", ANALYSIS, how) is None
    run(music, tmp_path / "out")
    assert run_if_current(inputs, tmp_path / "out", ANALYSIS, how) is not None
    for other in (Analysis(model="tiny-random", top=3), Analysis(model="tiny-random", pool="max")):
        assert run_if_current(inputs, tmp_path / "out", other, how) is None
    tone(music / "d.wav", seconds=1)
    assert run_if_current(inputs, tmp_path / "out", ANALYSIS, how) is None


def test_tables_always_exist_and_never_among_other_peoples_files(music, tmp_path):
    out = tmp_path / "out"
    run(music, out)
    for table in ("errors", "embeddings", "segments"):  # also those that nobody asked for
        assert [path.name for path in (out / table).iterdir()] == ["none.parquet"]
    assert list(pd.read_parquet(out / "segments").columns) == ["track_id", "segment", "start_s", "end_s"]
    with pytest.raises(OutputMismatchError, match=r"such as a\.wav"):
        run(music, music)


def test_an_empty_table_has_the_columns_of_a_full_one(music, tmp_path):
    all_of_it = replace(ANALYSIS, embeddings=True, timeline=True, dense=True)
    run(music, tmp_path / "full")
    run(music, tmp_path / "full", all_of_it, force=True)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/text.mp3").write_text("no audio")
    run(tmp_path / "bad", tmp_path / "empty", all_of_it)
    for table in ("tracks", "tags", "embeddings", "segments"):
        parts = list((tmp_path / "full" / table).iterdir())
        assert "none.parquet" not in [part.name for part in parts]
        assert pq.read_schema(tmp_path / f"empty/{table}/none.parquet").equals(pq.read_schema(parts[0])), table
