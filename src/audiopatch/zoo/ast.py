"""AST: the models on the hub, and the reader of the original ``.pth`` files, a timm ViT under ``v.``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audiopatch.errors import WeightsError
from audiopatch.models.card import ModelCard, Weights
from audiopatch.models.config import FrontendConfig, HeadConfig, TransformerConfig
from audiopatch.zoo.published import Published, depth_of, drop_unused, label_set, missing, shape_of, width_of

if TYPE_CHECKING:
    from torch import Tensor

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
        labels=label_set(n_classes, LABEL_SETS),
        segment_s=n_frames / 100,
        multilabel=n_classes != 35,  # Speech Commands gives each clip one word
        weights=weights,
        scores=scores or {},
        licence="BSD-3-Clause",
        code_licence="BSD-3-Clause",
        paper=_PAPER,
        page="https://github.com/YuanGongND/ast",
        domain="speech" if n_classes == 35 else "sound",
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


CARDS = (
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


_UNUSED = ("v.head.", "v.head_dist.")  # ImageNet's classifiers, still in the file
_RENAMES = {"v.": "backbone.", "mlp_head.": "head."}
STRIDES = (10, 12, 14, 16)
_INPUT_FRAMES = (1024, 512, 128, 256, 2048, 3072)  # AudioSet, ESC-50, Speech Commands; then likely further ones


SIGNS = ("v.pos_embed", "mlp_head.1.weight")


def lacks(state: Mapping[str, Tensor]) -> list[str]:
    """Which of the original AST's keys a state dict lacks."""
    return missing(state, SIGNS)


def read(state: Mapping[str, Tensor], name: str) -> Published:
    """A state dict -> card and renamed tensors; stride and length are read off the position table."""
    n_classes = shape_of(state, "mlp_head.1.weight", 2)[0]
    stride, n_frames = patch_layout(shape_of(state, "v.pos_embed", 3)[1] - 2, STRIDES, name)
    card = ast_card(
        name,
        stride=(stride, stride),
        n_frames=n_frames,
        n_classes=n_classes,
        eps=1e-6,
        head_eps=1e-5,
        dim=width_of(state, "v.cls_token"),
        depth=depth_of(state, "v.blocks."),
        stats=SPEECH_COMMANDS_STATS if n_classes == 35 else None,
    )
    return Published(card, {_rename(key): value for key, value in drop_unused(state, _UNUSED).items()})


def patch_layout(n_patches: int, strides: tuple[int, ...], name: str) -> tuple[int, int]:
    """(stride, frames) of the 128-band input that gives ``n_patches``.

    A stride fits if its rows divide the count. Of several, one that gives a customary input length wins, then the
    first: 1212 is 12 × 101 (stride 10), 850 is 10 × 85, 657 is 9 × 73, 512 is 8 × 64, each of 1024 frames.
    """
    fits = {}
    for stride in strides:
        cols, rest = divmod(n_patches, (128 - 16) // stride + 1)
        if not rest and cols > 0:
            fits[stride] = cols
    for n_frames in _INPUT_FRAMES:
        for stride, cols in fits.items():
            if (n_frames - 16) // stride + 1 == cols:
                return stride, n_frames
    if not fits:
        raise WeightsError(f"{name}: {n_patches} positions fit no grid of 16 × 16 patches on 128 bands")
    stride, cols = next(iter(fits.items()))
    return stride, (cols - 1) * stride + 16


def _rename(key: str) -> str:
    for old, new in _RENAMES.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key
