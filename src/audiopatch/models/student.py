"""A student that begins as its teacher: a MobileNet kept whole, with transformer blocks put in among its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from audiopatch.errors import UsageError
from audiopatch.models.card import ModelCard
from audiopatch.models.config import HeadConfig, MobileNetConfig, StemConfig, TransformerConfig
from audiopatch.models.stem import StemEnds, ends_for_whole_maps
from audiopatch.models.tagger import Tagger

TEACHER_HEAD = "teacher"


def stem_student(
    teacher: Tagger,
    *,
    width: int = 128,
    n_blocks: int = 2,
    n_layers: int = 13,
    context: int = 0,
    heads: Mapping[str, Sequence[str]] | None = None,
    n_hidden: int = 256,
    seed: int = 0,
) -> Tagger:
    """A Tagger whose logits are, before any training and with every token kept, those of ``teacher``, a MobileNet.

    ``n_layers`` of the teacher make the tokens, of ``width`` dimensions (whole heads of 64), which may take in some
    ``context`` (see ``StemConfig``); ``n_blocks`` blocks begin as the identity; the teacher's other layers and its head
    follow. ``heads`` adds further ones, name -> labels, which read the pooled map, CLS and the mean of the tokens
    through a hidden layer of ``n_hidden``; their logits follow the teacher's.
    """
    if not isinstance(teacher.card.backbone, MobileNetConfig):
        raise UsageError(
            f"{teacher.card.name} is no MobileNet, so there are no layers to put transformer blocks between"
        )
    heads = heads or {}
    card = replace(
        teacher.card,
        family="audiopatch",
        backbone=_backbone(
            teacher, StemConfig(teacher.card.backbone.width, n_layers, context=context, all_rows=True), width, n_blocks
        ),
        head=_head(teacher.card, {name: len(labels) for name, labels in heads.items()}, n_hidden),
        weights=None,
        scores={},
        thresholds=(),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = Tagger(card, [*teacher.labels, *(label for labels in heads.values() for label in labels)])
        _start_blocks(student.backbone)
    _copy_teacher(student, teacher, n_layers)
    student.weights_sha256 = teacher.weights_sha256
    return student.to(teacher.device)


def _backbone(teacher: Tagger, stem: StemConfig, width: int, depth: int) -> TransformerConfig:
    plain = TransformerConfig(
        grid=(0, 0),
        n_mels=teacher.card.backbone.n_mels,
        dim=width,
        depth=depth,
        prefix=1,
        patch_size=(stem.stride, stem.stride),
        patch_stride=(stem.stride, stem.stride),
        pool="stack",
        stack=("cls", "avg"),
        stem=stem,
    )
    n_samples = round(teacher.card.segment_s * teacher.frontend.sample_rate)
    return replace(plain, grid=plain.patch_grid(teacher.frontend.frames_of(n_samples)))


def _head(card: ModelCard, n_classes: Mapping[str, int], n_hidden: int) -> HeadConfig:
    first = replace(card.head, name=TEACHER_HEAD, n_inputs=card.backbone.n_features)
    others = [HeadConfig(n, "mlp", n_hidden=n_hidden, name=name) for name, n in n_classes.items()]
    parts = (first, *others)
    return HeadConfig(sum(part.n_classes for part in parts), "joint", parts=parts)


@torch.no_grad()
def _start_blocks(backbone: Any) -> None:
    """Positions become sinusoids, and every block the identity."""
    rows, cols = backbone.config.grid
    dim = backbone.config.dim
    nn.init.trunc_normal_(backbone.cls_token, std=0.02)
    backbone.freq_new_pos_embed.copy_(_sinusoids(rows, dim).T[None, :, :, None] * 0.5)
    backbone.time_new_pos_embed.copy_(_sinusoids(cols, dim).T[None, :, None, :] * 0.2)
    for block in backbone.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


def _copy_teacher(student: Tagger, teacher: Tagger, n_layers: int) -> None:
    source: Any = teacher.backbone
    stem: Any = student.backbone.stem
    head: Any = student.head
    stem.layers.load_state_dict(source.features[:n_layers].state_dict())
    for layer, wanted in zip(stem.tail, source.features[n_layers:], strict=True):
        layer.load_state_dict(wanted.state_dict())
    head.heads[TEACHER_HEAD].load_state_dict(teacher.head.state_dict())


@torch.no_grad()
def towards_teacher(student: Tagger, teacher: Tagger, *, ends: float, head: float) -> Tagger:
    """``student``, made by ``stem_student`` and trained, with ends of its own for maps of which nothing was dropped.

    These are moved back to ``teacher`` by the share ``ends`` (1: to its own answers): where nothing is missing there is
    nothing to make good, and the teacher knows best; under patchout the student does. Its head, which both kinds of map
    end in, is moved by ``head``.
    """
    stem, theirs = cast(Any, student.backbone).stem, cast(Any, teacher.backbone)
    backbone = student.card.backbone
    assert isinstance(backbone, TransformerConfig) and backbone.stem is not None
    whole = ends_for_whole_maps(backbone.stem, backbone.dim).to(student.device)
    whole.load_state_dict({key: value for key, value in stem.state_dict().items() if key in whole.state_dict()})
    _move(whole.tail, theirs.features[len(stem.layers) :], ends)
    learnt: list[Any] = [whole.to_map, *([whole.context[-1]] if whole.context else [])]
    for layer in learnt:
        layer.weight.mul_(1 - ends)
        layer.bias.mul_(1 - ends)
    _move(cast(Any, student.head).heads[TEACHER_HEAD], teacher.head, head)
    return _with_ends(student, whole.eval().requires_grad_(False))


def _move(mine: nn.Module, other: nn.Module, share: float) -> None:
    for value, wanted in zip(mine.parameters(), other.parameters(), strict=True):
        value.lerp_(wanted, share)


def without_ends_for_whole_maps(student: Tagger) -> Tagger:
    """``student`` as it is trained: with the ends that it has for patchout alone."""
    return _with_ends(student, None)


def _with_ends(student: Tagger, whole: StemEnds | None) -> Tagger:
    backbone = student.card.backbone
    assert isinstance(backbone, TransformerConfig) and backbone.stem is not None
    network: Any = student.backbone
    network.stem.whole = whole
    network.config = replace(backbone, stem=replace(backbone.stem, whole=whole is not None))
    student.card = replace(student.card, backbone=network.config)
    return student


def _sinusoids(length: int, dim: int) -> Tensor:
    """(length, dim): sines and cosines, 4 to 4 x length places long (after Vaswani et al. 2017, section 3.5)."""
    wavelength = 4 * length ** torch.linspace(0, 1, dim // 2)
    angle = 2 * torch.pi * torch.arange(length)[:, None] / wavelength
    return torch.cat([angle.sin(), angle.cos()], dim=1)
