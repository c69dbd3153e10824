from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import audiopatch
from audiopatch.cli.main import app
from audiopatch.errors import UsageError
from audiopatch.library.vectors import nearest_first, read_vectors
from audiopatch.tables.read import read
from made_library import Made, spread, write_output
from printed import printed


def _library(tmp_path, n=40, **kept):
    vectors = spread(n)
    made = [
        Made(f"/music/{i % 4}/{i:02d}.mp3", vectors[i], (0.9, 0.8 if i % 4 == 1 else 0.1, 0.2, 0.1)) for i in range(n)
    ]
    return write_output(tmp_path / "out", made, **kept), made


@pytest.mark.parametrize("kind", ["embedding", "scores"])
def test_the_nearest_are_of_the_same_cluster_and_in_order(tmp_path, kind):
    out, made = _library(tmp_path, embedding=kind == "embedding")
    found = audiopatch.similar("/music/1/05.mp3", out, top=5)
    assert found.kind == kind and found.path == made[5].path
    distances = [one.distance for one in found.neighbours]
    assert distances == sorted(distances) and len(distances) == 5
    assert found.path not in [one.path for one in found.neighbours]
    assert all(one.path.startswith("/music/1/") for one in found.neighbours)
    assert found.neighbours[0].shared[:2] == ("Music", "Jazz")


def test_it_is_exact(tmp_path):
    out, _ = _library(tmp_path)
    vectors = read_vectors(read(out))
    query = vectors.points[7]
    brute = np.argsort(-np.array([point @ query for point in vectors.points]), kind="stable")
    assert nearest_first(vectors.points @ query, 10).tolist() == brute[:10].tolist()
    assert len(nearest_first(np.ones(5), 3)) == 3, "equal ones are not lost and not doubled"
    assert nearest_first(np.array([0.1, 0.9, 0.9, 0.2]), 3).tolist() == [1, 2, 3]


def test_a_few_tracks_still_have_an_order(tmp_path):
    vectors = spread(6, clusters=2)
    out = write_output(tmp_path / "out", [Made(f"/music/{i}.mp3", vectors[i]) for i in range(6)])
    found = audiopatch.similar("/music/0.mp3", out)
    assert {one.path for one in found.neighbours[:2]} == {"/music/2.mp3", "/music/4.mp3"}
    assert found.neighbours[1].distance < 0.8 * found.neighbours[2].distance


def test_names(tmp_path):
    out, _ = _library(tmp_path)
    assert audiopatch.similar("1/05.mp3", out).path == "/music/1/05.mp3"
    with pytest.raises(UsageError, match=r"may be .*name more of its path"):
        audiopatch.similar("mp3", out)
    with pytest.raises(UsageError, match=r"no file '06x.mp3'.*did you mean '06.mp3'"):
        audiopatch.similar("06x.mp3", out)


def test_tables_without_vectors_say_how_to_get_them(tmp_path):
    out, _ = _library(tmp_path, embedding=False, dense=False)
    refused = CliRunner().invoke(app, ["similar", "1/05.mp3", "--in", str(out)])
    assert refused.exit_code == 2 and "audiopatch tag ~/Music --embeddings" in refused.stderr


def test_a_file_that_was_never_analysed_is_analysed_as_the_tables_were(library, tone, tmp_path):
    out = tmp_path / "out"
    audiopatch.tag(library, out, model="tiny-random", embeddings=True, patchout="F1T1", threads=1, workers=0)
    stranger = tone(
        tmp_path / "stranger.wav", seconds=4, frequency=250
    )  # as "track 1.flac" of the library, twice as long
    found = audiopatch.similar(stranger, out, top=3)
    assert found.path == str(stranger) and len(found.neighbours) == 3
    known = audiopatch.similar(library / "album 1" / "track 1.flac", out)
    copy = tmp_path / "copy.flac"
    copy.write_bytes((library / "album 1" / "track 1.flac").read_bytes())
    same = audiopatch.similar(copy, out, top=1).neighbours[0]
    assert same.path == known.path and same.distance == pytest.approx(0, abs=1e-3)
    with pytest.raises(UsageError, match=r"text\.ogg cannot be analysed"):
        audiopatch.similar(library / "text.ogg", out)


def test_another_model_of_the_same_name_is_refused(tone, tmp_path):
    out, _ = _library(tmp_path)
    run = json.loads((out / "run.json").read_text())
    run["parameters"] |= {"weights_sha256": "f" * 64, "tags": True, "segment_s": 1.0}
    (out / "run.json").write_text(json.dumps(run))
    stranger = tone(tmp_path / "x.wav", seconds=2)
    with pytest.raises(UsageError, match=r"'tiny-random' has other weights.*--model FOLDER"):
        audiopatch.similar(stranger, out)


def test_a_model_that_came_from_a_folder_is_asked_for(tone, tmp_path):
    out, _ = _library(tmp_path)
    run = json.loads((out / "run.json").read_text())
    run["parameters"] |= {"model": "mine", "tags": True, "segment_s": 1.0}
    (out / "run.json").write_text(json.dumps(run))
    with pytest.raises(UsageError, match=r"'mine' is neither a model.*say where that is: --model FOLDER"):
        audiopatch.similar(tone(tmp_path / "x.wav", seconds=2), out)


def test_the_command(tmp_path):
    out, _ = _library(tmp_path)
    said = CliRunner().invoke(app, ["similar", "1/05.mp3", "--in", str(out), "-k", "3", "--json"])
    answer = printed("similar", said.stdout)
    assert said.exit_code == 0 and answer["kind"] == "embedding" and len(answer["neighbours"]) == 3
    assert answer["neighbours"][0].keys() >= {"path", "distance", "shared", "title", "duration_s"}
    shown = CliRunner().invoke(app, ["similar", "1/05.mp3", "--in", str(out)], env={"COLUMNS": "200"})
    assert shown.exit_code == 0 and answer["neighbours"][0]["path"] in shown.stdout and "Jazz" in shown.stdout
