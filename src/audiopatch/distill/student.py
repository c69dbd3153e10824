"""The student: its network, the extra outputs that distillation trains, and a start that learns fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.distill.teacher import Answer, Standards
from audiopatch.errors import UsageError
from audiopatch.models.card import ModelCard, TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import Plan
from audiopatch.tokens import MelPatches
from audiopatch.zoo.labels import load_vocabulary, split_label
from audiopatch.zoo.load import random_tagger, read_model


class Student(nn.Module):
    """A Tagger with two more linear outputs: the teacher's clip features, and those along time, from the patch tokens.

    The time line is dense supervision: every column of patches that survives patchout has a target of its own. Both
    outputs are scaffolding; only the Tagger is exported.
    """

    def __init__(self, tagger: Tagger, n_teacher_features: int):
        super().__init__()
        self.tagger = tagger
        n_features = tagger.card.backbone.n_features
        self.to_features = nn.Linear(n_features, n_teacher_features)
        self.to_timeline = nn.Linear(n_features, n_teacher_features)

    def losses(self, mel: Tensor, plan: Plan, answer: Answer, standards: Standards) -> dict[str, Tensor]:
        """mel (B, n_mels, frames) and the answer to it -> errors; the squared ones in standards, about 1 at the start.

        "ranking" compares whole answers instead of single classes: the divergence between the two softmaxes over the
        classes in the teacher's units (Hinton et al. 2015), which minds most what the teacher is sure of.
        """
        features = self.tagger.backbone(mel, plan)
        tokens = features.tokens
        columns = tokens.as_grid().mean(dim=2).transpose(1, 2)  # (B, cols, D)
        n_rows, n_cols = tokens.rectangle()
        column = tokens.cell[0].unflatten(0, (n_rows, n_cols))[0] % tokens.full[1]
        wanted = standards(answer)
        logits = self.tagger.head(features.pooled).float()
        return {
            "logits": F.mse_loss(logits, wanted.logits),
            "ranking": _divergence(standards.logits.undo(logits), answer.logits),
            "features": F.mse_loss(self.to_features(features.pooled).float(), wanted.features),
            "timeline": F.mse_loss(
                self.to_timeline(columns).float(), _at_columns(wanted.timeline, column, tokens.full[1])
            ),
        }


def _divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler, from the softmax over classes of ``target`` (B, C) to that of ``logits``; mean over clips."""
    return F.kl_div(logits.log_softmax(1), target.log_softmax(1), log_target=True, reduction="batchmean")


def _at_columns(timeline: Tensor, column: Tensor, n_cols: int) -> Tensor:
    """timeline (B, E, T) over the whole clip -> (B, K, E) at the middles of the patch columns ``column`` (K,)."""
    place = (column + 0.5) / n_cols * timeline.shape[2] - 0.5
    left = place.floor().long().clamp(0, timeline.shape[2] - 2)
    weight = (place - left).clamp(0, 1).to(timeline.dtype)
    return torch.lerp(timeline[:, :, left], timeline[:, :, left + 1], weight).transpose(1, 2)


@torch.no_grad()
def start_well(tagger: Tagger, mel: Tensor) -> None:
    """Initialise a transformer so that it learns from few segments; mel (B, n_mels, frames) is a sample of its input.

    Patches become their whitened principal components (a random filter bank sees little but loudness, for neighbouring
    mel bins move together), positions are sinusoids, and every block starts as the identity.
    """
    config = tagger.card.backbone
    backbone: Any = tagger.backbone
    if not isinstance(config, TransformerConfig) or config.positions != "split":
        raise UsageError("the student must be a transformer with split positions, such as MAEST or PaSST")
    dim = config.dim
    patches = MelPatches.cut(mel, config.patch_size, config.patch_stride).values.flatten(0, 2).flatten(1)
    mean = patches.mean(dim=0)
    variance, axes = torch.linalg.eigh(torch.cov((patches - mean).T))
    keep = variance.argsort(descending=True)[:dim]
    filters = (axes[:, keep] / (variance[keep] + 1e-2 * variance.mean()).sqrt()).T  # (D, h * w)
    projection = backbone.patch_embed.proj
    projection.weight[: len(filters)] = filters.unflatten(1, (1, *config.patch_size))
    projection.weight[len(filters) :] = 0
    projection.bias[: len(filters)] = -filters @ mean
    projection.bias[len(filters) :] = 0
    rows, cols = config.grid
    backbone.freq_new_pos_embed.copy_(_sinusoids(rows, dim).T[None, :, :, None] * 0.5)
    backbone.time_new_pos_embed.copy_(_sinusoids(cols, dim).T[None, :, None, :] * 0.2)
    for block in backbone.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


def _sinusoids(length: int, dim: int) -> Tensor:
    """(length, dim): sines and cosines, 4 to 4 x length places long (after Vaswani et al. 2017, section 3.5)."""
    wavelength = 4 * length ** torch.linspace(0, 1, dim // 2)
    angle = 2 * torch.pi * torch.arange(length)[:, None] / wavelength
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def new_student(student: str, teacher: Tagger, *, name: str) -> Tagger:
    """A network with the architecture of ``student``, a model or a card.json, on the teacher's device.

    It goes on from that model's weights where the teacher knows all of its classes. Else it takes the
    teacher's, and starts from random weights, as ``random/NAME`` and a card.json do.
    """
    before = _read(student)
    labels: Sequence[str] = before.labels
    card = replace(
        before.card, name=name, weights=None, scores={}, thresholds=(), licence="", multilabel=teacher.card.multilabel,
        paper=f"distilled from {teacher.card.name} by function matching (Beyer et al. 2022)",
    )  # fmt: skip
    known = all(_at(label, teacher.labels) is not None for label in labels)
    if not known:
        labels = teacher.labels
        card = replace(card, labels=teacher.card.labels, head=replace(card.head, n_classes=len(labels)))
    card = replace(card, summary=f"{len(labels)} classes of {teacher.card.name}, learnt from unlabelled music")
    tagger = random_tagger(card, labels)
    if known:
        tagger.load_state_dict(before.state_dict())
        tagger.weights_sha256 = before.weights_sha256
    return tagger.to(teacher.device)


def classes_of(labels: Sequence[str], teachers: Sequence[str]) -> list[int]:
    """The numbers of ``labels`` among the teacher's; ``Genre---Rock music`` is its ``Rock music``."""
    numbers = [_at(label, teachers) for label in labels]
    return [number for number in numbers if number is not None]


def ranked_of(student: Tagger) -> list[int] | None:
    """The classes that compete for the first place, where the vocabulary says so: not "Music", nor mere sounds."""
    if student.card.labels != "audioset_music":
        return None
    return [number for number, term in enumerate(load_vocabulary()) if term.group not in ("music", "sound")]


def _read(student: str) -> Tagger:
    if student.endswith(".json"):
        return random_tagger(ModelCard.from_json(Path(student).expanduser().read_text(encoding="utf-8")))
    return read_model(student)


def _at(label: str, labels: Sequence[str]) -> int | None:
    for name in (label, split_label(label).leaf):
        if name in labels:
            return labels.index(name)
    return None
