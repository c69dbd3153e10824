"""The teacher's side of distillation: what it says about audio, and on which scale the student hears it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from audiopatch.models.mobilenet import MobileNet
from audiopatch.models.processor import best_float
from audiopatch.models.tagger import Tagger

LIMIT = 4.0  # standard deviations: a few wild targets must not rule the loss


@dataclass(frozen=True)
class Standard:
    """Mean and standard deviation (C,) of something that a teacher says, measured over a calibration mix."""

    mean: Tensor
    std: Tensor

    @classmethod
    def measure(cls, values: Tensor) -> Standard:
        """values (N, C) -> their Standard; a column that never moves counts as having a deviation of 1."""
        std = values.float().std(dim=0)
        return cls(values.float().mean(dim=0), torch.where(std > 1e-4, std, 1.0))

    def __call__(self, values: Tensor) -> Tensor:
        """values (..., C) -> in standard deviations from the mean, within +-4."""
        return ((values - self.mean) / self.std).clamp(-LIMIT, LIMIT)

    def undo(self, values: Tensor) -> Tensor:
        """values (..., C) in standard deviations -> in the units that were measured."""
        return values * self.std + self.mean

    @torch.no_grad()
    def do_in(self, layer: nn.Linear) -> None:
        """Change ``layer``, which predicts in the teacher's own units, so that it gives standardised values."""
        mean, std = self.mean.to(layer.weight.device), self.std.to(layer.weight.device)
        layer.weight.div_(std[:, None])
        layer.bias.sub_(mean).div_(std)

    @torch.no_grad()
    def undo_in(self, layer: nn.Linear) -> None:
        """Change ``layer``, which predicts standardised values, so that it gives them in the teacher's own units."""
        mean, std = self.mean.to(layer.weight.device), self.std.to(layer.weight.device)
        layer.weight.mul_(std[:, None])
        layer.bias.mul_(std).add_(mean)


@dataclass(frozen=True)
class Answer:
    """logits (B, C) of the chosen classes; features (B, E); timeline (B, E, T), the features along time."""

    logits: Tensor
    features: Tensor
    timeline: Tensor


@dataclass(frozen=True)
class Standards:
    """One Standard for each part of an Answer; calling it standardises all three."""

    logits: Standard
    features: Standard
    timeline: Standard

    @classmethod
    def measure(cls, answers: Sequence[Answer]) -> Standards:
        timeline = torch.cat([answer.timeline.transpose(1, 2).flatten(0, 1) for answer in answers])
        return cls(
            Standard.measure(torch.cat([answer.logits for answer in answers])),
            Standard.measure(torch.cat([answer.features for answer in answers])),
            Standard.measure(timeline),
        )

    def __call__(self, answer: Answer) -> Answer:
        timeline = self.timeline(answer.timeline.transpose(1, 2)).transpose(1, 2)
        return Answer(self.logits(answer.logits), self.features(answer.features), timeline)

    def to_lists(self) -> dict[str, list[list[float]]]:
        """Plain numbers, for a checkpoint."""
        return {name: [part.mean.tolist(), part.std.tolist()] for name, part in vars(self).items()}

    @classmethod
    def from_lists(cls, lists: dict[str, list[list[float]]], device: torch.device) -> Standards:
        return cls(**{name: Standard(*(torch.tensor(x, device=device) for x in pair)) for name, pair in lists.items()})


class Teacher:
    """wave (B, S) at the Tagger's own sample rate -> Answer for the classes numbered ``classes``."""

    def __init__(self, tagger: Tagger, classes: Sequence[int]):
        self.tagger: Tagger = tagger.eval()
        self.tagger.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast for the CNN on a CPU
        self.sample_rate = tagger.frontend.sample_rate
        self._classes = torch.tensor(classes, device=tagger.device)

    @property
    def n_features(self) -> int:
        return self.tagger.card.backbone.n_features

    @torch.no_grad()
    def __call__(self, wave: Tensor) -> Answer:
        mel = self.tagger.frontend(wave)
        with torch.autocast(wave.device.type, dtype := best_float(wave.device), enabled=dtype != torch.float32):
            pooled, timeline = self._features(mel)
        return Answer(self.tagger.head(pooled.float())[:, self._classes], pooled.float(), timeline.float())

    def _features(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """mel -> features (B, E) and timeline (B, E, T), from a CNN's last map or a transformer's patch columns."""
        backbone = self.tagger.backbone
        if isinstance(backbone, MobileNet):
            feature_map = backbone.feature_map(mel)
            return feature_map.mean(dim=(2, 3)), feature_map.mean(dim=2)
        features = backbone(mel)
        return features.pooled, features.tokens.as_grid().mean(dim=2)
