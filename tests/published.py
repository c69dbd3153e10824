"""Small state dicts in every published format, with random weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from audiopatch.frontends.filterbank import htk_filterbank
from audiopatch.models.tagger import Tagger

State = dict[str, Tensor]


def rand(*shape: int) -> Tensor:
    return torch.randn(shape) * 0.1


def linear(name: str, n_out: int, n_in: int) -> State:
    return {f"{name}.weight": rand(n_out, n_in), f"{name}.bias": rand(n_out)}


def norm(name: str, dim: int) -> State:
    return {f"{name}.weight": 1 + rand(dim), f"{name}.bias": rand(dim)}


def vit_blocks(dim: int, depth: int, prefix: str = "") -> State:
    """Blocks in timm's names, which PaSST, MAEST, AST and AudioMAE share."""
    state: State = {}
    for name in (f"{prefix}blocks.{index}" for index in range(depth)):
        state |= norm(f"{name}.norm1", dim) | linear(f"{name}.attn.qkv", 3 * dim, dim)
        state |= linear(f"{name}.attn.proj", dim, dim) | norm(f"{name}.norm2", dim)
        state |= linear(f"{name}.mlp.fc1", 4 * dim, dim) | linear(f"{name}.mlp.fc2", dim, 4 * dim)
    return state


def patch_embed(dim: int, prefix: str = "", size: tuple[int, int] = (16, 16)) -> State:
    return {f"{prefix}patch_embed.proj.weight": rand(dim, 1, *size), f"{prefix}patch_embed.proj.bias": rand(dim)}


def passt_state(rows: int, cols: int, n_classes: int, *, dim: int = 64, depth: int = 2) -> State:
    """PaSST's and MAEST's keys: 159 of them at depth 12."""
    return {
        "cls_token": rand(1, 1, dim),
        "dist_token": rand(1, 1, dim),
        "new_pos_embed": rand(1, 2, dim),
        "freq_new_pos_embed": rand(1, dim, rows, 1),
        "time_new_pos_embed": rand(1, dim, 1, cols),
        **patch_embed(dim),
        **vit_blocks(dim, depth),
        **norm("norm", dim),
        **norm("head.0", dim),
        **linear("head.1", n_classes, dim),
        **linear("head_dist", n_classes, dim),
    }


def ast_state(n_patches: int, n_classes: int, *, dim: int = 64, depth: int = 2) -> State:
    """The original AST's keys, saved from a DataParallel module."""
    state = {
        "v.cls_token": rand(1, 1, dim),
        "v.dist_token": rand(1, 1, dim),
        "v.pos_embed": rand(1, 2 + n_patches, dim),
        **patch_embed(dim, "v."),
        **vit_blocks(dim, depth, "v."),
        **norm("v.norm", dim),
        **linear("v.head", 1000, dim),
        **linear("v.head_dist", 1000, dim),
        **norm("mlp_head.0", dim),
        **linear("mlp_head.1", n_classes, dim),
    }
    return {f"module.{key}": value for key, value in state.items()}


def audiomae_state(n_patches: int, n_classes: int, *, dim: int = 64, depth: int = 2) -> State:
    """AudioMAE's keys; no classes gives a pre-trained file, with its decoder."""
    state = {
        "cls_token": rand(1, 1, dim),
        "pos_embed": rand(1, 1 + n_patches, dim),
        **patch_embed(dim),
        **vit_blocks(dim, depth),
    }
    if n_classes:
        return state | norm("fc_norm", dim) | linear("head", n_classes, dim)
    decoder = {"decoder_pos_embed": rand(1, 1 + n_patches, 32), **linear("decoder_embed", 32, dim)}
    return state | norm("norm", dim) | {"mask_token": rand(1, 1, 32)} | decoder | vit_blocks(32, 1, "decoder_")


def ced_state(cols: int, n_classes: int, *, dim: int = 64, depth: int = 2, dasheng: bool = False) -> State:
    """CED's keys, or Dasheng's, which are the same with patches of 64 × 4; no classes gives an encoder."""
    state = {
        "time_pos_embed": rand(1, dim, 1, cols),
        "freq_pos_embed": rand(1, dim, 1 if dasheng else 4, 1),
        "front_end.0.spectrogram.window": torch.hann_window(512),
        "front_end.0.mel_scale.fb": htk_filterbank(64, 512, 16_000),
        **norm("init_bn.1", 64),
        "init_bn.1.running_mean": -60 + rand(64),
        "init_bn.1.running_var": 400 + rand(64),
        "init_bn.1.num_batches_tracked": torch.tensor(1000),
        **patch_embed(dim, size=(64, 4) if dasheng else (16, 16)),
        **vit_blocks(dim, depth),
        **norm("norm", dim),
    }
    return state | norm("outputlayer.0", dim) | linear("outputlayer.1", n_classes, dim) if n_classes else state


def eat_state(cols: int, n_classes: int, *, dim: int = 64, depth: int = 2) -> State:
    """The hub's keys of EAT and SSLAM; no classes gives a pre-trained encoder."""
    state = {
        "local_encoder.proj.weight": rand(dim, 1, 16, 16),
        "local_encoder.proj.bias": rand(dim),
        "extra_tokens": rand(1, 1, dim),
        "fixed_positional_encoder.positions": rand(1, 8 * cols, dim),
        **norm("pre_norm", dim),
        **vit_blocks(dim, depth),
        **(norm("fc_norm", dim) | linear("head", n_classes, dim) if n_classes else {}),
    }
    return {f"model.{key}": value for key, value in state.items()}


_MUSICNN = {
    "conv2d": (7, 38, 1, 204), "conv2d_1": (7, 67, 1, 204), "conv2d_2": (128, 1, 1, 51), "conv2d_3": (64, 1, 1, 51),
    "conv2d_4": (32, 1, 1, 51), "conv2d_5": (7, 561, 1, 64), "conv2d_6": (7, 64, 1, 64), "conv2d_7": (7, 64, 1, 64),
    "dense": (1506, 200), "dense_1": (200, 50), "batch_normalization": (1,),
    **{f"batch_normalization_{1 + index}": (n,)
       for index, n in enumerate((204, 204, 51, 51, 51, 64, 64, 64, 1506, 200))},
}  # fmt: skip
_VGG = {
    **{f"{1 + index}CNN": (3, 3, 128 if index else 1, 128) for index in range(5)},
    "dense": (256, 50), "batch_normalization": (1,), **{f"batch_normalization_{1 + i}": (128,) for i in range(5)},
}  # fmt: skip


def musicnn_state() -> State:
    """The variables of a MusiCNN of fifty tags."""
    return _tensorflow_state(_MUSICNN)


def vgg_state() -> State:
    """The variables of the VGG beside it."""
    return _tensorflow_state(_VGG)


def _tensorflow_state(layers: dict[str, tuple[int, ...]]) -> State:
    """A layer of one size is a batch norm."""
    state = {}
    for name, shape in layers.items():
        if len(shape) == 1:
            state |= {f"{name}/gamma": 1 + torch.randn(shape) * 0.1, f"{name}/beta": torch.randn(shape) * 0.1}
            state |= {f"{name}/moving_mean": torch.randn(shape) * 0.1, f"{name}/moving_variance": torch.rand(shape) + 1}
        else:
            state[f"{name}/kernel"] = torch.randn(shape) / np.prod(shape[:-1]) ** 0.5
            state[f"{name}/bias"] = torch.randn(shape[-1]) * 0.1
    return state


_SPELLINGS = {
    4: ("encoder.layer", ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
        "attention.output.dense", "intermediate.dense", "output.dense"),
    5: ("layers", ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
        "attention.o_proj", "mlp.fc1", "mlp.fc2"),
}  # fmt: skip


def hub_state(n_patches: int, n_classes: int, *, dim: int = 64, depth: int = 2, spelling: int = 4) -> State:
    """The keys of transformers' ASTForAudioClassification, as version 4 or 5 spells them."""
    layers, qkv, out, fc1, fc2 = _SPELLINGS[spelling]
    prefix = "audio_spectrogram_transformer."
    state = {
        f"{prefix}embeddings.cls_token": rand(1, 1, dim),
        f"{prefix}embeddings.distillation_token": rand(1, 1, dim),
        f"{prefix}embeddings.position_embeddings": rand(1, 2 + n_patches, dim),
        f"{prefix}embeddings.patch_embeddings.projection.weight": rand(dim, 1, 16, 16),
        f"{prefix}embeddings.patch_embeddings.projection.bias": rand(dim),
        **norm(f"{prefix}layernorm", dim),
        **norm("classifier.layernorm", dim),
        **linear("classifier.dense", n_classes, dim),
    }
    for name in (f"{prefix}{layers}.{index}" for index in range(depth)):
        state |= norm(f"{name}.layernorm_before", dim) | norm(f"{name}.layernorm_after", dim)
        for part in qkv:
            state |= linear(f"{name}.{part}", dim, dim)
        state |= linear(f"{name}.{out}", dim, dim)
        state |= linear(f"{name}.{fc1}", 4 * dim, dim) | linear(f"{name}.{fc2}", dim, 4 * dim)
    return state


def efficientat_state(tagger: Tagger) -> State:
    """The tensors of a Tagger under EfficientAT's names."""
    heads = {"head.0.": "classifier.2.", "head.3.": "classifier.5.", "backbone.": ""}
    state = {}
    for key, value in tagger.state_dict().items():
        old = next(old for old in heads if key.startswith(old))
        state[heads[old] + key.removeprefix(old)] = value
    for block in {key.rpartition("depth_act")[0] for key in state if "depth_act" in key}:  # a DyMN's constants
        state |= {f"{block}depth_act.lambdas": torch.tensor([1, 1, 0.5, 0.5])}
        state |= {f"{block}depth_act.init_v": torch.tensor([1.0, 0, 0, 0])}
    return state
