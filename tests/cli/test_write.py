from __future__ import annotations

import json
from dataclasses import fields

import pytest
from typer.testing import CliRunner

from audiopatch.cli.main import app
from audiopatch.writing.changes import Change
from audiopatch.writing.containers import open_tags
from containers import make, state
from made_tables import make_tables
from printed import printed


@pytest.fixture
def place(tmp_path):
    (tmp_path / "music").mkdir()
    for kind in ("mp3", "flac"):
        make(tmp_path / "music", kind)
    make_tables(tmp_path / "out", sorted((tmp_path / "music").iterdir()))
    return tmp_path


def _call(*arguments: object):
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_a_preview_shows_and_changes_nothing(place):
    before = state(place / "music")
    shown = _call("write", "--in", place / "out", "--mood", 1, "--genre", 2)
    assert shown.exit_code == 0 and state(place / "music") == before
    assert "Heavy metal; Drum and bass" in shown.stdout and "genre: Heavy metal 2, Drum and bass 2" in shown.stdout
    assert "4 fields of 2 files would change; the same command with --apply does it" in shown.stderr
    found = printed("write-preview", _call("write", "--in", place / "out", "--json").stdout)
    assert found["counts"] == {"tracks": 2, "changes": 2, "files": 2, "kept": 0, "same": 0, "refused": 0}
    assert found["changes"][0]["new"] == ["Heavy metal", "Drum and bass"]


def test_labels_that_no_field_takes_are_said(place):
    labels, scores = ("Folk Fantasy", "Tavern", "Sea", "Moon", "Sun"), (0.9, 0.8, 0.7, 0.6, 0.5)
    songs = sorted((place / "music").iterdir())
    make_tables(place / "own", songs, dict.fromkeys(("song.mp3", "song.flac"), scores), labels=labels, label_set="own")
    for more in ((), ("--apply",)):
        said = _call("write", "--in", place / "own", "--json", *more)
        assert "'Folk Fantasy', 'Tavern', 'Sea' and 2 more labels" in said.stderr and "--rules FILE" in said.stderr
        assert printed("write" if more else "write-preview", said.stdout)["no_field"] == list(labels)
    (place / "rules.toml").write_text("fields.genre.groups = []\n")
    taken = _call("write", "--in", place / "own", "--rules", place / "rules.toml")
    assert "Folk Fantasy; Tavern" in taken.stdout and "--rules FILE" not in taken.stderr


def test_apply_then_undo(place):
    before = state(place / "music")
    done = _call("write", "--in", place / "out", "--apply")
    assert done.exit_code == 0 and "Wrote 2 fields of 2 files" in done.stderr and "takes it back" in done.stderr
    again = _call("write", "--in", place / "out", "--apply")
    assert again.exit_code == 0 and "Nothing written" in again.stderr
    listed = _call("undo", "--in", place / "out", "--list").stdout
    assert "2 files" in listed and "written" in listed
    (past,) = printed("undo-list", _call("undo", "--in", place / "out", "--list", "--json").stdout)["writes"]
    tried = _call("undo", "--in", place / "out", "--dry-run", "--json")
    assert "Would undo" in tried.stderr and state(place / "music") != before
    would = printed("undo", tried.stdout)
    assert past["state"] == "written" and would["write"] == past["name"] and would["counts"]["restored"] == 2
    undone = _call("undo", "--in", place / "out")
    assert (
        undone.exit_code == 0 and "2 files have their old bytes" in undone.stderr and state(place / "music") == before
    )
    assert "Nothing to undo" in _call("undo", "--in", place / "out").stderr
    assert "Forgot 0 writes" in _call("undo", "--in", place / "out", "--forget-before", "2020-01-01").stderr
    assert "Forgot 1 write (" in _call("undo", "--in", place / "out", "--forget-before", "2999-01-01").stderr
    assert list((place / "out" / "writes").glob("*/")) == []


def test_a_reviewed_file_is_what_is_written(place):
    changes = place / "changes.jsonl"
    said = _call("write", "--in", place / "out", "--changes", changes)
    assert f"audiopatch write --in {place / 'out'} --changes {changes} --apply" in said.stderr
    first = printed("change", changes.read_text().splitlines()[0])
    assert set(first) == {entry.name for entry in fields(Change)}
    by_hand = {key: first[key] for key in ("path", "field", "old")} | {"new": ["My own"]}
    changes.write_text(json.dumps(by_hand) + "\n")
    assert printed("change", changes.read_text())
    done = _call("write", "--in", place / "out", "--changes", changes, "--apply", "--json")
    counts = printed("write", done.stdout)["counts"]
    assert counts == {"written": 1, "unchanged": 0, "kept": 0, "refused": 0}
    assert open_tags(first["path"])[1].read("GENRE") == ("My own",)
    assert not open_tags(str(place / "music" / "song.mp3"))[1].read("GENRE")
    changes.write_text("{}\n")
    assert _call("write", "--in", place / "out", "--changes", changes, "--apply").exit_code == 2


def test_a_refused_file_ends_in_3_and_says_why(place):
    (place / "music" / "song.mp3").chmod(0o444)
    done = _call("write", "--in", place / "out", "--apply")
    assert done.exit_code == 3 and "song.mp3: is read-only" in done.stderr and "1 refused" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--genre", 0), "--genre 2"),
        (("--policy", "add"), "policy"),
        (("--rules", "no.toml"), "cannot read the rules"),
        (("--changes", "no.jsonl", "--apply"), "cannot read the changes"),
        (("--changes", "no.jsonl", "--apply", "--mood", 1), "says what is written"),
    ],
)
def test_usage_errors_are_sentences(place, arguments, said):
    wrong = _call("write", "--in", place / "out", *arguments)
    assert wrong.exit_code == 2 and said in wrong.stderr


def test_undo_of_a_write_that_is_not_there(place):
    assert "Nothing to undo" in _call("undo", "--in", place / "out").stderr
    wrong = _call("undo", "20200101T000000-000000", "--in", place / "out")
    assert wrong.exit_code == 2 and "there is no write" in wrong.stderr
    assert _call("undo", "--in", place / "out", "--forget-before", "soon").exit_code == 2
