"""EfficientAT's mn: MobileNetV3-Large on a mel spectrogram, the CNN baseline and distillation teacher.

Schmid, Koutini, Widmer: "Efficient large-scale audio tagging via transformer-to-CNN knowledge distillation", 2023.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from audiopatch.models.card import MOBILENET_ROWS, MobileNetConfig, scaled_channels
from audiopatch.models.features import ConvolutionalBackbone

batch_norm = partial(nn.BatchNorm2d, eps=1e-3)


class MobileNet(ConvolutionalBackbone):
    """mel (B, 128, frames) -> Features without tokens; any number of frames."""

    def __init__(self, config: MobileNetConfig):
        super().__init__()
        self.config = config
        self.features = nn.Sequential(*mobilenet_layers(config.width))

    def pooled(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, frames) -> (B, E), the mean of the last convolution's map."""
        return self.feature_map(mel).mean(dim=(2, 3))

    def feature_map(self, mel: Tensor) -> Tensor:
        """mel (B, 128, frames) -> the last convolution's map (B, E, about 128 / 32, frames / 32)."""
        return self.features(mel[:, None])


def mobilenet_layers(width: float) -> list[nn.Module]:
    """The 17 layers in order; layer k of EfficientAT's ``features.k`` is number k here, too."""
    channels = partial(scaled_channels, width=width)
    layers: list[nn.Module] = [conv_norm(1, channels(16), 3, stride=2, act=nn.Hardswish)]
    previous = channels(16)
    for kernel, expanded, out, squeeze, hardswish, stride in MOBILENET_ROWS:
        act = nn.Hardswish if hardswish else nn.ReLU
        layers.append(
            InvertedResidual(
                previous, channels(expanded), channels(out), kernel, squeeze=squeeze, act=act, stride=stride
            )
        )
        previous = channels(out)
    return [*layers, conv_norm(previous, MobileNetConfig(width).n_features, 1, act=nn.Hardswish)]


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise k×k, squeeze-excitation, project 1×1; residual where the shape stays."""

    def __init__(
        self, inside: int, expanded: int, out: int, kernel: int, *, squeeze: bool, act: type[nn.Module], stride: int
    ):
        super().__init__()
        layers: list[nn.Module] = []
        if expanded != inside:
            layers.append(conv_norm(inside, expanded, 1, act=act))
        layers.append(conv_norm(expanded, expanded, kernel, stride=stride, groups=expanded, act=act))
        if squeeze:
            layers.append(ConcurrentSqueeze(expanded))
        layers.append(conv_norm(expanded, out, 1))
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


def conv_norm(
    inside: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = None
) -> nn.Sequential:
    conv = nn.Conv2d(inside, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, batch_norm(out), *([act()] if act else []))
