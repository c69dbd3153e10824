"""Reader of the hub's layout: a folder with ``config.json`` and weights under transformers' AST names.

AST itself and MAEST are published so. The names differ between transformers 4 and 5; both are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiopatch.errors import WeightsError
from audiopatch.models.card import ModelCard
from audiopatch.models.config import FrontendConfig, HeadConfig, TransformerConfig
from audiopatch.zoo.checkpoint import read_checkpoint, unwrap
from audiopatch.zoo.fetch import CONFIG_FILE, PREPROCESSOR_FILE, WEIGHTS_FILES
from audiopatch.zoo.labels import load_labels
from audiopatch.zoo.maest import LABEL_SETS as MAEST_LABEL_SETS
from audiopatch.zoo.published import AUDIOSET, HEAD_DIM, Published, depth_of, label_set

_AST = "audio-spectrogram-transformer"
_MAX_JSON_BYTES = 16 << 20

_TOP = {
    "embeddings.cls_token": "backbone.cls_token",
    "embeddings.distillation_token": "backbone.dist_token",
    "embeddings.position_embeddings": "backbone.pos_embed",
    "embeddings.patch_embeddings.projection": "backbone.patch_embed.proj",
    "layernorm": "backbone.norm",
    "classifier.layernorm": "head.0",
    "classifier.dense": "head.1",
}
_BLOCK = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "attention.o_proj": "attn.proj",  # transformers 5 from here on
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_QKV = {
    "attention.attention.query": 0,
    "attention.attention.key": 1,
    "attention.attention.value": 2,
    "attention.q_proj": 0,
    "attention.k_proj": 1,
    "attention.v_proj": 2,
}
_LAYER_KEY = re.compile(r"(?:encoder\.layer|layers)\.(\d{1,4})\.(.+)\.(weight|bias)")


@dataclass(frozen=True)
class AstConfig:
    """The fields of ``config.json`` that size the network, with transformers' defaults for those left out."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    patch_size: int = 16
    qkv_bias: bool = True
    frequency_stride: int = 10
    time_stride: int = 10
    max_length: int = 1024
    num_mel_bins: int = 128

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            if type(value) is not kind or (kind in (int, float) and not 0 < value < 1e6):
                raise WeightsError(f"{CONFIG_FILE}: '{field.name}' is {value!r}")
        if self.hidden_size != HEAD_DIM * self.num_attention_heads or self.intermediate_size != 4 * self.hidden_size:
            raise WeightsError(f"{CONFIG_FILE}: audiopatch reads ASTs with heads of {HEAD_DIM} and MLPs of 4 times")
        if self.hidden_act != "gelu" or not self.qkv_bias:
            raise WeightsError(f"{CONFIG_FILE}: audiopatch reads ASTs with GELU and biased attention only")


def matches(folder: Path) -> bool:
    """Whether a folder is laid out as the hub does it."""
    return (folder / CONFIG_FILE).is_file() and weights_file(folder) is not None


def weights_file(folder: Path) -> Path | None:
    """The weights of a hub folder, safetensors first; None where there are none."""
    return next((folder / name for name in WEIGHTS_FILES if (folder / name).is_file()), None)


def describes_ast(folder: Path) -> bool:
    """Whether the folder's config is an AST's; other folders are read by their weights' keys alone."""
    return _read_json(folder / CONFIG_FILE).get("model_type") == _AST


def read(folder: Path, name: str) -> Published:
    """A hub folder -> card, renamed tensors and, where the config names them, the model's own labels."""
    values = _read_json(folder / CONFIG_FILE)
    config = AstConfig(**{field.name: values[field.name] for field in fields(AstConfig) if field.name in values})
    preprocessor = _read_json(folder / PREPROCESSOR_FILE) if (folder / PREPROCESSOR_FILE).is_file() else {}
    path = weights_file(folder)
    if path is None:
        raise WeightsError(f"{folder} holds no weights ({' or '.join(WEIGHTS_FILES)})")
    state = to_tagger(unwrap(read_checkpoint(path), path.name))
    if depth_of(state, "backbone.blocks.") != config.num_hidden_layers:
        raise WeightsError(f"{CONFIG_FILE} names {config.num_hidden_layers} layers, the weights hold another number")
    n_classes = len(state["head.1.bias"]) if "head.1.bias" in state and state["head.1.bias"].ndim else 0
    card = _card(name, config, values, preprocessor, n_classes)
    labels = _labels(values, n_classes)
    if labels is None or labels == load_labels(card.labels):
        return Published(card, state)
    return Published(replace(card, labels="own"), state, labels)


def with_config(folder: Path, published: Published) -> Published:
    """What was read by the weights' keys, and what ``config.json`` of CED, Dasheng or EAT adds: names of own classes.

    A config that says of the network what the weights do not is a WeightsError. AudioSet's names are the package's
    own: CED's config cut those with a comma in two.
    """
    card = published.card
    if card.family not in ("ced", "dasheng", "eat") or not isinstance(card.backbone, TransformerConfig):
        return published
    values = _read_json(folder / CONFIG_FILE)
    inner = values.get("encoder_kwargs")
    sizes = values | (inner if isinstance(inner, dict) else {})
    expected = {
        "embed_dim": card.backbone.dim,
        "depth": card.backbone.depth,
        "num_heads": card.backbone.n_heads,
        "layer_norm_first": False,
        "pooling": "mean",
    }
    for key, value in expected.items():
        if sizes.get(key, value) != value:
            raise WeightsError(
                f"{CONFIG_FILE}: '{key}' is {sizes[key]!r}; audiopatch reads these weights with {value!r}"
            )
    labels = (
        _labels(values, card.head.n_classes) if card.labels.startswith("classes-") and card.head.n_classes else None
    )
    return published if labels is None else replace(published, card=replace(card, labels="own"), labels=labels)


def to_tagger(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names (4.x or 5.x) -> the Tagger's; query, key and value become one matrix."""
    renamed: dict[str, Tensor] = {}
    qkv: dict[str, dict[int, Tensor]] = {}
    for key, value in state.items():
        bare = key.removeprefix("audio_spectrogram_transformer.")
        layer = _LAYER_KEY.fullmatch(bare)
        if layer and layer[2] in _QKV:
            qkv.setdefault(f"backbone.blocks.{layer[1]}.attn.qkv.{layer[3]}", {})[_QKV[layer[2]]] = value
            continue
        new = f"backbone.blocks.{layer[1]}.{_BLOCK.get(layer[2])}.{layer[3]}" if layer else _top_name(bare)
        if new is None or (layer and layer[2] not in _BLOCK) or new in renamed:
            raise WeightsError(f"unexpected '{key}' {tuple(value.shape)} among the weights of an AST")
        renamed[new] = value
    return renamed | {key: _joined(key, parts) for key, parts in qkv.items()}


def _top_name(key: str) -> str | None:
    if key in _TOP:
        return _TOP[key]
    stem, _, kind = key.rpartition(".")
    return f"{_TOP[stem]}.{kind}" if stem in _TOP and kind in ("weight", "bias") else None


def _joined(key: str, parts: Mapping[int, Tensor]) -> Tensor:
    if len(parts) != 3 or len({part.shape for part in parts.values()}) != 1:
        raise WeightsError(f"'{key}' needs query, key and value of one shape")
    return torch.cat([parts[index] for index in range(3)])


def _card(
    name: str, config: AstConfig, values: Mapping[str, Any], preprocessor: Mapping[str, Any], n_classes: int
) -> ModelCard:
    is_maest = preprocessor.get("feature_extractor_type") == "MAESTFeatureExtractor" or config.num_mel_bins == 96
    strides = (config.frequency_stride, config.time_stride)
    sizes = [(length - config.patch_size) // step + 1 for length, step in
             zip((config.num_mel_bins, config.max_length), strides, strict=True)]  # fmt: skip
    backbone = TransformerConfig(
        grid=(sizes[0], sizes[1]),
        n_mels=config.num_mel_bins,
        dim=config.hidden_size,
        depth=config.num_hidden_layers,
        patch_size=(config.patch_size, config.patch_size),
        patch_stride=strides,
        positions="full",
        norm_eps=config.layer_norm_eps,
    )
    head = HeadConfig(n_classes, eps=config.layer_norm_eps) if n_classes else HeadConfig(0, kind="none")
    family, label_sets = ("maest-hub", MAEST_LABEL_SETS) if is_maest else ("ast", AUDIOSET)
    n_frames = config.max_length
    return ModelCard(
        name=name,
        family=family,
        frontend=FrontendConfig(family, n_frames, {} if is_maest else _stats(preprocessor)),
        backbone=backbone,
        head=head,
        labels=label_set(n_classes, label_sets),
        segment_s=float(max(1, round(n_frames * 256 / 16000))) if is_maest else n_frames / 100,
        multilabel=_is_multilabel(values, n_classes),
        licence="see the model's page on the hub",
        domain="music" if is_maest else "",
        summary="read from a hub folder",
    )


def _is_multilabel(values: Mapping[str, Any], n_classes: int) -> bool:
    """What the config says; without a word from it, sigmoid as the references score, softmax for Speech Commands."""
    problem = values.get("problem_type")
    return problem == "multi_label_classification" if problem else n_classes != 35


def _stats(preprocessor: Mapping[str, Any]) -> dict[str, float]:
    """Mean and std of the training set, where they are not AudioSet's."""
    stats = {key: preprocessor.get(key, default) for key, default in (("mean", -4.2677393), ("std", 4.5689974))}
    if not all(type(value) in (int, float) for value in stats.values()) or not stats["std"]:
        raise WeightsError(f"{PREPROCESSOR_FILE}: 'mean' and 'std' must be numbers, not {stats}")
    return {} if stats == {"mean": -4.2677393, "std": 4.5689974} else stats


def _labels(values: Mapping[str, Any], n_classes: int) -> tuple[str, ...] | None:
    """The config's class names in order; None where it only numbers them (LABEL_0, ...) or has none."""
    names = values.get("id2label") or {}
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise WeightsError(f"{CONFIG_FILE}: 'id2label' must map class numbers to names")
    if not names or all(name == f"LABEL_{index}" for index, name in names.items()):
        return None
    if set(names) != {str(index) for index in range(n_classes)}:
        raise WeightsError(f"{CONFIG_FILE}: 'id2label' does not number the {n_classes} classes of the weights")
    return tuple(names[str(index)] for index in range(n_classes))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise WeightsError(f"{path.name} is far larger than any real one")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{path.name} is no JSON object")
    return values
