"""The cards audiopatch knows by name, one table per family. Imports no torch, so that listing them is instant."""

from __future__ import annotations

from audiopatch.catalog import nearest
from audiopatch.errors import UsageError
from audiopatch.models.card import FrontendConfig, HeadConfig, ModelCard, TransformerConfig
from audiopatch.zoo.cards.ast import AST_CARDS
from audiopatch.zoo.cards.audiomae import AUDIOMAE_CARDS
from audiopatch.zoo.cards.efficientat import EFFICIENTAT_CARDS
from audiopatch.zoo.cards.maest import MAEST_CARDS, MAEST_HUB_CARDS
from audiopatch.zoo.cards.passt import PASST_CARDS
from audiopatch.zoo.shipped import shipped_cards

_TINY_RANDOM = ModelCard(
    name="tiny-random",
    family="maest",
    frontend=FrontendConfig("maest", n_frames=625),
    backbone=TransformerConfig(grid=(9, 62), n_mels=96, dim=64, depth=2),
    head=HeadConfig(n_classes=400),
    labels="discogs400",
    segment_s=10.0,
    licence="CC0-1.0",
    summary="random weights, for tests and first tries: its tags are noise",
)

DEFAULT_MODEL = "audiopatch-small"

CARDS: dict[str, ModelCard] = {
    card.name: card
    for card in (
        *shipped_cards(),
        *MAEST_CARDS,
        *MAEST_HUB_CARDS,
        *PASST_CARDS,
        *AST_CARDS,
        *AUDIOMAE_CARDS,
        *EFFICIENTAT_CARDS,
        _TINY_RANDOM,
    )
}


def find_card(name: str) -> ModelCard:
    """The card called ``name``; a UsageError with the nearest name where there is none."""
    if name not in CARDS:
        raise UsageError(f"unknown model '{name}'; {nearest(name, CARDS, otherwise='see: audiopatch models list')}")
    return CARDS[name]
