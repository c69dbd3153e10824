from __future__ import annotations

import json
import os
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

import audiopatch
from audiopatch.cli.main import app
from audiopatch.errors import UsageError
from audiopatch.library.playlist import Entry
from audiopatch.library.playlist_files import m3u8
from made_library import Made, spread, write_output
from printed import printed


@pytest.fixture
def out(tmp_path):
    """Four clusters of ten tracks; cluster 1 is Jazz. Track 9 is track 5 encoded anew; an artist has five tracks."""
    vectors = spread(40)
    vectors[9] = vectors[5] + 0.001
    made = [
        Made(
            f"/music/{i % 4}/{i:02d}.mp3",
            vectors[i],
            (0.9, (0.5 + i / 100) if i % 4 == 1 else 0.1, 0.2, 0.1),
            duration_s=300 if i % 2 else 100,
            tags={"artist": f"Artist {i // 20}-{i % 4}", "title": f"Song {i}"},
        )
        for i in range(40)
    ]
    return write_output(tmp_path / "out", made)


def _paths(entries):
    return [entry.path for entry in entries]


def test_like_and_not_like(out):
    one = audiopatch.playlist(out, like=["1/01.mp3"], n_tracks=6, max_per_artist=0)
    assert all(path.startswith("/music/1/") for path in _paths(one)) and "/music/1/01.mp3" not in _paths(one)
    two = audiopatch.playlist(out, like=["1/01.mp3", "2/02.mp3"], n_tracks=12, max_per_artist=0)
    assert {path[7] for path in _paths(two)} == {"1", "2"}
    away = audiopatch.playlist(out, like=["1/01.mp3", "2/02.mp3"], unlike=["2/06.mp3"], n_tracks=6, max_per_artist=0)
    assert all(path.startswith("/music/1/") for path in _paths(away))


def test_one_of_near_duplicates_and_a_spread_over_artists(out):
    paths = _paths(audiopatch.playlist(out, like=["1/01.mp3"], n_tracks=10, max_per_artist=0))
    assert len({"/music/1/05.mp3", "/music/1/09.mp3"} & set(paths)) == 1
    entries = audiopatch.playlist(out, like=["1/01.mp3"], n_tracks=10, max_per_artist=2)
    assert max(sum(entry.artist == other.artist for other in entries) for entry in entries) == 2


def test_as_long_as_asked_for(out):
    entries = audiopatch.playlist(out, like=["1/01.mp3"], length_s=1200)
    total = sum(entry.duration_s for entry in entries)
    assert total - entries[-1].duration_s < 1200 <= total


def test_a_seed_gives_the_same_other_list(out):
    lists = [
        _paths(audiopatch.playlist(out, like=["1/01.mp3"], n_tracks=8, seed=seed)) for seed in (None, None, 1, 1, 2)
    ]
    assert lists[0] == lists[1] and lists[2] == lists[3] and len({tuple(one) for one in lists}) == 3


def test_the_way_from_one_to_another(out):
    entries = audiopatch.playlist(out, start="1/01.mp3", end="2/02.mp3", n_tracks=8, max_per_artist=0)
    paths = _paths(entries)
    assert len(set(paths)) == 8 and (paths[0], paths[-1]) == ("/music/1/01.mp3", "/music/2/02.mp3")
    assert paths[1][7] == "1" and paths[-2][7] == "2"


def test_sql_chooses_alone_and_limits_others(out):
    by_score = audiopatch.playlist(
        out, where="leaf = 'Jazz' and score > 0.4", order="score", n_tracks=5, max_per_artist=0
    )
    assert _paths(by_score)[:2] == ["/music/1/37.mp3", "/music/1/33.mp3"]
    long_ones = audiopatch.playlist(out, like=["1/01.mp3"], where="duration_s > 200", n_tracks=20, max_per_artist=0)
    assert len(long_ones) == 18 and all(entry.duration_s == 300 for entry in long_ones)  # 20 less the seed and a copy
    for bad in ("leef = 'Jazz'", "leaf = ", "leaf = 'Jazz'); drop table tracks; --", "read_csv('/etc/passwd') is null"):
        with pytest.raises(UsageError, match="DuckDB cannot read this filter"):
            audiopatch.playlist(out, where=bad)


def test_what_makes_no_sense_is_refused(out):
    for wrong, says in (
        ({}, "nothing to choose by"),
        ({"unlike": ["1/01.mp3"]}, "with --like"),
        ({"start": "1/01.mp3"}, "two ends"),
        ({"start": "1/01.mp3", "end": "2/02.mp3", "like": ["1/01.mp3"]}, "--from and --to"),
        ({"like": ["1/01.mp3"], "n_tracks": 0}, "at least 1"),
        ({"like": ["1/01.mp3"], "length_s": -1}, "holds nothing"),
        ({"start": "1/01.mp3", "end": "2/02.mp3", "n_tracks": 1}, "its two ends"),
    ):
        with pytest.raises(UsageError, match=says):
            audiopatch.playlist(out, **wrong)


ENTRIES = [
    Entry("/music/a b/Ünicode & <co> #1.mp3", 61.6, "Björk", "Jóga\n#EXTINF:1", ""),
    Entry("/music/new\nline.mp3", 10, "", "", ""),
    Entry(os.fsdecode(b"/music/latin \xe9.mp3"), 10, "", "", ""),
    Entry("/#odd.mp3", 10, "", "", "An Album"),
]


def test_m3u8_holds_lines_of_utf8_and_names_the_rest(tmp_path):
    written = audiopatch.write_playlist(ENTRIES, tmp_path / "mix.m3u8")
    text = (tmp_path / "mix.m3u8").read_text(encoding="utf-8")
    assert text.splitlines() == [
        "#EXTM3U",
        "#EXTINF:62,Björk - Jóga #EXTINF:1",
        "/music/a b/Ünicode & <co> #1.mp3",
        "#EXTINF:10,#odd",
        "/#odd.mp3",
    ]
    assert written.n_tracks == 2 and set(written.left_out) == {ENTRIES[1].path, ENTRIES[2].path}
    assert "\n./#odd.mp3\n" in m3u8(ENTRIES[3:], "/")


@pytest.mark.parametrize("suffix", ["xspf", "jspf"])
@pytest.mark.parametrize("relative", [False, True])
def test_xspf_and_jspf_hold_every_name(tmp_path, suffix, relative):
    file = tmp_path / f"mix.{suffix}"
    assert audiopatch.write_playlist(ENTRIES, file, relative=relative).left_out == ()
    if suffix == "xspf":
        tracks = ElementTree.parse(file).findall(".//{*}track")
        places = [track.findtext("{*}location") for track in tracks]
        assert tracks[0].findtext("{*}creator") == "Björk" and tracks[0].findtext("{*}duration") == "61600"
    else:
        tracks = json.loads(file.read_text())["playlist"]["track"]
        places = [track["location"][0] for track in tracks]
        assert tracks[0]["creator"] == "Björk" and tracks[3]["album"] == "An Album"
    back = [unquote(urlsplit(place).path, errors="surrogateescape") for place in places]
    back = [os.path.normpath(tmp_path / path) for path in back]
    assert back == [entry.path for entry in ENTRIES]


def test_relative_paths_lead_from_the_playlist_to_the_track(tmp_path):
    entry = Entry(str(tmp_path / "music" / "a.mp3"), 10, "", "", "")
    (tmp_path / "lists").mkdir()
    audiopatch.write_playlist([entry], tmp_path / "lists" / "mix.m3u8", relative=True)
    assert (tmp_path / "lists" / "mix.m3u8").read_text().splitlines()[-1] == "../music/a.mp3"
    with pytest.raises(UsageError, match="unknown playlist format 'pls'"):
        audiopatch.write_playlist([entry], tmp_path / "mix.pls")


def _run(*arguments):
    return CliRunner().invoke(app, ["playlist", *map(str, arguments)])


def test_the_command(out, tmp_path):
    mix = tmp_path / "mix.m3u8"
    done = _run("--like", "1/01.mp3", "--not", "2/02.mp3", "--length", "20m", "--in", out, "-o", mix, "--json")
    assert done.exit_code == 0, done.output
    chosen = [entry["path"] for entry in printed("playlist", done.stdout)["tracks"]]
    assert [line for line in mix.read_text().splitlines() if line[0] != "#"] == chosen and str(mix) in done.stderr
    assert _run("--like", "1/01.mp3", "--in", out, "--tracks", 2).stdout.startswith("#EXTM3U\n#EXTINF:")
    refused = _run("--like", "1/01.mp3", "--in", out, "--relative")
    assert refused.exit_code == 2 and "name it with -o" in refused.stderr
    assert _run("--where", "leef = 1", "--in", out).exit_code == 2
    assert _run("--like", "x", "--in", tmp_path).exit_code == 2
