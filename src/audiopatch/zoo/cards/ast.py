"""AST's cards: the models on the hub, and the builder both of its readers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiopatch.models.card import FrontendConfig, HeadConfig, ModelCard, TransformerConfig, Weights

N_MELS = 128
LABEL_SETS = {527: "audioset", 35: "speech_commands"}
SPEECH_COMMANDS_STATS = {"mean": -6.845978, "std": 5.5654526}
_SUMMARIES = {527: "sound events of AudioSet", 35: "words of Speech Commands"}
_PAPER = "Gong, Chung, Glass 2021, arXiv 2104.01778"


def ast_card(
    name: str,
    *,
    stride: tuple[int, int],
    n_frames: int,
    n_classes: int,
    eps: float,
    head_eps: float,
    dim: int = 768,
    depth: int = 12,
    stats: Mapping[str, float] | None = None,
    weights: Weights | None = None,
    scores: Mapping[str, float] | None = None,
) -> ModelCard:
    """The card of an AST. ``stats`` are the mean and std of its training set, AudioSet's where not given."""
    rows, cols = (N_MELS - 16) // stride[0] + 1, (n_frames - 16) // stride[1] + 1
    backbone = TransformerConfig(
        grid=(rows, cols),
        n_mels=N_MELS,
        dim=dim,
        depth=depth,
        patch_stride=stride,
        positions="full",
        norm_eps=eps,
    )
    options: dict[str, Any] = dict(stats or {})
    return ModelCard(
        name=name,
        family="ast",
        frontend=FrontendConfig("ast", n_frames=n_frames, options=options),
        backbone=backbone,
        head=HeadConfig(n_classes=n_classes, eps=head_eps),
        labels=LABEL_SETS.get(n_classes, f"classes-{n_classes}"),
        segment_s=n_frames / 100,
        multilabel=n_classes != 35,  # Speech Commands gives each clip one word
        weights=weights,
        scores=scores or {},
        licence="BSD-3-Clause",
        paper=_PAPER,
        summary=f"{_SUMMARIES.get(n_classes, 'sounds')}, segments of {n_frames / 100:g} s",
    )


def _hub_card(name: str, stride: int, score: float) -> ModelCard:
    return ast_card(
        name,
        stride=(stride, stride),
        n_frames=1024,
        n_classes=527,
        eps=1e-12,
        head_eps=1e-12,
        weights=Weights(hub=f"MIT/{name}"),
        scores={"mAP, AudioSet eval (in the model's name)": score},
    )


AST_CARDS = (
    _hub_card("ast-finetuned-audioset-10-10-0.4593", 10, 0.4593),
    _hub_card("ast-finetuned-audioset-10-10-0.450", 10, 0.450),
    _hub_card("ast-finetuned-audioset-10-10-0.448", 10, 0.448),
    _hub_card("ast-finetuned-audioset-10-10-0.448-v2", 10, 0.448),
    _hub_card("ast-finetuned-audioset-12-12-0.447", 12, 0.447),
    _hub_card("ast-finetuned-audioset-14-14-0.443", 14, 0.443),
    _hub_card("ast-finetuned-audioset-16-16-0.442", 16, 0.442),
    ast_card(
        "ast-finetuned-speech-commands-v2",
        stride=(10, 10),
        n_frames=128,
        n_classes=35,
        eps=1e-12,
        head_eps=1e-12,
        stats=SPEECH_COMMANDS_STATS,
        weights=Weights(hub="MIT/ast-finetuned-speech-commands-v2"),
    ),
)
