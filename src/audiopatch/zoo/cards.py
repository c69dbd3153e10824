"""The cards audiopatch knows by name: those of each family's file, and of the models that ship inside the package.

Imports no torch, so that listing them is instant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from audiopatch.catalog import nearest
from audiopatch.errors import UsageError
from audiopatch.models.card import ModelCard
from audiopatch.models.config import FrontendConfig, HeadConfig, TransformerConfig
from audiopatch.models.thresholds import thresholds_for
from audiopatch.zoo import ast, audiomae, ced, dasheng, eat, efficientat, maest, musicnn, passt

# A family's file holds its cards (``CARDS``) and its reader (``lacks``, ``read``); readers are asked in this order.
FAMILIES: tuple[ModuleType, ...] = (
    maest, passt, ast, audiomae, ced, dasheng, eat, efficientat, musicnn,
)  # fmt: skip

CARD_FILE, LABELS_FILE = "card.json", "labels.txt"  # of a folder in the package's own format
LEAST_SCORE = 0.1  # without thresholds; below it the best label of a track is no more than a guess
_SHIPPED = Path(__file__).parent / "packaged"

_TINY_RANDOM = ModelCard(
    name="tiny-random",
    family="maest",
    frontend=FrontendConfig("maest", n_frames=625),
    backbone=TransformerConfig(grid=(9, 62), n_mels=96, dim=64, depth=2),
    head=HeadConfig(n_classes=400),
    labels="discogs400",
    segment_s=10.0,
    licence="CC0-1.0",
    domain="music",
    summary="random weights, for tests and first tries: its tags are noise",
)


def shipped_folder(name: str) -> Path | None:
    """Where the shipped model ``name`` lies; None where no such model ships."""
    folder = _SHIPPED / name
    return folder if (folder / CARD_FILE).is_file() else None


def shipped_cards() -> tuple[ModelCard, ...]:
    """The cards of all shipped models."""
    return tuple(
        ModelCard.from_json(path.read_text(encoding="utf-8")) for path in sorted(_SHIPPED.glob(f"*/{CARD_FILE}"))
    )


DEFAULT_MODEL = "audiopatch-music"

PUBLISHED: dict[str, ModelCard] = {card.name: card for family in FAMILIES for card in family.CARDS}
_SHIPPED_CARDS = {card.name: card for card in shipped_cards()}

# Those that ship come first; one of them is the same that its authors publish, in the package's own format.
CARDS: dict[str, ModelCard] = _SHIPPED_CARDS | PUBLISHED | _SHIPPED_CARDS | {_TINY_RANDOM.name: _TINY_RANDOM}


_PERMISSIVE = ("Apache-2.0", "BSD-", "CC BY 4.0", "CC0-", "ISC", "MIT")
LICENCES = ("permissive", "non-commercial")
DOMAINS = ("music", "sound", "speech")


def is_permissive(card: ModelCard) -> bool:
    """Whether the weights may be used for anything, also commercially, with no more than their authors named."""
    return card.licence.startswith(_PERMISSIVE)


def select_cards(*, licence: str | None = None, domain: str | None = None) -> tuple[ModelCard, ...]:
    """The known cards of a kind of licence (one of ``LICENCES``) and of a domain (one of ``DOMAINS``)."""
    for value, choices in ((licence, LICENCES), (domain, DOMAINS)):
        if value is not None and value not in choices:
            raise UsageError(f"'{value}' is none of: {', '.join(choices)}")
    wanted = (
        CARDS.values()
        if licence is None
        else (c for c in CARDS.values() if is_permissive(c) == (licence == LICENCES[0]))
    )
    return tuple(card for card in wanted if domain is None or card.domain == domain)


def find_card(name: str) -> ModelCard:
    """The card called ``name``; a UsageError with the nearest name where there is none."""
    if name not in CARDS:
        raise UsageError(f"unknown model '{name}'; {nearest(name, CARDS, otherwise='see: audiopatch models list')}")
    return CARDS[name]


def least_scores(run: Mapping[str, Any], labels: Iterable[str]) -> tuple[dict[str, float], str]:
    """(label -> the score from which on it is meant, how that is known) for the scores of a run, by its ``run.json``.

    Those are the thresholds of its model where they were measured for scores made so, else ``LEAST_SCORE``.
    """
    made = run["parameters"]
    card = CARDS.get(made["model"]) or _own_card(run)
    measured = card and thresholds_for(card.thresholds, made["patchout"], made["pool"], made["overlap"])
    if measured is None:
        known = f"no thresholds for such scores of {made['model']}: labels count from {LEAST_SCORE} on"
        return dict.fromkeys(labels, LEAST_SCORE), known
    known = f"labels count from the thresholds of {made['model']} on, measured {measured.origin}"
    return {label: measured.values.get(label, LEAST_SCORE) for label in labels}, known


def _own_card(run: Mapping[str, Any]) -> ModelCard | None:
    """The card of a model of one's own, if it still lies where the run found it."""
    asked = (run.get("request") or {}).get("model")
    path = Path(asked, CARD_FILE) if asked else None
    return ModelCard.from_json(path.read_text(encoding="utf-8")) if path and path.is_file() else None
