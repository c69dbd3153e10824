"""The student while it learns: a Tagger, the extra outputs that distillation trains, and a start that learns fast."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.errors import UsageError
from audiopatch.models.card import TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import Plan
from audiopatch.tokens import MelPatches
from audiopatch.training.teacher import Answer, Standards


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
