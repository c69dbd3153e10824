"""Cards: listing them is instant, and each says what a user must know."""

import subprocess
import sys

import pytest

from audiopatch.errors import UsageError
from audiopatch.frontends import FRONTENDS
from audiopatch.zoo import CARDS, find_card
from audiopatch.zoo.cards import DOMAINS, is_permissive, select_cards


def test_listing_and_fetching_need_no_torch():
    program = "import sys, audiopatch.zoo, audiopatch.zoo.fetch, audiopatch.zoo.labels; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", CARDS)
def test_every_card_tells_all(name: str):
    card = CARDS[name]
    assert card.name == name and card.licence and card.summary and card.frontend.name in FRONTENDS
    assert card.domain in DOMAINS
    if card.weights:
        assert card.paper and card.code_licence and card.page.startswith("https://")
        assert bool(card.weights.hub) != bool(card.weights.url and card.weights.filename)
        assert len(card.weights.sha256) in (0, 64)
        for source, score in card.scores.items():
            assert "(" in source and 0 < score < 1  # what was measured, and where that stands


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(UsageError, match="did you mean 'discogs-maest-30s-pw-129e'"):
        find_card("discogs-maest-30s-pw-129")


def test_cards_are_chosen_by_licence_and_domain():
    permissive = {card.name for card in select_cards(licence="permissive", domain="music")}
    assert {"audiopatch-small", "musicnn-msd", "openmic2008"} <= permissive
    assert not any(name.startswith("discogs-maest") for name in permissive)
    assert {card.family for card in select_cards(licence="non-commercial")} == {"maest", "maest-hub", "audiomae"}
    assert is_permissive(CARDS["ced-base"]) and not is_permissive(CARDS["audiomae-as2m"])
    with pytest.raises(UsageError, match="'noise' is none of: music, sound, speech"):
        select_cards(domain="noise")
