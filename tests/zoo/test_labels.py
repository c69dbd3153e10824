"""Label sets: sizes, order, and the trees behind them."""

from collections import Counter

import pytest

from audiopatch.errors import WeightsError
from audiopatch.zoo import CARDS
from audiopatch.zoo.labels import (
    CONTENT,
    GROUPS,
    audioset_parents,
    content_of,
    describe_labels,
    group_of,
    load_labels,
    load_terms,
    load_vocabulary,
    never_tags,
    split_label,
)


@pytest.mark.parametrize("name", CARDS)
def test_every_card_has_as_many_labels_as_classes(name: str):
    card = CARDS[name]
    labels = load_labels(card.labels)
    assert len(labels) == card.head.n_classes == len(set(labels))


def test_discogs_labels_split_into_genre_and_style():
    labels = describe_labels("discogs400", load_labels("discogs400"))
    assert (labels[0].parent, labels[0].leaf) == ("Blues", "Boogie Woogie")
    assert len({label.parent for label in labels}) == 15
    assert all(label.parent and label.leaf for label in labels)


def test_every_audioset_class_climbs_to_a_root():
    parents = audioset_parents()
    roots = {name for name, parent in parents.items() if not parent}
    assert len(parents) == 632 and len(roots) == 7
    for label in describe_labels("audioset", load_labels("audioset")):
        node, steps = label.name, 0
        while parents[node]:
            node, steps = parents[node], steps + 1
            assert steps < 10
        assert node in roots


def test_audioset_parents_are_the_ontologys():
    by_name = {label.name: label for label in describe_labels("audioset", load_labels("audioset"))}
    assert by_name["Techno"].parent == "Electronic music"
    assert by_name["Electric guitar"].parent == "Guitar"
    assert by_name["Music"].parent == ""
    assert by_name["Speech"].parent == "Human voice"  # not itself a class


def test_fsd50k_is_in_alphabetical_order_and_speech_commands_in_asts():
    sounds, words = load_labels("fsd50k"), load_labels("speech_commands")
    assert list(sounds) == sorted(sounds)  # PaSST's code asserts so of the official vocabulary
    assert (sounds[53], sounds[69]) == ("Crushing", "Electric_guitar")  # numbers in vocabulary.csv
    assert (words[0], words[7], words[34]) == ("backward", "two", "one")
    assert CARDS["fsd50k"].labels == "fsd50k" and CARDS["ast-finetuned-speech-commands-v2"].labels == "speech_commands"


def test_unknown_label_sets_are_refused():
    for name in ("nothing", "../cards", "", "classes-"):
        with pytest.raises(WeightsError, match="no label set"):
            load_labels(name)
    assert load_labels("classes-3") == ("class 0", "class 1", "class 2")


def test_terms_of_the_default_model_are_audioset_classes_each_once():
    terms, audioset = load_vocabulary(), load_labels("audioset")
    assert len(terms) == 150
    assert [audioset[term.index] for term in terms] == [term.label for term in terms]
    assert max(Counter(term.index for term in terms).values()) == 1
    assert max(Counter(term.mid for term in terms).values()) == 1


def test_groups_and_parents_make_a_tree():
    terms = load_vocabulary()
    assert {term.group for term in terms} == {"music", "genre", "mood", "role", "instrument", "voice", "sound"}
    by_label = {term.label: term for term in terms}
    for term in terms:
        if term.parent:
            assert by_label[term.parent].group == term.group


def test_label_names_split_into_group_and_leaf():
    names = load_labels("audioset_music")
    assert names[0] == "Music" and "Genre---Heavy metal" in names
    assert split_label("Instrument---Violin, fiddle").leaf == "Violin, fiddle"
    assert len(set(names)) == len(names) == 150


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("Genre---Heavy metal", "genre"),
        ("mood/theme---dark", "mood"),
        ("Blues---Delta Blues", "genre"),
        ("Non-Music---Audiobook", "sound"),
        ("Heavy metal", "genre"),
        ("Happy music", "mood"),
        ("Christmas music", "role"),
        ("Electric_guitar", "instrument"),
        ("Female singing", "voice"),
        ("female vocalists", "voice"),
        ("90s", "era"),
        ("Rain", "sound"),
        ("Music", ""),
        ("Krautwickel---Style", ""),
        ("class 7", ""),
    ],
)
def test_groups_follow_from_names_alone(name, group):
    assert group_of(name) == group == split_label(name).group


def test_every_tag_of_the_taggers_for_music_has_a_group():
    terms = load_terms()
    for tag in {tag for term in terms for tags in term.sources.values() for tag in tags}:
        assert group_of(tag) or tag == "Music", tag
    for name in load_labels("discogs519"):
        assert group_of(name) in GROUPS


def test_the_default_models_terms_take_each_teachers_tag_at_most_once():
    terms = load_terms()
    assert len({term.label for term in terms}) == len(terms) == len(load_labels("music"))
    for label_set in ("audioset", "msd_top50", "mtt_top50"):
        used = [tag for term in terms for tag in term.sources[label_set]]
        assert len(set(used)) == len(used) > 0
    assert set(load_labels("audioset")) >= {tag for term in terms for tag in term.sources["audioset"]}
    assert {term.group for term in terms} == {*GROUPS, CONTENT}
    assert [term.name for term in terms[:3]] == ["Music", "Speech", "Silence"]
    metal = next(term for term in terms if term.label == "Heavy metal")
    assert metal.sources == {
        "audioset": ("Heavy metal",),
        "msd_top50": ("metal", "heavy metal"),
        "mtt_top50": ("metal",),
    }


def test_what_a_track_is_made_of_is_no_tag_of_the_default_vocabulary():
    names = load_labels("music")
    assert content_of("music", names) == {"music": 0, "speech": 1, "silence": 2}
    assert never_tags("music") == {"Music", "Speech", "Silence"} and not never_tags("audioset")
    old = load_labels("audioset_music")
    assert old[content_of("audioset_music", old)["speech"]] == "Voice---Speech"
    assert content_of("discogs400", load_labels("discogs400")) == {}
