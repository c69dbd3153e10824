"""EfficientAT's mn: MobileNetV3-Large on a mel spectrogram, the CNN baseline and distillation teacher.

Schmid, Koutini, Widmer: "Efficient large-scale audio tagging via transformer-to-CNN knowledge distillation", 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from audiopatch.errors import UsageError
from audiopatch.models.card import MobileNetConfig, scaled_channels
from audiopatch.models.transformer import Features
from audiopatch.reducers.plan import NO_REDUCTION, Plan

_batch_norm = partial(nn.BatchNorm2d, eps=1e-3)

# kernel, expanded channels, output channels, squeeze-excitation, hardswish, stride (MobileNetV3-Large, table 1)
_ROWS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


class MobileNet(nn.Module):
    """mel (B, 128, frames) -> Features without tokens; any number of frames."""

    def __init__(self, config: MobileNetConfig):
        super().__init__()
        self.config = config
        width = partial(scaled_channels, width=config.width)
        layers: list[nn.Module] = [_conv(1, width(16), 3, stride=2, act=nn.Hardswish)]
        previous = width(16)
        for kernel, expanded, out, squeeze, hardswish, stride in _ROWS:
            act = nn.Hardswish if hardswish else nn.ReLU
            layers.append(
                InvertedResidual(previous, width(expanded), width(out), kernel, squeeze=squeeze, act=act, stride=stride)
            )
            previous = width(out)
        layers.append(_conv(previous, config.n_features, 1, act=nn.Hardswish))
        self.features = nn.Sequential(*layers)

    def forward(
        self,
        mel: Tensor,
        plan: Plan = NO_REDUCTION,
        taps: Sequence[int] = (),
        *,
        last: int | None = None,
        seeds: Tensor | None = None,
    ) -> Features:
        """mel (B, 128, frames) -> pooled (B, E), the mean of the last convolution's map."""
        if plan or taps or last is not None:
            raise UsageError("this model is a convolutional network without tokens: no patchout, no blocks to tap")
        return Features(self.feature_map(mel).mean(dim=(2, 3)), None, {})

    def feature_map(self, mel: Tensor) -> Tensor:
        """mel (B, 128, frames) -> the last convolution's map (B, E, about 128 / 32, frames / 32)."""
        return self.features(mel[:, None])


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise k×k, squeeze-excitation, project 1×1; residual where the shape stays."""

    def __init__(
        self, inside: int, expanded: int, out: int, kernel: int, *, squeeze: bool, act: type[nn.Module], stride: int
    ):
        super().__init__()
        layers: list[nn.Module] = []
        if expanded != inside:
            layers.append(_conv(inside, expanded, 1, act=act))
        layers.append(_conv(expanded, expanded, kernel, stride=stride, groups=expanded, act=act))
        if squeeze:
            layers.append(ConcurrentSqueeze(expanded))
        layers.append(_conv(expanded, out, 1))
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and inside == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.residual else self.block(x)


class ConcurrentSqueeze(nn.Module):
    """Squeeze-excitation over channels; the extra nesting is that of the published keys."""

    def __init__(self, channels: int):
        super().__init__()
        self.conc_se_layers = nn.ModuleList([SqueezeExcitation(channels)])

    def forward(self, x: Tensor) -> Tensor:
        return self.conc_se_layers[0](x)


class SqueezeExcitation(nn.Module):
    """Weights each channel by a sigmoid of an MLP on its mean over frequency and time."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = scaled_channels(channels // 4, 1.0)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean(dim=(2, 3))))))
        return x * scale[:, :, None, None]


def _conv(
    inside: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = None
) -> nn.Sequential:
    conv = nn.Conv2d(inside, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, _batch_norm(out), *([act()] if act else []))
