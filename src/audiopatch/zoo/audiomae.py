"""AudioMAE: the fine-tuned tagger and the pre-trained encoder, a ViT that sees time first and frequency second.

A transformer does not care in which order its tokens come, as long as each keeps its position. So the convolution's
kernel is transposed and the position table is put into this package's order (frequency first, then time) instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from audiopatch.models.card import ModelCard, Weights
from audiopatch.models.config import FrontendConfig, HeadConfig, TransformerConfig
from audiopatch.zoo.ast import patch_layout
from audiopatch.zoo.published import Published, depth_of, drop_unused, label_set, missing, shape_of, width_of

if TYPE_CHECKING:
    from torch import Tensor

N_MELS = 128
_PAPER = "Huang et al. 2022, arXiv 2207.06405"
_DRIVE = "https://drive.google.com/file/d/{}/view"


def audiomae_card(
    name: str,
    *,
    stride: int,
    n_frames: int,
    n_classes: int,
    dim: int = 768,
    depth: int = 12,
    weights: Weights | None = None,
    scores: Mapping[str, float] | None = None,
) -> ModelCard:
    """The card of an AudioMAE encoder; ``n_classes`` 0 is a pre-trained one, which ends in a norm and has no head.

    The features are the mean of the patch tokens: before ``fc_norm`` where there is a head, after ``norm`` where not.
    """
    rows, cols = (N_MELS - 16) // stride + 1, (n_frames - 16) // stride + 1
    backbone = TransformerConfig(
        grid=(rows, cols),
        n_mels=N_MELS,
        dim=dim,
        depth=depth,
        prefix=1,
        patch_stride=(stride, stride),
        positions="full",
        pool="patch",
        final_norm=n_classes == 0,
    )
    head = HeadConfig(n_classes, eps=1e-6) if n_classes else HeadConfig(0, kind="none")
    return ModelCard(
        name=name,
        family="audiomae",
        frontend=FrontendConfig("ast", n_frames=n_frames),
        backbone=backbone,
        head=head,
        labels=label_set(n_classes),
        segment_s=n_frames / 100,
        weights=weights,
        scores=scores or {},
        licence="CC BY-NC 4.0 (the LICENSE file; the README says CC BY 4.0)",
        code_licence="CC BY-NC 4.0",
        paper=_PAPER,
        page="https://github.com/facebookresearch/AudioMAE",
        domain="sound",
        summary="sound events of AudioSet" if n_classes else "pre-trained encoder, embeds only",
    )


CARDS = (
    audiomae_card(
        "audiomae-as2m",
        stride=16,
        n_frames=1024,
        n_classes=527,
        weights=Weights(url=_DRIVE.format("18EsFOyZYvBYHkJ7_n7JFFWbj6crz01gq"), filename="finetuned.pth"),
        scores={"mAP, AudioSet eval (the repository's README)": 0.473},
    ),
    audiomae_card(
        "audiomae-pretrained",
        stride=16,
        n_frames=1024,
        n_classes=0,
        weights=Weights(url=_DRIVE.format("1ni_DV4dRf7GxM8k-Eirx71WP9Gg89wwu"), filename="pretrained.pth"),
    ),
)


_UNUSED = ("mask_token", "decoder")  # the pre-training's decoder
_STRIDES = (16, 10)
_KERNEL, _POSITIONS = "patch_embed.proj.weight", "pos_embed"
_HEAD = {"fc_norm.": "head.0.", "head.": "head.1."}


SIGNS = ("cls_token", "pos_embed", "patch_embed.proj.weight")


def lacks(state: Mapping[str, Tensor]) -> list[str]:
    """What AudioMAE's files have and this one lacks: a ViT with one prefix token and one table of positions."""
    return missing(state, SIGNS) + (["no 'dist_token'"] if "dist_token" in state else [])


def read(state: Mapping[str, Tensor], name: str) -> Published:
    """A state dict -> card and renamed, reordered tensors; without a head, the model embeds only."""
    n_patches = shape_of(state, _POSITIONS, 3)[1] - 1
    stride, n_frames = patch_layout(n_patches, _STRIDES, name)
    shape_of(state, _KERNEL, 4)
    card = audiomae_card(
        name,
        stride=stride,
        n_frames=n_frames,
        n_classes=shape_of(state, "head.weight", 2)[0] if "head.weight" in state else 0,
        dim=width_of(state),
        depth=depth_of(state),
    )
    ordered = drop_unused(state, _UNUSED)
    ordered[_KERNEL] = state[_KERNEL].transpose(2, 3).contiguous()
    ordered[_POSITIONS] = frequency_first(state[_POSITIONS], n_rows=(128 - 16) // stride + 1)
    return Published(card, {_rename(key): value for key, value in ordered.items()})


def frequency_first(positions: Tensor, *, n_rows: int) -> Tensor:
    """(1, 1 + cols * rows, D), token = col * rows + row -> (1, 1 + rows * cols, D), token = row * cols + col."""
    import torch

    cls, patches = positions[:, :1], positions[:, 1:]
    return torch.cat([cls, patches.unflatten(1, (-1, n_rows)).transpose(1, 2).flatten(1, 2)], dim=1)


def _rename(key: str) -> str:
    for old, new in _HEAD.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return f"backbone.{key}"
