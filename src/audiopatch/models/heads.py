"""From a clip's features to its logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiopatch.models.config import HeadConfig


def build_head(config: HeadConfig, n_features: int) -> nn.Module:
    """features (B, E) -> logits (B, n_classes); names inside follow the published checkpoints."""
    return _HEADS[config.kind](config, n_features)


def _norm_linear(config: HeadConfig, n_features: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(n_features, eps=config.eps), nn.Linear(n_features, config.n_classes))


def _linear(config: HeadConfig, n_features: int) -> nn.Module:
    return nn.Linear(n_features, config.n_classes)


def _mlp(config: HeadConfig, n_features: int) -> nn.Module:
    hidden, out = nn.Linear(n_features, config.n_hidden), nn.Linear(config.n_hidden, config.n_classes)
    return nn.Sequential(hidden, nn.Hardswish(), nn.Dropout(config.dropout), out)


def _probe(config: HeadConfig, n_features: int) -> nn.Module:
    hidden, out = nn.Linear(n_features, config.n_hidden), nn.Linear(config.n_hidden, config.n_classes)
    return nn.Sequential(hidden, nn.ReLU(), nn.Dropout(config.dropout), out)  # MAEST, section 4.1


class SeparatedHeads(nn.Module):
    """CLS learns the labels, DIST what a teacher says (DeiT; MAEST, section 3.4); together they answer.

    features (B, 2 D), CLS first -> the mean of both heads' logits (B, n_classes); ``both`` gives them apart.
    """

    def __init__(self, config: HeadConfig, n_features: int):
        super().__init__()
        self.cls: nn.Module = _norm_linear(config, n_features // 2)
        self.dist: nn.Module = _norm_linear(config, n_features // 2)

    def both(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, 2 D) -> logits of CLS, logits of DIST, each (B, n_classes)."""
        cls, dist = features.chunk(2, dim=1)
        return self.cls(cls), self.dist(dist)

    def forward(self, features: Tensor) -> Tensor:
        cls, dist = self.both(features)
        return (cls + dist) / 2


class JointHead(nn.Module):
    """features (B, E) -> the logits of several heads, each in ``heads`` by its name, one after the other."""

    def __init__(self, config: HeadConfig, n_features: int):
        super().__init__()
        self.n_inputs: dict[str, int] = {part.name: part.n_inputs or n_features for part in config.parts}
        self.heads: nn.ModuleDict = nn.ModuleDict(
            {part.name: build_head(part, self.n_inputs[part.name]) for part in config.parts}
        )

    def apart(self, features: Tensor) -> dict[str, Tensor]:
        """features (B, E) -> each head's logits (B, its n_classes)."""
        return {name: head(features[:, : self.n_inputs[name]]) for name, head in self.heads.items()}

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat(list(self.apart(features).values()), dim=1)


class NoHead(nn.Module):
    """For backbones without a classifier: features (B, E) -> logits (B, 0)."""

    def forward(self, features: Tensor) -> Tensor:
        return features[:, :0]


def _none(config: HeadConfig, n_features: int) -> nn.Module:
    return NoHead()


_HEADS = {
    "norm_linear": _norm_linear,
    "linear": _linear,
    "mlp": _mlp,
    "probe": _probe,
    "separated": SeparatedHeads,
    "joint": JointHead,
    "none": _none,
}
