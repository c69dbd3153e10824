from __future__ import annotations

import numpy as np
from typer.testing import CliRunner

import audiopatch
from audiopatch.cli.main import app
from audiopatch.library.vectors import close_pairs
from fabricate import encode, music
from made_library import Made, spread, write_output
from printed import printed


def test_close_pairs_are_those_of_all_with_all():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3000, 8)).astype(np.float32)
    points[1500:1510] = points[:10] + 0.01
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    lengths = rng.uniform(100, 400, 3000)
    lengths[1500:1510] = lengths[:10] + np.array([0, 1, 1.9, 2.1, 5, 50, 0, 0, 0, 0])
    found = {frozenset(pair) for pair in close_pairs(points, lengths, least=0.9, slack=2.0, slack_share=0.01)}
    gap, longer = np.abs(lengths[:, None] - lengths), np.maximum(lengths[:, None], lengths)
    expected = (points @ points.T >= 0.9) & (gap <= np.maximum(2.0, 0.01 * longer))
    assert found == {frozenset((int(a), int(b))) for a, b in zip(*np.nonzero(np.triu(expected, 1)), strict=True)}
    assert {0, 1500} in found and {5, 1505} not in found and len(found) > 5


def test_groups_and_what_tells_them_apart(tmp_path):
    vectors = spread(12)
    made = [Made(f"/music/{i:02d}.mp3", vectors[i], duration_s=100 + 10 * i) for i in range(12)]
    made.append(Made("/music/copy.flac", vectors[3] + 0.001, duration_s=130.6, codec="flac", size_bytes=9_000_000))
    made.append(Made("/music/live.mp3", vectors[3] + 0.001, duration_s=190))
    made.append(Made("/music/broken.flac", vectors[3], duration_s=130, codec="flac", damaged=True))
    made += [Made(f"/music/same {i}.mp3", vectors[7] * 3 - i, duration_s=500 + 50 * i, audio_hash="ab") for i in (0, 1)]
    groups = audiopatch.duplicates(write_output(tmp_path / "out", made))
    assert [[copy.path.rpartition("/")[2] for copy in group] for group in groups] == [
        ["copy.flac", "03.mp3", "broken.flac"],
        ["same 0.mp3", "same 1.mp3"],
    ]
    best = groups[0][0]
    assert best.codec == "flac" and round(best.kbit_s) == 551 and groups[0][2].damaged
    shown = CliRunner().invoke(app, ["duplicates", "--in", str(tmp_path / "out")], env={"COLUMNS": "200"})
    assert (
        shown.exit_code == 0
        and "copy.flac" in shown.stdout
        and "2 recordings are here more than once: 3 files" in shown.stderr
    )
    said = CliRunner().invoke(app, ["duplicates", "--in", str(tmp_path / "out"), "--json"])
    answer = printed("duplicates", said.stdout)["groups"]
    assert answer[0][0]["path"] == "/music/copy.flac"


def test_nothing_twice_is_fine(tmp_path):
    vectors = spread(5, clusters=5)
    out = write_output(tmp_path / "out", [Made(f"/music/{i}.mp3", vectors[i]) for i in range(5)])
    assert audiopatch.duplicates(out) == []
    said = CliRunner().invoke(app, ["duplicates", "--in", str(out)])
    assert said.exit_code == 0 and "No recording is here twice" in said.stderr


def test_the_same_recording_in_real_files(tmp_path):
    (tmp_path / "music").mkdir()
    for number in range(5):
        encode(tmp_path / "music" / f"{number}.flac", music(3, seed=number))
    encode(tmp_path / "music" / "same.wav", music(3, seed=2))
    encode(tmp_path / "music" / "same.wv", music(3, seed=2))
    audiopatch.tag(tmp_path / "music", tmp_path / "out", model="tiny-random", embeddings=True, threads=1, workers=0)
    (group,) = audiopatch.duplicates(tmp_path / "out")
    assert {copy.path.rpartition("/")[2] for copy in group} == {"2.flac", "same.wav", "same.wv"}
    assert [copy.kbit_s for copy in group] == sorted((copy.kbit_s for copy in group), reverse=True)  # all are lossless
