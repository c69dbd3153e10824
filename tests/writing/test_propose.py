"""Which labels go into which field, under what name, and what of the user's stays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import audiopatch
from audiopatch.errors import UsageError
from audiopatch.models.thresholds import Thresholds
from audiopatch.writing.changes import read_changes
from audiopatch.writing.containers import open_tags
from audiopatch.writing.propose import Scored, decide
from audiopatch.writing.rules import FieldRule, make_rules, read_rules
from audiopatch.zoo import cards
from containers import make


@pytest.fixture
def song(tmp_path) -> Path:
    (tmp_path / "music").mkdir()
    return make(tmp_path / "music", "flac")


def new(proposal) -> dict[str, tuple[str, ...]]:
    return {change.field: change.new for change in proposal}


def test_without_any_option_the_best_two_genres_fill_empty_fields(song, tables):
    proposal = audiopatch.propose_changes(tables(song))
    assert new(proposal) == {"GENRE": ("Heavy metal", "Drum and bass")}
    (change,) = proposal
    assert (change.old, change.scores, change.track_id != "") == ((), (0.8, 0.6), True)
    assert "from 0.1 on" in proposal.note


def test_each_field_takes_labels_of_its_group_and_a_comment_those_of_several(song, tables):
    proposal = audiopatch.propose_changes(tables(song), genre=3, mood=1, instrument=2, comment=3)
    assert new(proposal) == {
        "GENRE": ("Heavy metal", "Drum and bass", "Rock"),
        "MOOD": ("Happy",),
        "INSTRUMENT": ("Guitar", "Piano"),
        "COMMENT": ("Guitar / Heavy metal / Happy",),
    }
    assert new(audiopatch.propose_changes(tables(song), genre=0, mood=2, min_score=0.5)) == {"MOOD": ("Happy",)}


def test_rules_name_labels_and_leave_some_out(song, tables, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[fields.genre]\nbest = 2\nparents = true\n[fields.grouping]\ngroups = ["genre", "mood"]\nmin_score = 0.65\n'
        '[names]\n"Heavy metal" = "Metal"\n"Drum and bass" = ""\n"Rock music" = "Rock & Roll"\n'
    )
    found = new(audiopatch.propose_changes(tables(song), rules=rules))
    assert found == {"GENRE": ("Metal", "Rock & Roll"), "GROUPING": ("Metal", "Happy")}
    assert read_rules(rules).name_of("Instrument---Musical instrument", "Musical instrument") == ""
    found = new(audiopatch.propose_changes(tables(song), rules=rules, genre=1, mood=1))
    assert found["GENRE"] == ("Metal",) and found["MOOD"] == ("Happy",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[field.genre]", "did you mean 'fields'"),
        ("[fields.genre]\nbest = 0", "from 1 on"),
        ("[fields.genre]\nbets = 1", "did you mean 'best'"),
        ('[fields.genre]\npolicy = "append all"', "policy"),
        ("[fields.genre]\nmin_score = 7", "between 0 and 1"),
        ("[fields.artist]\nbest = 1", "no field that labels can go into"),
        ('[names]\n"Rock" = "a;b"', "neither ';'"),
        ('[names]\n"Rock" = 1', "is a text"),
        ("best = ", "no valid TOML"),
    ],
)
def test_rules_that_cannot_be_say_what_is_wrong(text, said, tmp_path):
    (tmp_path / "rules.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_rules(tmp_path / "rules.toml")


def test_no_field_at_all_is_an_error():
    with pytest.raises(UsageError, match="--genre 2"):
        make_rules({"genre": 0})


@pytest.mark.parametrize(
    ("policy", "now", "own", "expected"),
    [
        ("fill", (), (), ("Rock", "Jazz")),
        ("fill", ("Polka",), (), None),
        ("fill", ("Pop",), ("pop",), ("Rock", "Jazz")),  # what we wrote earlier is not the user's
        ("append", ("Polka", "jazz"), (), ("Polka", "jazz", "Rock")),
        ("append", ("Polka", "Pop"), ("Pop",), ("Polka", "Rock", "Jazz")),
        ("replace", ("Polka",), (), ("Rock", "Jazz")),
    ],
)
def test_policies(policy, now, own, expected):
    scored = [Scored("Rock", 0.9), Scored("Jazz", 0.8)]
    assert decide(FieldRule(("genre",), policy=policy), now, own, scored) == expected


def test_a_later_run_knows_its_own_values_from_those_of_the_user(song, tables):
    out = tables(song)
    audiopatch.apply_changes(audiopatch.propose_changes(out, genre=2, mood=1, comment=2), out)
    _, tags = open_tags(str(song))
    assert tags.read("AUDIOPATCH_GENRE") == ("Heavy metal 0.80; Drum and bass 0.60",)
    assert tags.read("AUDIOPATCH_COMMENT") == ("Guitar / Heavy metal",)
    assert tags.read("AUDIOPATCH_PLAN") == ("F3T2",) and tags.read("AUDIOPATCH_MODEL")[0].startswith("made-up")
    tags.save(str(song), {"MOOD": ("Wistful",)})  # the user's own
    for look in (True, False):
        kwargs = {"mood": 1} if look else {}
        proposal = audiopatch.propose_changes(out, genre=1, look=look, **kwargs)
        assert new(proposal) == {"GENRE": ("Heavy metal",)}
        assert proposal.n_kept == (1 if look else 0)
    assert audiopatch.undo(out).n("refused") == 1


def test_the_tables_are_trusted_where_they_know_and_files_are_looked_into_where_not(song, tables):
    out = tables(song)
    _, tags = open_tags(str(song))
    tags.save(str(song), {"GENRE": ("Polka",), "MOOD": ("Sad",)})
    assert new(audiopatch.propose_changes(out)) == {"GENRE": ("Heavy metal", "Drum and bass")}
    proposal = audiopatch.propose_changes(out, genre=2, mood=1)
    assert (len(proposal), proposal.n_kept) == (0, 2)
    trusting = audiopatch.propose_changes(out, genre=0, mood=1, look=False)
    assert new(trusting) == {"MOOD": ("Happy",)}
    assert audiopatch.apply_changes(trusting, out).n("kept") == 1  # found out when the file was opened
    with pytest.raises(UsageError, match="look=False"):
        audiopatch.propose_changes(out, policy="append", look=False)
    appended = audiopatch.propose_changes(out, policy="append")
    assert new(appended) == {"GENRE": ("Polka", "Heavy metal", "Drum and bass")}


def test_thresholds_of_the_model_decide_where_they_are_of_such_a_run(song, tables, monkeypatch):
    values = {"Genre---Heavy metal": 0.9, "Genre---Drum and bass": 0.5, "Genre---Jazz": 0.01}
    card = replace(cards.CARDS["audiopatch-small"], thresholds=(Thresholds(values, "F3T2", "mean", 0.5),))
    monkeypatch.setitem(cards.CARDS, "made-up", card)
    proposal = audiopatch.propose_changes(tables(song), genre=3)
    assert (
        new(proposal) == {"GENRE": ("Drum and bass", "Rock", "Jazz")}
        and "measured with --patchout F3T2" in proposal.note
    )


def test_what_cannot_be_written_is_a_row_that_says_so(tmp_path, tables):
    from fabricate import encode, music

    song = encode(tmp_path / "song.mka", music(0.5))
    proposal = audiopatch.propose_changes(tables(song))
    assert proposal.refused == [(str(song), "tags are not written into such files (mka)")] and not len(proposal)


@pytest.mark.parametrize("file_format", ["jsonl"])
def test_tables_of_every_format_do(song, tables, file_format):
    out = tables(song, file_format=file_format)
    assert audiopatch.apply_changes(audiopatch.propose_changes(out), out).n("written") == 1
    assert audiopatch.read(out).tracks["genre"].tolist() == ["Heavy metal; Drum and bass"]


def test_changes_survive_a_file_and_reviewing(song, tables):
    proposal = audiopatch.propose_changes(tables(song), genre=2, comment=2)
    lines = [change.line() for change in proposal]
    assert list(read_changes(lines, "c.jsonl")) == list(proposal)
    by_hand = json.dumps({"path": str(song), "field": "genre", "old": [], "new": ["My own"]})
    (change,) = read_changes([by_hand, "\n"], "c.jsonl")
    assert (change.field, change.new) == ("GENRE", ("My own",))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2"),
        ('{"path": "a", "field": "GENRE", "old": []}', "an object with"),
        ('{"path": "a", "field": "TITLE", "old": [], "new": ["x"]}', "no field that labels"),
        ('{"path": "a", "field": "AUDIOPATCH_PLAN", "old": [], "new": ["x"]}', "no field that labels"),
        ('{"path": "a", "field": "GENRE", "old": [], "new": ["x\\u0000y"]}', "control characters"),
        ('{"path": "a", "field": "GENRE", "old": [], "new": "x"}', "cannot be 'x'"),
        ('{"path": "a", "field": "GENRE", "old": [], "new": [1]}', "list of texts"),
    ],
)
def test_a_line_that_is_no_change_says_which_and_why(line, said):
    with pytest.raises(UsageError, match=said) as caught:
        list(read_changes(["", line], "c.jsonl"))
    assert "c.jsonl, line 2" in str(caught.value)


def test_tables_without_tags_are_answered_in_words(song, tables, tmp_path):
    out = tables(song, scores={"song.flac": [0.0] * 9})
    assert len(audiopatch.propose_changes(out)) == 0
    with pytest.raises(UsageError, match="there are no tables in"):
        audiopatch.propose_changes(tmp_path / "nowhere")


OWN = {"labels": ("Folk Fantasy", "Tavern", "Happy music", "Quiet"), "scores": {"song.flac": [0.9, 0.3, 0.6, 0.05]}}


def test_own_labels_that_no_field_takes_are_named(song, tables, tmp_path):
    out = tables(song, **OWN, label_set="own")
    proposal = audiopatch.propose_changes(out)
    assert not len(proposal) and proposal.no_field == ("Folk Fantasy", "Tavern")  # Quiet is a guess, Happy a mood
    assert audiopatch.propose_changes(out, min_score=0.5).no_field == ("Folk Fantasy",)
    rules = tmp_path / "rules.toml"
    rules.write_text("fields.genre.groups = []\n")
    found = audiopatch.propose_changes(out, rules=rules)
    assert new(found) == {"GENRE": ("Folk Fantasy", "Happy")} and found.no_field == ()
    rules.write_text('[fields.genre]\n[names]\n"Tavern" = ""\n')
    assert audiopatch.propose_changes(out, rules=rules).no_field == ("Folk Fantasy",)
    commented = audiopatch.propose_changes(out, comment=3)
    assert new(commented) == {"COMMENT": ("Folk Fantasy / Happy / Tavern",)} and commented.no_field == ()


def test_what_was_learnt_from_genres_is_written_as_genres(song, tables):
    found = audiopatch.propose_changes(tables(song, **OWN, label_set="own genre"), genre=3, mood=1)
    assert new(found) == {"GENRE": ("Folk Fantasy", "Happy", "Tavern")} and found.no_field == ()


def test_a_known_vocabulary_has_nothing_without_a_field(song, tables):
    assert audiopatch.propose_changes(tables(song), mood=1).no_field == ()
