"""What ``show`` answers: from tables made by hand, so that every count is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.made_library import Made, write_output
from typer.testing import CliRunner

import audiopatch
from audiopatch.cli.main import app
from audiopatch.errors import UsageError
from audiopatch.library.label_names import find_labels, labels
from audiopatch.library.show import LabelTracks, Shown, glance, label_tracks, show, track_tags
from audiopatch.models.thresholds import Thresholds
from audiopatch.types import Failed, Track
from audiopatch.zoo import cards
from audiopatch.zoo.labels import describe_labels
from printed import printed

VECTOR = np.ones(4, np.float32)


@pytest.fixture
def folder(tmp_path):
    made = [
        Made("/music/a.mp3", VECTOR, (0.9, 0.8, 0.1, 0.3)),
        Made("/music/b.mp3", VECTOR, (0.9, 0.7, 0.2, 0.4), damaged=True),
        Made("/music/sub/c.mp3", VECTOR, (0.9, 0.2, 0.6, 0.05)),
    ]
    bad = Failed(Track("/music/d.mp3", "/music", "0" * 16, 1, 1), "E_DECODE", "decode", "no audio in it")
    return write_output(tmp_path / "out", made, [bad])


def test_the_library_at_a_glance(folder):
    found = glance(folder)
    assert (found.n_tracks, found.n_damaged, found.n_failed, found.duration_s) == (3, 1, 1, 540.0)
    counts = {(count.group, count.label): (count.n_tracks, count.best) for count in found.counts}
    assert counts == {
        ("genre", "Jazz"): (2, "/music/a.mp3"),
        ("genre", "Techno"): (1, "/music/sub/c.mp3"),
        ("mood", "Happy music"): (2, "/music/b.mp3"),  # at 0.05 in the third it is a guess
    }
    assert found.n_guessed == 0 and "from 0.1 on" in found.meant_from


@pytest.mark.parametrize("group", ["", "sound"])
def test_labels_without_a_group_and_sounds_count_where_a_track_has_no_other(tmp_path, monkeypatch, group):
    made = [Made("/music/a.mp3", VECTOR, (0.0, 0.9, 0.0, 0.0)), Made("/music/b.mp3", VECTOR, (0.0, 0.9, 0.2, 0.0))]
    groups = {"Genre---Techno": "genre", "Mood---Happy music": "mood", "Genre---Jazz": group, "Music": ""}
    monkeypatch.setattr("audiopatch.library.show.groups_in", lambda labels: groups)
    counts = {(count.group, count.label): count.n_tracks for count in glance(write_output(tmp_path / "o", made)).counts}
    assert counts == {("genre", "Techno"): 1, (group, "Jazz"): 1}


def test_own_labels_called_music_and_speech_are_tags(folder):
    """In a shipped vocabulary they say how much of a track is what; somebody who taught them asked for them."""
    assert [label.group for label in describe_labels("own", ["music", "speech"])] == ["", ""]
    assert [label.group for label in describe_labels("music", ["speech"])] == ["content"]
    run = json.loads((folder / "run.json").read_text())
    of: dict[str, set[str]] = {}
    for name in ("own", "music"):
        (folder / "run.json").write_text(json.dumps(run | {"model": {"labels": name}}))
        of[name] = {tag.label for tag in track_tags("a.mp3", folder).tags}
    assert of["own"] - of["music"] == {"Music"}


@pytest.mark.parametrize(("top_k", "complete"), [(4, True), (3, False)])
def test_as_many_tags_as_labels_are_all_of_them(tmp_path, top_k, complete):
    out = write_output(tmp_path / "out", [Made("/music/a.mp3", VECTOR, (0.9, 0.8, 0.1, 0.3))], dense=False)
    text = (out / "run.json").read_text()
    (out / "run.json").write_text(text.replace('"top_k": null', f'"top_k": {top_k}'))
    assert label_tracks("jazz", out).complete is complete


def test_one_track_by_the_end_of_its_path(folder):
    found = track_tags("sub/c.mp3", folder)
    assert [(tag.label, tag.group, tag.meant) for tag in found.tags] == [
        ("Techno", "genre", True),
        ("Jazz", "genre", True),
        ("Happy music", "mood", False),
    ]
    with pytest.raises(UsageError, match=r"d\.mp3 could not be read: no audio in it"):
        track_tags("d.mp3", folder)
    with pytest.raises(UsageError, match=r"may be /music/a\.mp3 or /music/b\.mp3"):
        track_tags(".mp3", folder)


def test_one_track_by_its_name_without_the_ending(tmp_path):
    made = [Made(f"/music/{name}", VECTOR, (0.9, 0.8, 0.1, 0.3)) for name in ("Xyzzy.flac", "Jazz.flac")]
    out = write_output(tmp_path / "out", made, [])
    found, label = show("xyzzy", out), show("jazz", out)
    assert isinstance(found, Shown) and found.path == "/music/Xyzzy.flac"
    assert isinstance(label, LabelTracks) and label.label == "Jazz"  # labels come first
    with pytest.raises(UsageError, match="no track and no label is called 'xyzz'"):
        show("xyzz", out)
    with pytest.raises(UsageError, match=r"no track in .* is called 'gone\.wma'"):
        show("gone.wma", out)


def test_the_tracks_of_a_label_every_one_of_which_is_asked(folder):
    found = label_tracks("jazz", folder)
    assert found.complete and [track.path for track in found.tracks] == [
        "/music/a.mp3",
        "/music/b.mp3",
        "/music/sub/c.mp3",
    ]
    assert [round(track.tags[0].score, 1) for track in found.tracks] == [0.8, 0.7, 0.2]
    assert show("b.mp3", folder).status == "damaged" and show("techno", folder, top=1).tracks[0].tags[0].score > 0.59
    with pytest.raises(UsageError, match="did you mean 'techno'"):
        show("tekno", folder)


def test_thresholds_decide_where_they_were_measured_for_such_scores(folder, monkeypatch):
    measured = Thresholds(
        {"Genre---Jazz": 0.75, "Genre---Techno": 0.9, "Mood---Happy music": 0.35}, "none", "mean", 0.5
    )
    monkeypatch.setitem(cards.CARDS, "tiny-random", replace(cards.CARDS["tiny-random"], thresholds=(measured,)))
    found = glance(folder)
    assert [(count.label, count.n_tracks) for count in found.counts] == [("Jazz", 1), ("Happy music", 1)]
    assert found.n_guessed == 1 and "measured with --patchout none" in found.meant_from
    assert [track.tags[0].meant for track in label_tracks("jazz", folder).tracks] == [True, False, False]
    assert "Techno 0.60?" in CliRunner().invoke(app, ["show", "c.mp3", "--in", str(folder)]).stdout
    elsewhere = replace(measured, overlap=0.0)
    monkeypatch.setitem(cards.CARDS, "tiny-random", replace(cards.CARDS["tiny-random"], thresholds=(elsewhere,)))
    assert "from 0.1 on" in glance(folder).meant_from


@pytest.mark.parametrize(
    ("words", "label"),
    [
        ("metal", "Heavy metal"),
        ("HipHop", "Hip hop music"),
        ("electronica", "Electronic music"),
        ("dnb", "Drum and bass"),
        ("rock & roll", "Rock and roll"),
        ("jazz", "Jazz"),
    ],
)
def test_labels_are_found_as_people_say_them(words, label):
    names = ["Rock music", "Heavy metal", "Rock and roll", "Hip hop music", "Electronic music", "Drum and bass", "Jazz"]
    assert find_labels(words, names)[0] == label


def test_labels_of_a_model_and_of_a_run(folder):
    assert any(label.leaf == "Jazz" and label.group == "genre" for label in labels("audiopatch-small"))
    assert [label.leaf for label in labels("any", tables=folder, words="techno")] == ["Techno"]


def test_results_say_how_much_they_hold(folder):
    assert repr(audiopatch.read(folder)).endswith(": 3 tracks, 12 tags, 2 errors; by tiny-random>")


def test_the_command_prints_and_is_json(folder):
    said = " ".join(CliRunner().invoke(app, ["show", "--in", str(folder)]).stdout.split())
    assert "3 tracks, 9 min, 1 damaged, 1 that could not be read" in said and "Jazz" in said
    one = CliRunner().invoke(app, ["show", "b.mp3", "--in", str(folder)]).stdout
    assert "damaged" in one and "Jazz 0.70" in one
    facts = printed("show", CliRunner().invoke(app, ["show", "jazz", "--in", str(folder), "--json"]).stdout)
    for words in ([], ["a.mp3"]):
        assert printed("show", CliRunner().invoke(app, ["show", *words, "--in", str(folder), "--json"]).stdout)
    assert facts["label"] == "Jazz" and len(facts["tracks"]) == 3
