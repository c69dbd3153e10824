"""Whole runs in this process: every input accounted for, resumed, replaced, refused."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import audiopatch
from audiopatch.audio.inputs import Inputs
from audiopatch.errors import NoAudioError, OutputMismatchError, UsageError
from audiopatch.events import TrackDone, silent
from audiopatch.inference.pipeline import run_to_folder
from audiopatch.inference.settings import Analysis, Runtime, n_cpus
from audiopatch.tables.output import fingerprint
from audiopatch.tables.read import read
from audiopatch.tables.schema import TABLES
from printed import printed

RUNTIME = {"threads": 1, "workers": 0}  # in-process decoding: quick; tests/cli runs with worker processes


def run(paths, output: Path, *, observer=silent, stop=None, **options):
    how = {key: options.pop(key) for key in ("force", "retry_failed", "commit_every_n") if key in options}
    analysis = Analysis(model="tiny-random", **options)
    paths = [os.fspath(path) for path in (paths if isinstance(paths, list) else [paths])]
    return run_to_folder(Inputs(paths), output, analysis, Runtime(**RUNTIME, **how), observer=observer, stop=stop)


@pytest.fixture
def music(library, tmp_path) -> Path:
    """A copy of the library that a test may change."""
    return Path(shutil.copytree(library, tmp_path / "music"))


def _check(folder: Path, *, ok: int, failed: int, top_k: int = 10) -> None:
    """The tables agree with each other and hold every track once."""
    tables = read(folder)
    assert len(tables.tracks) == tables.tracks["track_id"].nunique() == ok
    assert tables.tags.groupby("track_id").size().tolist() == [top_k] * ok
    assert set(tables.tags["track_id"]) == set(tables.tracks["track_id"])
    only_failed = set(tables.errors["track_id"]) - set(tables.tracks["track_id"]) if len(tables.errors) else set()
    assert len(only_failed) == failed


def test_every_input_is_accounted_for(library, tmp_path):
    result = run(library, tmp_path / "out", embeddings=True, timeline=True, dense=True)
    counts = result.counts
    assert (counts.n_found, counts.n_ok, counts.n_failed, counts.n_left) == (11, 9, 2, 0)
    _check(tmp_path / "out", ok=9, failed=2)
    tables = read(tmp_path / "out")
    assert set(tables.errors["code"]) <= {"E_EMPTY", "E_DECODE"}
    cuts = tables.segments.merge(tables.tracks, on="track_id")
    assert ((cuts.start_s >= 0) & (cuts.start_s < cuts.end_s) & (cuts.end_s <= cuts.duration_s + 1e-6)).all()
    assert len(cuts) == tables.tracks["n_segments"].sum() == counts.n_inferences
    last = cuts.groupby("track_id")[["end_s", "duration_s"]].max()
    np.testing.assert_allclose(last.end_s, last.duration_s, atol=1e-3)
    assert len(tables.labels) == 400


def test_the_time_of_a_run_is_accounted_for(library, tmp_path):
    counts = run(library, tmp_path / "out", embeddings=True).counts
    spent, whole_s = counts.spent, n_cpus() * counts.elapsed_s
    assert min(spent.decode_s, spent.frontend_s, spent.network_s, spent.write_s) > 0 and spent.gpu_s == 0
    parts_s = sum(vars(spent).values())  # in-process decoding is also counted as the main process's other work
    assert whole_s * 0.95 <= parts_s <= whole_s * 1.05 + spent.decode_s
    assert sum(spent.shares.values()) == pytest.approx(1)
    again = run(library, tmp_path / "out", embeddings=True).counts.spent
    assert again.decode_s == again.network_s == 0
    assert read(tmp_path / "out").run["counts"]["spent"].keys() == vars(spent).keys()


def test_track_values_are_the_mean_of_their_segments(library, tmp_path):
    run(library / "long.wav", tmp_path / "out", embeddings=True, timeline=True, dense=True, vectors="float32")
    tables = read(tmp_path / "out")
    for column, tolerance in (("embedding", 1e-5), ("scores", 1e-3)):
        mean = np.stack(list(tables.segments[column])).mean(axis=0)
        np.testing.assert_allclose(tables.embeddings[column][0], mean, atol=tolerance)
    top = tables.tags.sort_values("rank")
    dense = np.stack(list(tables.segments["scores"]))
    index = tables.labels.set_index("label").loc[top["label"], "label_id"]
    np.testing.assert_allclose(top["score"], dense.mean(axis=0)[index], atol=1e-6)
    np.testing.assert_allclose(top["score_max"], dense.max(axis=0)[index], atol=1e-6)


def test_a_second_run_makes_no_inference(library, tmp_path):
    run(library, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("part-*")}
    counts = run(library, tmp_path / "out").counts
    assert (counts.n_up_to_date, counts.n_failed_before, counts.n_ok, counts.n_inferences) == (9, 2, 0, 0)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("part-*")}


def test_a_folder_within_the_library_is_up_to_date_too(library, tmp_path):
    run(library, tmp_path / "out")
    assert run(library / "album 1", tmp_path / "out").counts.n_up_to_date == 4


def test_other_parameters_are_refused_and_named(library, tmp_path):
    run(library / "long.wav", tmp_path / "out")
    with pytest.raises(OutputMismatchError, match="top was 10, now 5; vectors was 'float16', now 'float32'"):
        run(library / "long.wav", tmp_path / "out", top=5, vectors="float32")
    _check(tmp_path / "out", ok=1, failed=0)


def test_changed_and_new_files_are_done_and_old_rows_vanish(music, tone, tmp_path):
    run(music, tmp_path / "out")
    before = read(tmp_path / "out").tracks.set_index("path")
    changed = tone(music / "long.wav", seconds=5, frequency=999)
    (music / "text.ogg").unlink()
    tone(music / "text.ogg", seconds=2)
    tone(music / "new.flac", seconds=2)
    counts = run(music, tmp_path / "out").counts
    assert (counts.n_ok, counts.n_up_to_date, counts.n_failed_before) == (3, 8, 1)
    _check(tmp_path / "out", ok=11, failed=1)
    after = read(tmp_path / "out").tracks.set_index("path")
    assert after.duration_s[str(changed)] == pytest.approx(5) and before.duration_s[str(changed)] == pytest.approx(23)


def test_a_track_that_turned_bad_loses_its_rows(music, tmp_path):
    run(music, tmp_path / "out")
    (music / "long.wav").write_bytes(b"")
    assert run(music, tmp_path / "out").counts.n_failed == 1
    _check(tmp_path / "out", ok=8, failed=3)


def test_retry_failed(music, tone, tmp_path):
    run(music, tmp_path / "out")
    counts = run(music, tmp_path / "out", retry_failed=True).counts
    assert (counts.n_failed, counts.n_failed_before, counts.n_up_to_date) == (2, 0, 9)
    _check(tmp_path / "out", ok=9, failed=2)


class _StopAfter:
    def __init__(self, stop: threading.Event, n_tracks: int):
        self.stop, self.n_tracks = stop, n_tracks

    def __call__(self, event):
        if isinstance(event, TrackDone) and event.counts.n_ok + event.counts.n_failed >= self.n_tracks:
            self.stop.set()


def test_an_interrupted_run_resumes(library, tmp_path):
    stop = threading.Event()
    result = run(library, tmp_path / "out", stop=stop, observer=_StopAfter(stop, 3))
    assert result.interrupted and result.counts.n_left == 8
    assert audiopatch.read(tmp_path / "out").run["status"] == "interrupted"
    counts = run(library, tmp_path / "out").counts
    assert counts.n_up_to_date + counts.n_failed_before == 3 and counts.n_left == 0
    _check(tmp_path / "out", ok=9, failed=2)


@pytest.mark.parametrize("force", [False, True])
def test_a_run_stopped_before_its_first_track_is_interrupted_and_replaces_nothing(library, tmp_path, force):
    """As a Ctrl-C while the model is loaded."""
    run(library, tmp_path / "out")
    stop = threading.Event()
    stop.set()
    result = run(library, tmp_path / "out", force=force, stop=stop, **({"top": 3} if force else {}))
    assert result.interrupted and result.notes == ()
    _check(tmp_path / "out", ok=9, failed=2)


def test_force_recomputes_with_other_parameters(library, tmp_path):
    run(library, tmp_path / "out")
    result = run(library, tmp_path / "out", top=3, force=True, commit_every_n=4)
    assert result.counts.n_ok == 9 and result.notes == ()
    _check(tmp_path / "out", ok=9, failed=2, top_k=3)
    assert not (tmp_path / "out" / ".next").exists() and not (tmp_path / "out" / "previous").exists()
    assert run(library, tmp_path / "out", top=3).counts.n_inferences == 0


def test_force_with_equal_parameters_keeps_tracks_that_are_not_among_the_inputs(library, tmp_path):
    run(library, tmp_path / "out")
    counts = run(library / "album 0", tmp_path / "out", force=True).counts
    assert counts.n_ok == 4
    _check(tmp_path / "out", ok=9, failed=2)


def test_force_with_other_parameters_sets_aside_what_it_cannot_redo(library, tmp_path):
    run(library, tmp_path / "out")
    result = run(library / "album 0", tmp_path / "out", force=True, top=3)
    assert "7 tracks of the earlier run were not among the inputs" in result.notes[0]
    _check(tmp_path / "out", ok=4, failed=0, top_k=3)
    (kept,) = (tmp_path / "out" / "previous").glob("*/tracks/*.parquet")
    assert len(pd.read_parquet(kept)) == 9


def test_an_interrupted_force_leaves_the_old_tables_and_resumes(library, tmp_path):
    run(library, tmp_path / "out")
    stop = threading.Event()
    run(library, tmp_path / "out", force=True, top=3, stop=stop, observer=_StopAfter(stop, 4))
    _check(tmp_path / "out", ok=9, failed=2)
    counts = run(library, tmp_path / "out", force=True, top=3).counts
    assert counts.n_up_to_date + counts.n_failed_before == 4
    _check(tmp_path / "out", ok=9, failed=2, top_k=3)


def test_json_lines_resume_too(library, tmp_path):
    analysis = Analysis(model="tiny-random", embeddings=True, timeline=True, dense=True)
    for expected in (9, 0):
        result = run_to_folder(Inputs([str(library)]), tmp_path, analysis, Runtime(**RUNTIME), file_format="jsonl")
        assert result.counts.n_ok == expected
    _check(tmp_path, ok=9, failed=2)
    for table in (*TABLES, "labels"):
        files = [*tmp_path.glob(f"{table}/*.jsonl"), *tmp_path.glob(f"{table}.jsonl")]
        rows = [row for file in files for row in file.read_text().splitlines()]
        assert rows and all(printed(f"row-{table}", row) for row in rows)


def test_csv_is_one_file_beside_the_tables_written_when_all_is_done(library, tmp_path):
    def run_as_csv(**options):
        inputs, analysis = Inputs([str(library)]), Analysis(model="tiny-random", top=3)
        return run_to_folder(inputs, tmp_path, analysis, Runtime(**RUNTIME, **options), file_format="csv", stop=stop)

    stop = threading.Event()
    stop.set()
    run_as_csv()
    assert not (tmp_path / "tags.csv").exists()  # interrupted
    stop.clear()
    run_as_csv()
    _check(tmp_path, ok=9, failed=2, top_k=3)
    data = (tmp_path / "tags.csv").read_bytes()
    assert data.startswith(b'\xef\xbb\xbf"path","artist"')  # what Excel knows UTF-8 by
    rows = pd.read_csv(tmp_path / "tags.csv", encoding="utf-8-sig")
    assert len(rows[rows["rank"] > 0]) == 27 and set(rows[rows["rank"].isna()].path) == set(read(tmp_path).errors.path)
    tags = read(tmp_path).tags.set_index(["path", "rank"]).score
    np.testing.assert_allclose(rows.dropna(subset="rank").set_index(["path", "rank"]).score, tags, atol=1e-6)
    assert run_as_csv().counts.n_ok == 0 and (tmp_path / "tags.csv").read_bytes() == data
    with pytest.raises(UsageError, match="csv holds tags"):
        run_to_folder(
            Inputs([str(library)]), tmp_path / "e", Analysis(model="tiny-random", tags=False), Runtime(**RUNTIME),
            file_format="csv",
        )  # fmt: skip


def test_a_folder_of_an_earlier_version_goes_on_or_is_refused_in_words(library, tmp_path):
    run(library, tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    record["parameters"]["passes"] = 1  # a parameter that is no more, at its default
    record["fingerprint"] = fingerprint(record["parameters"])
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert run(library, tmp_path).counts.n_ok == 0
    record["parameters"]["passes"] = 4
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(OutputMismatchError, match="passes was 4"):
        run(library, tmp_path)
    record["parameters"]["format"] = "csv"
    (tmp_path / "run.json").write_text(json.dumps(record))
    again, anew = (lambda: run(library, tmp_path)), (lambda: run(library, tmp_path, force=True))
    for attempt in (again, anew, lambda: read(tmp_path)):
        with pytest.raises(OutputMismatchError, match="tables as csv, which an earlier version wrote"):
            attempt()


def test_a_place_of_something_else_is_refused_in_words(library, tmp_path):
    for text in ("{}", "[1]", "no JSON"):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(OutputMismatchError, match="choose another folder"):
            run(library, tmp_path)
    with pytest.raises(UsageError, match="is a file; tables need a folder"):
        run(library, tmp_path / "run.json")
    with pytest.raises(UsageError, match="there are no tables in"):
        read(tmp_path / "run.json")


def test_no_audio_is_an_error_before_anything_is_written(tmp_path):
    (tmp_path / "notes.txt.bak").write_text("x")
    with pytest.raises(NoAudioError):
        run(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unreadable_inputs_say_why(tmp_path):
    lost = tmp_path / "lost.m3u"
    lost.symlink_to(tmp_path / "gone.m3u")
    with pytest.raises(NoAudioError, match=r"lost\.m3u: No such file"):
        Inputs([str(lost)]).tracks()


def test_python_functions(library, tmp_path):
    tables = audiopatch.tag(library / "long.wav", model="tiny-random", top=3, **RUNTIME)
    assert tables.tags["rank"].tolist() == [1, 2, 3]
    vectors = audiopatch.embed(
        [library / "long.wav"], tmp_path / "v", model="tiny-random", block=2, tokens=("avg",), **RUNTIME
    )
    assert vectors.embeddings["embedding"][0].shape == (64,)
    assert len(vectors.tags) == 0
    with pytest.raises(UsageError, match="there are no tables in"):
        audiopatch.read(library)
