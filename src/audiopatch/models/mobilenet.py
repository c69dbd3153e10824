"""EfficientAT's mn: MobileNetV3-Large on a mel spectrogram, the CNN baseline and distillation teacher.

Schmid, Koutini, Widmer: "Efficient large-scale audio tagging via transformer-to-CNN knowledge distillation", 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from audiopatch.models.config import MOBILENET_ROWS, MobileNetConfig, scaled_channels
from audiopatch.models.features import ConvolutionalBackbone
from audiopatch.models.linear import packs, version

batch_norm: Callable[[int], nn.BatchNorm2d] = partial(nn.BatchNorm2d, eps=1e-3)


class MobileNet(ConvolutionalBackbone):
    """mel (B, 128, frames) -> Features without tokens; any number of frames."""

    def __init__(self, config: MobileNetConfig):
        super().__init__()
        self.config = config
        self.features: nn.Sequential = nn.Sequential(*mobilenet_layers(config.width))

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
        self.block: nn.Sequential = nn.Sequential(*layers)
        self.residual: bool = stride == 1 and inside == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.residual else self.block(x)


class ConcurrentSqueeze(nn.Module):
    """Squeeze-excitation over channels; the extra nesting is that of the published keys."""

    def __init__(self, channels: int):
        super().__init__()
        self.conc_se_layers: nn.ModuleList = nn.ModuleList([SqueezeExcitation(channels)])

    def forward(self, x: Tensor) -> Tensor:
        return self.conc_se_layers[0](x)


class SqueezeExcitation(nn.Module):
    """Weights each channel by a sigmoid of an MLP on its mean over frequency and time."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = scaled_channels(channels // 4, 1.0)
        self.fc1: nn.Linear = nn.Linear(channels, hidden)
        self.fc2: nn.Linear = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean(dim=(2, 3))))))
        return x * scale[:, :, None, None]


def conv_norm(
    inside: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = None
) -> nn.Sequential:
    conv = nn.Conv2d(inside, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return ConvNormAct(conv, batch_norm(out), *([act()] if act else []))


class ConvNormAct(nn.Sequential):
    """Convolution, batch norm, activation (or none).

    At inference in float32 on a CPU they are one product: the norm is folded into weights that are kept as oneDNN
    multiplies them (made at first use, and again once they have changed). Batches of mn04 take half the CPU time
    (Zen 3), and what is left shrinks with the input.

    A 1×1 is multiplied as a linear layer, whose layout of the weights suits any input; that of a convolution suits one
    size, and for others oneDNN makes it again at every call: a tenth to a quarter of the default model's time (Zen 4).
    """

    _folded: _Folded | None = None

    def forward(self, x: Tensor) -> Tensor:
        conv = cast(nn.Conv2d, self[0])
        if self.training or x.dtype != torch.float32 or not packs(x, conv.weight):
            return super().forward(x)
        folded = self._fold()
        act = _ACTS[type(self[2])] if len(self) > 2 else "none"
        if _is_pointwise(conv):
            cells = x.permute(0, 2, 3, 1)  # no copy: so lie the maps that these kernels give
            out = torch.ops.mkldnn._linear_pointwise(cells, folded.weight, folded.bias, act, [], "")
            return out.permute(0, 3, 1, 2)
        shape = (conv.padding, conv.stride, conv.dilation, conv.groups)
        return torch.ops.mkldnn._convolution_pointwise(x, folded.weight, folded.bias, *shape, act, [], "")

    def _fold(self) -> _Folded:
        conv, norm = cast(nn.Conv2d, self[0]), cast(nn.BatchNorm2d, self[1])
        counter = norm.num_batches_tracked  # the statistics change without a new version of theirs, with one of this
        held = (conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var, counter)
        sources = cast(tuple[Tensor, ...], held)  # only norms without statistics lack some
        if self._folded is None or not self._folded.holds(sources):
            self._folded = _Folded.of(conv, norm, sources)
        return self._folded

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_folded": None}  # oneDNN's layout can be neither copied nor saved


def _is_pointwise(conv: nn.Conv2d) -> bool:
    """Whether it multiplies each cell by itself."""
    return conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1


_ACTS = {nn.ReLU: "relu", nn.Hardswish: "hardswish"}


@dataclass(frozen=True)
class _Folded:
    """A convolution with its batch norm folded in. Holding ``sources`` keeps their addresses from being used again."""

    sources: tuple[Tensor, ...]
    versions: tuple[int, ...]
    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, conv: nn.Conv2d, norm: nn.BatchNorm2d, sources: Sequence[Tensor]) -> _Folded:
        weight, scale, shift, mean, var, _ = (source.detach() for source in sources)
        scale = scale * torch.rsqrt(var + norm.eps)
        held = tuple(source.detach() for source in sources)
        packed = _packed(conv, weight * scale[:, None, None, None])
        return cls(held, tuple(map(version, sources)), packed, shift - mean * scale)

    def holds(self, sources: Sequence[Tensor]) -> bool:
        return self.versions == tuple(map(version, sources)) and all(
            held.data_ptr() == source.data_ptr() for held, source in zip(self.sources, sources, strict=True)
        )


def _packed(conv: nn.Conv2d, weight: Tensor) -> Tensor:
    """``weight`` (out, in, h, w) as oneDNN multiplies it in ``conv``'s place."""
    if _is_pointwise(conv):
        return torch.ops.mkldnn._reorder_linear_weight(weight.flatten(1))
    reorder = torch._C._nn.mkldnn_reorder_conv2d_weight  # type: ignore[attr-defined]
    return reorder(weight.to_mkldnn(), conv.padding, conv.stride, conv.dilation, conv.groups)
