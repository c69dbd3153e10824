"""Cards survive JSON, and anything else is refused with a sentence."""

import json
from dataclasses import replace

import pytest

from audiopatch.errors import UsageError, WeightsError
from audiopatch.models.card import ModelCard
from audiopatch.models.thresholds import Thresholds, require_thresholds, thresholds_for
from audiopatch.zoo import CARDS


@pytest.mark.parametrize("name", CARDS)
def test_every_card_round_trips_through_json(name: str):
    assert ModelCard.from_json(CARDS[name].to_json()) == CARDS[name]


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"name": 3}', '{"frontend": {"nam": 1}}', "\x00", "1e999"])
def test_other_text_is_no_card(text: str):
    with pytest.raises(WeightsError, match="no audiopatch model card"):
        ModelCard.from_json(text)


FULL = Thresholds({"rock": 0.4, "jazz": 0.3}, "none", "mean", 0.5, "gtzan", "valid", "2026-11-26")
SHORT = Thresholds({"rock": 0.2}, "F3T2", "max", 0.0, "gtzan", "valid", "2026-11-26")
CARD = replace(CARDS["tiny-random"], thresholds=(FULL, SHORT))


def test_thresholds_hold_for_the_scores_they_were_measured_on():
    assert ModelCard.from_json(CARD.to_json()) == CARD
    assert thresholds_for(CARD.thresholds, "none", "mean", 0.5) == FULL
    assert thresholds_for(CARD.thresholds, "F3T2", "max", 0.0) == SHORT
    for other in (("F3T2", "mean", 0.5), ("none", "max", 0.5), ("none", "mean", 0.25)):
        assert thresholds_for(CARD.thresholds, *other) is None
        with pytest.raises(UsageError) as refused:
            require_thresholds(CARD.thresholds, *other, model=CARD.name)
        assert FULL.origin in str(refused.value) and SHORT.origin in str(refused.value)
        assert f"--patchout {other[0]} --pool {other[1]} --overlap {other[2]}" in str(refused.value)


def test_a_second_measurement_takes_the_place_of_the_same_one_and_joins_others():
    again = replace(FULL, values={"rock": 0.5}, date="2027-01-01")
    assert CARD.with_thresholds(again).thresholds == (SHORT, again)
    elsewhere = replace(FULL, values={"jazz": 0.9, "folk": 0.1}, dataset="mtt")
    found = thresholds_for(CARD.with_thresholds(elsewhere).thresholds, "none", "mean", 0.5)
    assert found is not None and found.values == {"rock": 0.4, "jazz": 0.9, "folk": 0.1}
    assert found.dataset == "gtzan, mtt"


def test_thresholds_of_an_earlier_card_are_taken_without_an_origin():
    old = json.loads(replace(CARD, thresholds=()).to_json()) | {"thresholds": {"rock": 0.4}}
    card = ModelCard.from_json(json.dumps(old))
    found = thresholds_for(card.thresholds, "F3T2", "max", 0.1)
    assert found == Thresholds({"rock": 0.4}) and "does not tell" in found.origin
    measured = card.with_thresholds(FULL)  # what is known of beats what is not
    assert thresholds_for(measured.thresholds, "none", "mean", 0.5) == FULL
    assert thresholds_for(measured.thresholds, "F3T2", "max", 0.1) is None
    with pytest.raises(WeightsError):
        ModelCard.from_json(json.dumps(old | {"thresholds": {"rock": "much"}}))
