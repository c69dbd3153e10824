"""EfficientAT: the ``mn*`` taggers and their dynamic kin ``dymn*`` on PaSST's mel, in plain state dicts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audiopatch.errors import WeightsError
from audiopatch.models.card import ModelCard, Weights
from audiopatch.models.config import DymnConfig, FrontendConfig, HeadConfig, MobileNetConfig, scaled_channels
from audiopatch.zoo.published import Published, label_set, missing, shape_of

if TYPE_CHECKING:
    from torch import Tensor

_URL = "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/"
_README = "mAP, AudioSet eval (the repository's README)"
_FILE_NAME = "mAP, AudioSet eval (in the release's file name)"
_HEAD = {"classifier.2.": "head.0.", "classifier.5.": "head.3."}
_WIDTHS = (0.1, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 2.0, 3.0, 4.0)
_DYNAMIC = "in_c.0.weight"  # the first layer of a DyMN, and of no other family


def efficientat_card(
    name: str,
    *,
    width: float,
    n_classes: int,
    dynamic: bool = False,
    n_hidden: int = 0,
    weights: Weights | None = None,
    scores: Mapping[str, float] | None = None,
) -> ModelCard:
    """The card of an ``mn`` or (``dynamic``) a ``dymn`` network; ``n_hidden`` defaults to the published 1280 × width.

    The network is the same for every mel, so the name says which one it was trained on: ``..._hop_15`` has a frame per
    15 ms instead of 10, ``..._mels_40`` 40 bands instead of 128.
    """
    options = _mel_options(name)
    n_mels = options.get("n_mels", 128)
    return ModelCard(
        name=name,
        family="efficientat",
        frontend=FrontendConfig("passt", options=options),
        backbone=DymnConfig(width, n_mels) if dynamic else MobileNetConfig(width, n_mels),
        head=HeadConfig(n_classes=n_classes, kind="mlp", n_hidden=n_hidden or scaled_channels(1280, width)),
        labels=label_set(n_classes),
        segment_s=10.0,
        weights=weights,
        scores=scores or {},
        licence="MIT",
        code_licence="MIT",
        paper=f"Schmid, Koutini, Widmer {'2024, arXiv 2310.15648' if dynamic else '2023, arXiv 2211.04772'}",
        page="https://github.com/fschmid56/EfficientAT",
        domain="sound",
        summary="sound events of AudioSet, a convolutional network without tokens",
    )


def _mel_options(name: str) -> dict[str, Any]:
    hop_ms, n_mels = re.search(r"_hop_(\d{1,2})(?!\d)", name), re.search(r"_mels_(\d{2,3})(?!\d)", name)
    return ({"hop_length": 32 * int(hop_ms[1])} if hop_ms else {}) | ({"n_mels": int(n_mels[1])} if n_mels else {})


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
    ("mn40_as_no_im_pre", 4.0, "483", _README),
    ("mn10_as_hop_5", 1.0, "475", _FILE_NAME),
    ("mn10_as_hop_15", 1.0, "463", _README),
    ("mn10_as_hop_20", 1.0, "456", _README),
    ("mn10_as_hop_25", 1.0, "447", _README),
    ("mn10_as_mels_40", 1.0, "453", _README),
    ("mn10_as_mels_64", 1.0, "461", _README),
    ("mn10_as_mels_256", 1.0, "474", _README),
)
# name, width, file, mAP
_DYNAMIC_PUBLISHED = (
    ("dymn04_as", 0.4, "dymn04_as.pt", 0.450),
    ("dymn10_as", 1.0, "dymn10_as.pt", 0.477),
    ("dymn20_as", 2.0, "dymn20_as_mAP_493.pt", 0.491),
)
_KNOWN_FILES = {"mn04_as": ("899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c", 4066513)}


def _published_card(name: str, width: float, filename: str, score: float, source: str, dynamic: bool) -> ModelCard:
    sha256, size_bytes = _KNOWN_FILES.get(name, ("", 0))
    return efficientat_card(
        name,
        width=width,
        n_classes=527,
        dynamic=dynamic,
        weights=Weights(url=_URL + filename, filename=filename, sha256=sha256, size_bytes=size_bytes),
        scores={source: score},
    )


CARDS = (
    *(
        _published_card(name, width, f"{name}_mAP_{digits}.pt", int(digits) / 1000, source, False)
        for name, width, digits, source in _PUBLISHED
    ),
    *(
        _published_card(name, width, filename, score, _README, True)
        for name, width, filename, score in _DYNAMIC_PUBLISHED
    ),
)


SIGNS = ("classifier.5.weight", "features.0.0.weight")


def lacks(state: Mapping[str, Tensor]) -> list[str]:
    """Which of EfficientAT's keys a state dict lacks; a DyMN's first layer has a name of its own."""
    return missing(state, SIGNS[:1] if _DYNAMIC in state else SIGNS)


def read(state: Mapping[str, Tensor], name: str) -> Published:
    """A state dict -> card and renamed tensors; the width is read off the last convolution."""
    n_classes, n_hidden = shape_of(state, "classifier.5.weight", 2)
    n_features = shape_of(state, "classifier.2.weight", 2)[1]
    config = next((c for c in map(MobileNetConfig, _WIDTHS) if c.n_features == n_features), None)
    if config is None:
        raise WeightsError(f"{name}: no known EfficientAT width has {n_features} features")
    dynamic = _DYNAMIC in state
    card = efficientat_card(name, width=config.width, n_classes=n_classes, dynamic=dynamic, n_hidden=n_hidden)
    used = _without_constants(state) if dynamic else state
    return Published(card, {_rename(key): value for key, value in used.items()})


def _without_constants(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the two vectors that each dynamic ReLU repeats in the file; other values than ours are refused."""
    from audiopatch.models.dymn import RELU_REACH, RELU_STARTS

    constants = {".depth_act.lambdas": RELU_REACH, ".depth_act.init_v": RELU_STARTS}
    kept = dict(state)
    for key, value in state.items():
        for suffix, expected in constants.items():
            if key.endswith(suffix):
                if value.flatten().tolist() != list(expected):
                    raise WeightsError(f"'{key}' is not {expected}: this is no published DyMN")
                del kept[key]
    return kept


def _rename(key: str) -> str:
    for old, new in _HEAD.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return f"backbone.{key}"
