"""EfficientAT: the ``mn*`` taggers, MobileNetV3 on PaSST's mel; their files are plain state dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from audiopatch.errors import WeightsError
from audiopatch.models.card import FrontendConfig, HeadConfig, MobileNetConfig, ModelCard, Weights, scaled_channels
from audiopatch.zoo.published import Published, shape_of

if TYPE_CHECKING:
    from torch import Tensor

_URL = "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/"
_README = "mAP, AudioSet eval (the repository's README)"
_FILE_NAME = "mAP, AudioSet eval (in the release's file name)"


def efficientat_card(
    name: str,
    *,
    width: float,
    n_classes: int,
    n_hidden: int = 0,
    weights: Weights | None = None,
    scores: Mapping[str, float] | None = None,
) -> ModelCard:
    """The card of an ``mn`` network; ``n_hidden`` defaults to the published 1280 × width."""
    return ModelCard(
        name=name,
        family="efficientat",
        frontend=FrontendConfig("passt"),
        backbone=MobileNetConfig(width),
        head=HeadConfig(n_classes=n_classes, kind="mlp", n_hidden=n_hidden or scaled_channels(1280, width)),
        labels="audioset" if n_classes == 527 else f"classes-{n_classes}",
        segment_s=10.0,
        weights=weights,
        scores=scores or {},
        licence="MIT",
        paper="Schmid, Koutini, Widmer 2023, arXiv 2211.04772",
        summary="sound events of AudioSet, a convolutional network without tokens",
    )


# name, width, mAP in thousandths, where the figure stands
_PUBLISHED = (
    ("mn01_as", 0.1, "298", _FILE_NAME),
    ("mn02_as", 0.2, "378", _FILE_NAME),
    ("mn04_as", 0.4, "432", _README),
    ("mn05_as", 0.5, "443", _README),
    ("mn10_as", 1.0, "471", _README),
    ("mn20_as", 2.0, "478", _README),
    ("mn30_as", 3.0, "482", _README),
    ("mn40_as", 4.0, "484", _README),
    ("mn40_as_ext", 4.0, "487", _README),
)
_KNOWN_FILES = {"mn04_as": ("899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c", 4066513)}


def _published_card(name: str, width: float, digits: str, source: str) -> ModelCard:
    sha256, size_bytes = _KNOWN_FILES.get(name, ("", 0))
    filename = f"{name}_mAP_{digits}.pt"
    return efficientat_card(
        name,
        width=width,
        n_classes=527,
        weights=Weights(url=_URL + filename, filename=filename, sha256=sha256, size_bytes=size_bytes),
        scores={source: int(digits) / 1000},
    )


CARDS = tuple(_published_card(*row) for row in _PUBLISHED)


_HEAD = {"classifier.2.": "head.0.", "classifier.5.": "head.3."}
_WIDTHS = (0.1, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0, 2.0, 3.0, 4.0)


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is EfficientAT's, told by its keys."""
    return "features.0.0.weight" in state and "classifier.5.weight" in state


def read(state: Mapping[str, Tensor], name: str) -> Published:
    """A state dict -> card and renamed tensors; the width is read off the last convolution."""
    n_classes, n_hidden = shape_of(state, "classifier.5.weight", 2)
    n_features = shape_of(state, "classifier.2.weight", 2)[1]
    config = next((c for c in map(MobileNetConfig, _WIDTHS) if c.n_features == n_features), None)
    if config is None:
        raise WeightsError(f"{name}: no known EfficientAT width has {n_features} features")
    card = efficientat_card(name, width=config.width, n_classes=n_classes, n_hidden=n_hidden)
    return Published(card, {_rename(key): value for key, value in state.items()})


def _rename(key: str) -> str:
    for old, new in _HEAD.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return f"backbone.{key}"
