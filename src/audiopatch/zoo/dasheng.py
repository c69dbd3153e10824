"""Dasheng: CED's transformer on patches that span all frequencies (Dinkel et al. 2024), as a tagger and as encoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from audiopatch.models.card import ModelCard, Weights
from audiopatch.models.config import FrontendConfig, HeadConfig
from audiopatch.zoo import ced
from audiopatch.zoo.ced import plain_names, to_tagger
from audiopatch.zoo.published import HEAD_DIM, Published, depth_of, label_set, shape_of, width_of

if TYPE_CHECKING:
    from torch import Tensor

_PATCH = (64, 4)
_COLS = 252
_HEAD_DIMS = {1280: 80}  # of the 0.6B model alone; the others have heads of 64


def dasheng_card(
    name: str,
    *,
    dim: int,
    depth: int,
    cols: int = _COLS,
    n_classes: int = 0,
    weights: Weights | None = None,
    scores: Mapping[str, float] | None = None,
) -> ModelCard:
    """The card of a Dasheng; ``n_classes`` 0 is an encoder, whose features are the mean of its tokens."""
    return ModelCard(
        name=name,
        family="dasheng",
        frontend=FrontendConfig("ced", 4 * cols, {"min_frames": 4}),
        backbone=ced.backbone(_PATCH, cols=cols, dim=dim, depth=depth, head_dim=_HEAD_DIMS.get(dim, HEAD_DIM)),
        head=HeadConfig(n_classes) if n_classes else HeadConfig(0, kind="none"),
        labels=label_set(n_classes),
        segment_s=min(10.0, 4 * cols / 100),
        weights=weights,
        scores=scores or {},
        licence="Apache-2.0",
        code_licence="Apache-2.0",
        paper="Dinkel et al. 2024, arXiv 2406.06992",
        page="https://github.com/RicherMans/Dasheng",
        domain="sound",
        summary="sound events of AudioSet, segments of 10 s" if n_classes else "pre-trained encoder, embeds only",
    )


_ZENODO = "https://zenodo.org/records/13315686/files/dasheng_audioset_mAP497.pt"
# hub name, card's name, width, blocks, HEAR averages of environment, speech and music
_ENCODERS = (
    ("dasheng-base", "dasheng-base", 768, 12, (0.802, 0.725, 0.840)),
    ("dasheng-0.6B", "dasheng-0.6b", 1280, 32, (0.824, 0.749, 0.840)),
    ("dasheng-1.2B", "dasheng-1.2b", 1536, 40, (0.832, 0.757, 0.849)),
)
CARDS = (
    dasheng_card(
        "dasheng-base-audioset",
        dim=768,
        depth=12,
        n_classes=527,
        weights=Weights(url=_ZENODO, filename="dasheng_audioset_mAP497.pt"),
        scores={"mAP, AudioSet eval (the repository's README)": 0.497},
    ),
    *(
        dasheng_card(
            name,
            dim=dim,
            depth=depth,
            weights=Weights(hub=f"mispeech/{hub}"),
            scores={
                f"HEAR average, {what} (the repository's README)": score
                for what, score in zip(("environment", "speech", "music"), hear, strict=True)
            },
        )
        for hub, name, dim, depth, hear in _ENCODERS
    ),
)


SIGNS = ced.SIGNS


def lacks(state: Mapping[str, Tensor]) -> list[str]:
    """What Dasheng's files have and this one lacks: CED's keys, and patches of 64 bands × 4 frames."""
    return ced.lacks(state, _PATCH)


def read(state: Mapping[str, Tensor], name: str) -> Published:
    """A state dict (of the authors' or of the hub's naming) -> card and renamed tensors; without a head it embeds."""
    state = plain_names(state)
    has_head = "outputlayer.1.weight" in state
    card = dasheng_card(
        name,
        dim=width_of(state, "norm.weight", 1),
        depth=depth_of(state),
        cols=shape_of(state, "time_pos_embed", 4)[3],
        n_classes=shape_of(state, "outputlayer.1.weight", 2)[0] if has_head else 0,
    )
    return Published(card, to_tagger(state))
