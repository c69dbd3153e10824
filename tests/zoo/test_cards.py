"""Cards: listing them is instant, and each says what a user must know."""

import subprocess
import sys

import pytest

from audiopatch.errors import UsageError
from audiopatch.frontends import FRONTENDS
from audiopatch.models.cost import cost_of
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


SIZES = {  # what the authors' networks count, without AudioMAE's table of positions, which is not trained
    "ced-tiny": 5_503_183,
    "ced-mini": 9_696_655,
    "ced-small": 21_622_543,
    "ced-base": 85_711_759,
    "dasheng-base": 85_447_808,
    "dasheng-0.6b": 630_333_568,
    "dasheng-1.2b": 1_134_047_360,
    "eat-base-as2m": 90_379_535 + 768,  # its table has no position for CLS, ours one of zeros
    "eat-large-as2m": 309_409_295 + 1024,
    "sslam-as2m": 90_379_535 + 768,
    "audiomae-as2m": 85_659_407 + 513 * 768,
    "musicnn-msd": 787_159,
}


@pytest.mark.parametrize("name", SIZES)
def test_networks_are_as_large_as_their_authors(name: str):
    assert cost_of(CARDS[name]).n_params == SIZES[name]


def test_a_vit_on_512_patches_costs_what_is_published_of_one():
    """EAT, SSLAM and AudioMAE are the ViT-B at stride 16 of arXiv 2504.01690, table of G-MACs."""
    for name in ("eat-base-as2m", "sslam-as2m", "audiomae-as2m"):
        assert cost_of(CARDS[name]).macs / 1e9 == pytest.approx(48.6, abs=0.1)


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(UsageError, match="did you mean 'discogs-maest-30s-pw-129e'"):
        find_card("discogs-maest-30s-pw-129")


def test_cards_are_chosen_by_licence_and_domain():
    permissive = {card.name for card in select_cards(licence="permissive", domain="music")}
    assert {"audiopatch-music", "audiopatch-small", "musicnn-msd", "openmic2008"} <= permissive
    assert not any(name.startswith("discogs-maest") for name in permissive)
    assert {card.family for card in select_cards(licence="non-commercial")} == {"maest", "maest-hub", "audiomae"}
    assert is_permissive(CARDS["ced-base"]) and not is_permissive(CARDS["audiomae-as2m"])
    with pytest.raises(UsageError, match="'noise' is none of: music, sound, speech"):
        select_cards(domain="noise")
