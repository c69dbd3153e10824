"""Reader of EfficientAT's published ``mn*`` files: plain state dicts of MobileNetV3 on PaSST's mel."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from audiopatch.errors import WeightsError
from audiopatch.models.card import MobileNetConfig
from audiopatch.zoo.cards.efficientat import efficientat_card
from audiopatch.zoo.published import Published, shape_of

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
