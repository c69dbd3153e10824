"""CED: four sizes of a plain transformer on a decibel mel, permissively licensed (Dinkel et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from audiopatch.models.card import ModelCard, Weights
from audiopatch.models.config import FrontendConfig, HeadConfig, TransformerConfig
from audiopatch.zoo.published import HEAD_DIM, Published, depth_of, label_set, missing, shape_of, width_of

if TYPE_CHECKING:
    from torch import Tensor

N_MELS = 64
_PATCH = (16, 16)
_COLS, _N_FRAMES = 63, 1012  # of the published position table, and the frames it reaches over
_NORM_EPS = 1e-5  # of the batch norm
_UNUSED = ("front_end.", "init_bn.num_batches_tracked")
_RENAMES = {
    "time_pos_embed": "backbone.time_new_pos_embed",
    "freq_pos_embed": "backbone.freq_new_pos_embed",
    "outputlayer.": "head.",
}


def ced_card(
    name: str,
    *,
    dim: int,
    depth: int = 12,
    cols: int = _COLS,
    n_classes: int = 527,
    weights: Weights | None = None,
    scores: Mapping[str, float] | None = None,
) -> ModelCard:
    """The card of a CED; inputs stay short, for padding them would change their scores."""
    n_frames = _N_FRAMES if cols == _COLS else 16 * cols
    return ModelCard(
        name=name,
        family="ced",
        frontend=FrontendConfig("ced", n_frames),
        backbone=backbone(_PATCH, cols=cols, dim=dim, depth=depth),
        head=HeadConfig(n_classes),
        labels=label_set(n_classes),
        segment_s=min(10.0, n_frames / 100),
        weights=weights,
        scores=scores or {},
        licence="Apache-2.0 (the hub's card)",
        code_licence="Apache-2.0 on the hub, GPL-3.0 in the repository",
        paper="Dinkel, Wang, Yan, Zhang, Wang 2024, arXiv 2308.11957",
        page="https://github.com/RicherMans/CED",
        domain="sound",
        summary="sound events of AudioSet, segments of 10 s",
    )


def backbone(patch: tuple[int, int], *, cols: int, dim: int, depth: int, head_dim: int = HEAD_DIM) -> TransformerConfig:
    """CED's network, and Dasheng's, on ``cols`` columns of patches that do not overlap."""
    return TransformerConfig(
        grid=(N_MELS // patch[0], cols),
        n_mels=N_MELS,
        dim=dim,
        depth=depth,
        prefix=0,
        patch_size=patch,
        patch_stride=patch,
        pool="patch",
        head_dim=head_dim,
        mel_affine=True,
    )


# size, width, mAP on AudioSet's evaluation set
_PUBLISHED = (("tiny", 192, 0.481), ("mini", 256, 0.490), ("small", 384, 0.496), ("base", 768, 0.500))
CARDS = tuple(
    ced_card(
        f"ced-{size}",
        dim=dim,
        weights=Weights(hub=f"mispeech/ced-{size}"),
        scores={"mAP, AudioSet eval (the repository's README)": score},
    )
    for size, dim, score in _PUBLISHED
)


SIGNS = ("time_pos_embed", "freq_pos_embed", "init_bn.running_mean", "patch_embed.proj.weight")


def lacks(state: Mapping[str, Tensor], patch: tuple[int, int] = _PATCH) -> list[str]:
    """What CED's files have and this one lacks: split encodings, a batch norm on the mel, and square patches.

    Dasheng's have patches of another size, and the same keys.
    """
    state = plain_names(state)
    if absent := missing(state, SIGNS):
        return absent
    found = tuple(state["patch_embed.proj.weight"].shape[2:])
    return [] if found == patch else [f"patches of {patch[0]} × {patch[1]}"]


def read(state: Mapping[str, Tensor], name: str) -> Published:
    """A state dict (of the authors' or of the hub's naming) -> card and renamed tensors; sizes are read off shapes."""
    state = plain_names(state)
    card = ced_card(
        name,
        dim=width_of(state, "norm.weight", 1),
        depth=depth_of(state),
        cols=shape_of(state, "time_pos_embed", 4)[3],
        n_classes=shape_of(state, "outputlayer.1.weight", 2)[0],
    )
    return Published(card, to_tagger(state))


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the hub's ``encoder.``, and with the batch norm as ``init_bn.`` however it was nested."""
    return {key.removeprefix("encoder.").replace("init_bn.1.", "init_bn."): value for key, value in state.items()}


def to_tagger(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CED's names -> the Tagger's; the batch norm becomes one scale and one shift per band."""
    kept = {key: value for key, value in state.items() if not key.startswith((*_UNUSED, "init_bn."))}
    left = [key for key in state if key.startswith("init_bn.") and key not in (*_BATCH_NORM, *_UNUSED)]
    renamed = {_rename(key): value for key, value in (kept | {key: state[key] for key in left}).items()}
    return renamed | _folded(state)


_BATCH_NORM = tuple(f"init_bn.{name}" for name in ("weight", "bias", "running_mean", "running_var"))


def _folded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for key in _BATCH_NORM:
        shape_of(state, key, 1)
    weight, bias, mean, variance = (state[key].double() for key in _BATCH_NORM)
    scale = weight / (variance + _NORM_EPS).sqrt()
    return {"backbone.mel_scale": scale.float(), "backbone.mel_shift": (bias - mean * scale).float()}


def _rename(key: str) -> str:
    for old, new in _RENAMES.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return f"backbone.{key}"
