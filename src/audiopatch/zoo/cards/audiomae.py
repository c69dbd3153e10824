"""AudioMAE's cards: the fine-tuned tagger, and the pre-trained encoder that only embeds."""

from __future__ import annotations

from collections.abc import Mapping

from audiopatch.models.card import FrontendConfig, HeadConfig, ModelCard, TransformerConfig, Weights

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
        labels="audioset" if n_classes == 527 else f"classes-{n_classes}",
        segment_s=n_frames / 100,
        weights=weights,
        scores=scores or {},
        licence="CC BY-NC 4.0",
        paper=_PAPER,
        summary="sound events of AudioSet" if n_classes else "pre-trained encoder, embeds only",
    )


AUDIOMAE_CARDS = (
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
