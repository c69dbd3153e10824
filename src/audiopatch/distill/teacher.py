"""The teachers' side of distillation: what they say about audio, and on which scale the student hears it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from audiopatch.distill.augment_wave import resample_fft
from audiopatch.models.config import TransformerConfig
from audiopatch.models.mobilenet import MobileNet
from audiopatch.models.processor import best_float
from audiopatch.models.tagger import Tagger


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
        """values (..., C) -> in standard deviations from the mean."""
        return (values - self.mean) / self.std

    def undo(self, values: Tensor) -> Tensor:
        """values (..., C) in standard deviations -> in the units that were measured."""
        return values * self.std + self.mean

    def part(self, rows: slice) -> Standard:
        """The Standard of some of the columns."""
        return Standard(self.mean[rows], self.std[rows])

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
    """logits (B, C) of the chosen classes of all teachers; features (B, E) and timeline (B, E, T) of the first: the
    features along time, where it has any."""

    logits: Tensor
    features: Tensor
    timeline: Tensor | None


@dataclass(frozen=True)
class Standards:
    """One Standard for each part of an Answer; calling it standardises all three."""

    logits: Standard
    features: Standard
    timeline: Standard

    @classmethod
    def measure(cls, answers: Sequence[Answer]) -> Standards:
        features = torch.cat([answer.features for answer in answers])
        columns = [answer.timeline.transpose(1, 2).flatten(0, 1) for answer in answers if answer.timeline is not None]
        return cls(
            Standard.measure(torch.cat([answer.logits for answer in answers])),
            Standard.measure(features),
            Standard.measure(torch.cat(columns) if columns else features),
        )

    def __call__(self, answer: Answer) -> Answer:
        timeline = answer.timeline
        if timeline is not None:
            timeline = self.timeline(timeline.transpose(1, 2)).transpose(1, 2)
        return Answer(self.logits(answer.logits), self.features(answer.features), timeline)

    def to_lists(self) -> dict[str, list[list[float]]]:
        """Plain numbers, for a checkpoint."""
        return {name: [part.mean.tolist(), part.std.tolist()] for name, part in vars(self).items()}

    @classmethod
    def from_lists(cls, lists: dict[str, list[list[float]]], device: torch.device) -> Standards:
        return cls(**{name: Standard(*(torch.tensor(x, device=device) for x in pair)) for name, pair in lists.items()})


class Teachers:
    """Taggers that are asked about the same audio, each through its own front-end; ``classes`` of their labels count.

    The first one's features are learnt, too. One that listens to shorter segments than it is given hears several,
    evenly spread, and answers with the mean of its scores, as it would tag.
    """

    def __init__(self, taggers: Sequence[Tagger], classes: Sequence[int] | None = None):
        self.taggers = [tagger.eval() for tagger in taggers]
        for tagger in self.taggers:
            tagger.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast for CNNs on a CPU
        self.device: torch.device = taggers[0].device
        self.sample_rate: int = max(tagger.frontend.sample_rate for tagger in taggers)
        self.labels: tuple[str, ...] = tuple(label for tagger in taggers for label in tagger.labels)
        self.classes: tuple[int, ...] = tuple(range(len(self.labels)) if classes is None else classes)
        self._classes = torch.tensor(self.classes, device=self.device)

    @property
    def n_features(self) -> int:
        return self.taggers[0].card.backbone.n_features

    @property
    def n_along(self) -> int:
        """Features of each step of the first one's timeline."""
        backbone = self.taggers[0].card.backbone
        return backbone.n_along if isinstance(backbone, TransformerConfig) else backbone.n_features

    @property
    def owners(self) -> tuple[int, ...]:
        """(C,) the number of the teacher that each class is of."""
        whose = [number for number, tagger in enumerate(self.taggers) for _ in tagger.labels]
        return tuple(whose[number] for number in self.classes)

    @torch.no_grad()
    def __call__(self, wave: Tensor, sample_rate: int) -> Answer:
        """wave (B, S)"""
        first, *others = self.taggers
        mel = first.frontend(resample_fft(wave, sample_rate, first.frontend.sample_rate))
        with native_autocast(self.device):
            pooled, timeline = _features(first, mel)
        whole = wave.shape[1] <= round(first.card.segment_s * sample_rate)
        said = first.head(pooled.float()) if whole else _scores(first, wave, sample_rate)
        logits = [said, *(_scores(tagger, wave, sample_rate) for tagger in others)]
        timeline = None if timeline is None else timeline.float()
        return Answer(torch.cat(logits, dim=1)[:, self._classes], pooled.float(), timeline)


def native_autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the device computes it natively; elsewhere nothing: it would be slower than float32.

    No cast weight is kept for a second use: all threads share that cache, and gradients of two uses would be summed in
    bfloat16 or not as another thread's clearing has it.
    """
    enabled = best_float(device) == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)


def _features(tagger: Tagger, mel: Tensor) -> tuple[Tensor, Tensor | None]:
    """mel -> features (B, E) and timeline (B, C, T), from a CNN's last map or a transformer's patch columns."""
    backbone = tagger.backbone
    if isinstance(backbone, MobileNet):
        feature_map = backbone.feature_map(mel)
        return feature_map.mean(dim=(2, 3)), feature_map.mean(dim=2)
    features = backbone(mel)
    if features.map is not None:
        return features.pooled, features.map.mean(dim=2)
    return features.pooled, None if features.tokens is None else features.tokens.as_grid().mean(dim=2)


def _scores(tagger: Tagger, wave: Tensor, sample_rate: int) -> Tensor:
    """wave (B, S) -> logits (B, C) of the mean score over segments."""
    rate = tagger.frontend.sample_rate
    wave = resample_fft(wave, sample_rate, rate)
    length = min(round(tagger.card.segment_s * rate), wave.shape[1])
    n_segments = math.ceil(wave.shape[1] / length - 0.35)  # a third of one may stay unheard
    starts = torch.linspace(0, wave.shape[1] - length, max(1, n_segments)).long().tolist()
    segments = torch.stack([wave[:, start : start + length] for start in starts], dim=1)
    mel = tagger.frontend(segments.flatten(0, 1))
    with native_autocast(wave.device):
        pooled = tagger.backbone(mel).pooled
    scores = tagger.head(pooled.float()).sigmoid().unflatten(0, segments.shape[:2]).mean(dim=1)
    return scores.logit(eps=1e-6)
