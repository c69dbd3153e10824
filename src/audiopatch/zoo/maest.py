"""MAEST in both numerics it is published in, the authors' package and the hub; its ``.ckpt`` is PaSST's on 9 rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from audiopatch.errors import WeightsError
from audiopatch.models.card import ModelCard, Weights
from audiopatch.models.config import FrontendConfig, HeadConfig, TransformerConfig
from audiopatch.zoo.passt import SIGNS, split_position_grid, to_tagger
from audiopatch.zoo.published import Published, depth_of, label_set, missing, shape_of, width_of

if TYPE_CHECKING:
    from torch import Tensor

N_MELS, N_ROWS = 96, 9
LABEL_SETS = {400: "discogs400", 519: "discogs519"}
_LICENCE = "CC BY-NC-SA 4.0"
_PAPER = "Alonso-Jiménez, Serra, Bogdanov 2023, arXiv 2309.16418"
_URL = "https://github.com/palonso/MAEST/releases/download/v0.0.0-beta/"

# Columns of the position table -> frames of a segment, seconds (5 s give 313 frames, of which the package takes 312).
_SEGMENTS = {31: (312, 5.0), 62: (625, 10.0), 125: (1250, 20.0), 187: (1875, 30.0)}


def maest_card(
    name: str, *, cols: int, n_classes: int, dim: int = 768, depth: int = 12, weights: Weights | None = None
) -> ModelCard:
    """The card of a MAEST checkpoint as its authors' package reads it, from the sizes of its tensors."""
    n_frames, segment_s = _SEGMENTS.get(cols, (10 * cols, 10 * cols * 256 / 16000))
    return ModelCard(
        name=name,
        family="maest",
        frontend=FrontendConfig("maest", n_frames=n_frames),
        backbone=TransformerConfig(grid=(N_ROWS, cols), n_mels=N_MELS, dim=dim, depth=depth),
        head=HeadConfig(n_classes=n_classes),
        labels=label_set(n_classes, LABEL_SETS),
        segment_s=segment_s,
        weights=weights,
        licence=_LICENCE,
        code_licence="AGPL-3.0",
        paper=_PAPER,
        page="https://github.com/palonso/MAEST",
        domain="music",
        summary=f"music styles of Discogs, segments of {segment_s:g} s",
    )


def maest_hub_card(name: str, *, n_frames: int, n_classes: int, hub: str) -> ModelCard:
    """The card of a MAEST copy on the hub: positions folded into one table, one more column per segment."""
    backbone = TransformerConfig(
        grid=(N_ROWS, (n_frames - 16) // 10 + 1), n_mels=N_MELS, positions="full", norm_eps=1e-6
    )
    return ModelCard(
        name=name,
        family="maest-hub",
        frontend=FrontendConfig("maest-hub", n_frames=n_frames),
        backbone=backbone,
        head=HeadConfig(n_classes=n_classes, eps=1e-6),
        labels=LABEL_SETS[n_classes],
        segment_s=float(round(n_frames * 256 / 16000)),
        weights=Weights(hub=hub),
        licence=_LICENCE,
        code_licence="AGPL-3.0",
        paper=_PAPER,
        page="https://github.com/palonso/MAEST",
        domain="music",
        summary="the same weights with the hub feature extractor's numbers",
    )


# arch, columns, classes, sha256, bytes (maest-infer 0.2.0, data/checkpoints.json)
_PUBLISHED = (
    ("5s-pw-129e", 31, 400, "cc626ee9f0a816cadbef0a698f87424d72d7b5d84aef68983dac83bf2a03052a", 343668755),
    ("10s-fs-129e", 62, 400, "62f369fbf60e93c1e93869fbac2bc60ecbcc4eb0fe99ab523f8218212490520c", 343764150),
    ("10s-pw-129e", 62, 400, "9862dbc5945a62de01de0c2cccd5e499563210e307324bf6305f6932ad967f1f", 343764150),
    ("10s-dw-75e", 62, 400, "1265f4cab278eb1da66a7946f4c870e2ca659076ed1aa1de718f55dc72766b68", 343763987),
    ("20s-pw-129e", 125, 400, "1ea0880da17aed1b149323ae46c7dbbe6cf6c02c9d30a3f7931a962f7169353b", 343957686),
    ("30s-pw-129e", 187, 400, "2e8ac8ebdc8ac4a3750583df23fd715605935286cbd9d2c4231dfeaa3736ad01", 344148150),
    ("30s-pw-73e-ts", 187, 400, "26b954652cd75b0951a67b7ab8f85b8b4c459f63a921a04f62829de85ea801fb", 344148476),
    ("30s-pw-129e-519l", 187, 519, "d6044e642b6ae295ee1164cc52b33ac663e247f03b4b100a0af1a5edfab18cdb", 344878270),
)
_HUB_FRAMES = {31: 316, 62: 626, 125: 1256, 187: 1876}

_OWN_CARDS = tuple(
    maest_card(
        f"discogs-maest-{arch}",
        cols=cols,
        n_classes=n_classes,
        weights=Weights(
            url=f"{_URL}discogs-maest-{arch}-swa.ckpt",
            filename=f"discogs-maest-{arch}-swa.ckpt",
            sha256=sha256,
            size_bytes=size_bytes,
        ),
    )
    for arch, cols, n_classes, sha256, size_bytes in _PUBLISHED
)
_HUB_CARDS = tuple(
    maest_hub_card(
        f"discogs-maest-{arch}-hub",
        n_frames=_HUB_FRAMES[cols],
        n_classes=n_classes,
        hub=f"mtg-upf/discogs-maest-{arch}",
    )
    for arch, cols, n_classes, _, _ in _PUBLISHED
)
CARDS = (*_OWN_CARDS, *_HUB_CARDS)


_PASST_S14 = (9, 71)  # the one PaSST table with nine rows: 128 mels at stride 14, 998 frames


def lacks(state: Mapping[str, Tensor]) -> list[str]:
    """What MAEST's files have and this one lacks: PaSST's keys and nine rows, unless it is PaSST's stride-14 table."""
    if absent := missing(state, SIGNS):
        return absent
    grid = split_position_grid(state)
    return [] if grid[0] == N_ROWS and grid != _PASST_S14 else ["positions of nine rows of 96 mels"]


def read(state: Mapping[str, Tensor], name: str) -> Published:
    """A state dict -> card and renamed tensors; seconds and classes are read off the shapes."""
    n_classes = shape_of(state, "head.1.weight", 2)[0]
    if shape_of(state, "patch_embed.proj.weight", 4)[1:] != (1, 16, 16):
        raise WeightsError(f"{name}: MAEST has patches of 16 × 16 on one channel")
    card = maest_card(
        name,
        cols=split_position_grid(state)[1],
        n_classes=n_classes,
        dim=width_of(state),
        depth=depth_of(state),
    )
    return Published(card, to_tagger(state))
