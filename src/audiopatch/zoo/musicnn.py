"""MusiCNN and its VGG baseline, trained on the Million Song Dataset and on MagnaTagATune.

The authors publish TensorFlow checkpoints inside their package. Both MusiCNNs ship with audiopatch (``packaged/``); the
reader takes any of the four from a safetensors file that holds the checkpoint's variables under their own names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from audiopatch.errors import WeightsError
from audiopatch.models.card import ModelCard
from audiopatch.models.config import FrontendConfig, HeadConfig, MusicnnConfig, VggConfig
from audiopatch.zoo.published import Published, label_set, missing, shape_of

if TYPE_CHECKING:
    from torch import Tensor

_N_FRAMES, _SEGMENT_S = 187, 3.0
_DATA = {"msd": "the Million Song Dataset", "mtt": "MagnaTagATune"}
_LAYERS = {  # TensorFlow numbers layers in the order of the graph
    "batch_normalization": "norm",
    **{f"conv2d{suffix}": f"timbral.{index}.conv" for index, suffix in enumerate(("", "_1"))},
    **{f"batch_normalization_{1 + index}": f"timbral.{index}.norm" for index in range(2)},
    **{f"conv2d_{2 + index}": f"temporal.{index}.conv" for index in range(3)},
    **{f"batch_normalization_{3 + index}": f"temporal.{index}.norm" for index in range(3)},
    **{f"conv2d_{5 + index}": f"mid.{index}.conv" for index in range(3)},
    **{f"batch_normalization_{6 + index}": f"mid.{index}.norm" for index in range(3)},
    "batch_normalization_9": "pooled_norm",
    "dense": "dense",
    "batch_normalization_10": "dense_norm",
}
_VGG_LAYERS = {
    "batch_normalization": "norm",
    **{f"{1 + index}CNN": f"layers.{index}.conv" for index in range(5)},
    **{f"batch_normalization_{1 + index}": f"layers.{index}.norm" for index in range(5)},
}
_VARIABLES = {
    "kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias",
    "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip


def musicnn_card(
    name: str, *, data: str, n_classes: int = 50, vgg: bool = False, scores: Mapping[str, float] | None = None
) -> ModelCard:
    """The card of a MusiCNN, or of the VGG beside it, trained on ``data`` ("msd" or "mtt")."""
    return ModelCard(
        name=name,
        family="musicnn",
        frontend=FrontendConfig("musicnn", _N_FRAMES, {"min_frames": _N_FRAMES} if vgg else {}),
        backbone=VggConfig("msd" if data == "msd" else "mtt") if vgg else MusicnnConfig(),
        head=HeadConfig(n_classes, kind="linear"),
        labels=label_set(n_classes, {50: f"{data}_top50"}),
        segment_s=_SEGMENT_S,
        scores=scores or {},
        licence="ISC",
        code_licence="ISC",
        paper="Pons, Serra 2019, arXiv 1909.06654",
        page="https://github.com/jordipons/musicnn",
        domain="music",
        summary=f"the 50 most frequent tags of {_DATA[data]}, a convolutional network without tokens",
    )


_RESULT = "(experiment.result beside the published weights)"
CARDS = (
    musicnn_card(
        "musicnn-msd",
        data="msd",
        scores={f"PR-AUC, MSD test {_RESULT}": 0.289, f"ROC-AUC, MSD test {_RESULT}": 0.880},
    ),
    musicnn_card(
        "musicnn-mtt",
        data="mtt",
        scores={f"PR-AUC, MTT test {_RESULT}": 0.383, f"ROC-AUC, MTT test {_RESULT}": 0.907},
    ),
)


_VGGS_LAST = "5CNN/kernel"
SIGNS = ("batch_normalization/gamma", "conv2d_7/kernel")


def lacks(state: Mapping[str, Tensor]) -> list[str]:
    """Which of the variables of a MusiCNN, or of its VGG, a state dict lacks, by TensorFlow's names."""
    return missing(state, SIGNS[:1] if _VGGS_LAST in state else SIGNS)


def read(state: Mapping[str, Tensor], name: str) -> Published:
    """A checkpoint's variables -> card and renamed tensors.

    Both data sets' networks have the same shapes, so the file's name must say which one it is (``MSD_musicnn``).
    """
    data = [data for data in _DATA if re.search(rf"(?<![a-z]){data}(?![a-z])", name.lower())]
    if len(data) != 1:
        raise WeightsError(f"{name}: its tensors cannot tell which tags it gives; put MSD or MTT into the file's name")
    vgg = _VGGS_LAST in state
    head = "dense" if vgg else "dense_1"
    card = musicnn_card(name, data=data[0], n_classes=shape_of(state, f"{head}/kernel", 2)[1], vgg=vgg)
    layers = {key: f"backbone.{layer}" for key, layer in (_VGG_LAYERS if vgg else _LAYERS).items()} | {head: "head"}
    return Published(card, _renamed(state, layers))


def _renamed(state: Mapping[str, Tensor], layers: Mapping[str, str]) -> dict[str, Tensor]:
    import torch

    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        layer, _, variable = key.rpartition("/")
        if layer not in layers or variable not in _VARIABLES:
            raise WeightsError(f"unexpected '{key}' {tuple(value.shape)} among the variables of a MusiCNN")
        renamed[f"{layers[layer]}.{_VARIABLES[variable]}"] = _kernel(key, value) if variable == "kernel" else value
        if variable == "moving_variance":
            renamed[f"{layers[layer]}.num_batches_tracked"] = torch.tensor(0)
    return renamed


def _kernel(key: str, value: Tensor) -> Tensor:
    """(time, frequency, in, out) -> (out, in, frequency, time); the mid-end's (time, in, 1, out) -> (out, in, time);
    a dense (in, out) -> (out, in)."""
    if value.ndim == 2:
        return value.T.contiguous()
    if value.ndim != 4:
        raise WeightsError(f"'{key}' has shape {tuple(value.shape)}; 4 dimensions were expected")
    turned = value.permute(3, 2, 1, 0)
    is_mid_end = key.partition("/")[0] in ("conv2d_5", "conv2d_6", "conv2d_7")
    return (turned[:, 0] if is_mid_end and turned.shape[1] == 1 else turned).contiguous()
