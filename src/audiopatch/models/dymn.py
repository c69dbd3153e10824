"""EfficientAT's DyMN: a MobileNet whose kernels, activations and attention depend on each clip's own context.

Schmid, Koutini, Widmer: "Dynamic convolutional neural networks as efficient pre-trained audio models", 2024.
Modules are named as the published files name them; kernels are mixed at temperature 1, where their training ends.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.models.config import MOBILENET_ROWS, DymnConfig, scaled_channels
from audiopatch.models.features import ConvolutionalBackbone
from audiopatch.models.mobilenet import batch_norm, conv_norm

_N_KERNELS = 4
# Of a dynamic ReLU's two lines, slopes first: what they are where the context says nothing, and how far it moves them.
RELU_STARTS, RELU_REACH = (1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 0.5, 0.5)
_RELU = tuple(zip(RELU_STARTS, RELU_REACH, strict=True))


class DyMN(ConvolutionalBackbone):
    """mel (B, 128, frames) -> pooled (B, E); any number of frames."""

    def __init__(self, config: DymnConfig):
        super().__init__()
        self.config = config
        channels = partial(scaled_channels, width=config.width)
        previous = channels(16)
        self.in_c: nn.Sequential = conv_norm(1, previous, 3, stride=2, act=nn.Hardswish)
        blocks: list[nn.Module] = []
        for kernel, expanded, out, _, hardswish, stride in MOBILENET_ROWS:
            act = nn.Hardswish if hardswish else nn.ReLU
            n_context = scaled_channels(channels(expanded) // 4, 1.0)
            n_context = min(max(n_context, channels(32)), channels(128))
            blocks.append(
                DynamicBlock(
                    previous, channels(expanded), channels(out), kernel, n_context=n_context, act=act, stride=stride
                )
            )
            previous = channels(out)
        self.layers: nn.Sequential = nn.Sequential(*blocks)
        self.out_c: nn.Sequential = conv_norm(previous, config.n_features, 1, act=nn.Hardswish)

    def pooled(self, mel: Tensor) -> Tensor:
        return self.out_c(self.layers(self.in_c(mel[:, None]))).mean(dim=(2, 3))


class DynamicBlock(nn.Module):
    """An inverted residual, x (B, C, F, T) -> (B, out, F / stride, T / stride), steered by a context of its input."""

    def __init__(
        self, inside: int, expanded: int, out: int, kernel: int, *, n_context: int, act: type[nn.Module], stride: int
    ):
        super().__init__()
        self.expands: bool = expanded != inside
        if self.expands:
            self.exp_conv: DynamicConv = DynamicConv(inside, expanded, 1, n_context=n_context)
            self.exp_norm = batch_norm(expanded)
            self.exp_act: nn.Module = act()
        self.depth_conv: DynamicConv = DynamicConv(
            expanded, expanded, kernel, n_context=n_context, stride=stride, groups=expanded
        )
        self.depth_norm = batch_norm(expanded)
        self.depth_act: DynamicRelu = DynamicRelu(expanded, n_context)
        self.proj_conv: DynamicConv = DynamicConv(expanded, out, 1, n_context=n_context)
        self.proj_norm = batch_norm(out)
        self.context_gen: Context = Context(inside, expanded, n_context, stride)
        self.residual: bool = stride == 1 and inside == out

    def forward(self, x: Tensor) -> Tensor:
        context, by_frequency, by_time = self.context_gen(x)
        inner = self.exp_act(self.exp_norm(self.exp_conv(x, context))) if self.expands else x
        inner = self.depth_act(self.depth_norm(self.depth_conv(inner, context)), context)
        inner = self.proj_norm(self.proj_conv(inner * by_frequency * by_time, context))
        return x + inner if self.residual else inner


class Context(nn.Module):
    """x (B, C, F, T) -> context (B, H), attention over frequency (B, E, F', 1) and over time (B, E, 1, T')."""

    def __init__(self, inside: int, expanded: int, n_context: int, stride: int):
        super().__init__()
        self.joint_conv: nn.Conv2d = nn.Conv2d(inside, n_context, 1, bias=False)
        self.joint_norm = batch_norm(n_context)
        self.conv_f: nn.Conv2d = nn.Conv2d(n_context, expanded, 1)
        self.conv_t: nn.Conv2d = nn.Conv2d(n_context, expanded, 1)
        self.stride = stride

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        means = torch.cat([x.mean(dim=3), x.mean(dim=2)], dim=2)[..., None]  # (B, C, F + T, 1)
        joint = F.hardswish(self.joint_norm(self.joint_conv(means)))
        rows, cols = joint.split([x.shape[2], x.shape[3]], dim=2)
        by_frequency, by_time = self.conv_f(self._pool(rows)), self.conv_t(self._pool(cols))
        return joint.mean(dim=(2, 3)), by_frequency.sigmoid(), by_time.transpose(2, 3).sigmoid()

    def _pool(self, sequence: Tensor) -> Tensor:
        """(B, H, L, 1) -> as long as the convolution's output; zeros at the ends count as values."""
        if self.stride == 1:
            return sequence
        return F.avg_pool2d(sequence, (3, 1), (self.stride, 1), (1, 0))


class DynamicConv(nn.Module):
    """A convolution by each clip's own mixture of four kernels: x (B, C, F, T), context (B, H) -> (B, out, F', T')."""

    def __init__(self, inside: int, out: int, kernel: int, *, n_context: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.residuals: nn.Sequential = nn.Sequential(nn.Linear(n_context, _N_KERNELS))
        kernels = torch.empty(_N_KERNELS, out, inside // groups, kernel, kernel)
        for one in kernels:
            nn.init.kaiming_normal_(one, mode="fan_out")
        self.weight: nn.Parameter = nn.Parameter(
            kernels.flatten(1)[None, None]
        )  # (1, 1, kernels, ...), as it is published
        self.shape: torch.Size = kernels.shape[1:]
        self.stride: int = stride
        self.groups: int = groups

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        shares = self.residuals(context).softmax(dim=1)  # (B, kernels)
        kernels = (shares @ self.weight[0, 0].to(shares.dtype)).unflatten(1, self.shape)
        stacked = x.flatten(0, 1)[None]  # the clips' channels side by side, each clip a group of its own
        mixed = F.conv2d(
            stacked,
            kernels.flatten(0, 1).to(x.dtype),
            stride=self.stride,
            padding=self.shape[-1] // 2,
            groups=len(x) * self.groups,
        )
        return mixed[0].unflatten(0, (len(x), -1))


class DynamicRelu(nn.Module):
    """The larger of two lines per channel, whose slopes and offsets depend on the context (DyReLU-B)."""

    def __init__(self, channels: int, n_context: int):
        super().__init__()
        self.coef_net: nn.Sequential = nn.Sequential(nn.Linear(n_context, len(RELU_REACH) * channels))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        moved = 2 * self.coef_net(context).sigmoid() - 1
        moved = moved.unflatten(1, (x.shape[1], 1, 1, -1))  # (B, C, 1, 1, 4)
        lines = [start + reach * moved[..., index] for index, (start, reach) in enumerate(_RELU)]
        slope_a, slope_b, offset_a, offset_b = lines
        return torch.maximum(x * slope_a + offset_a, x * slope_b + offset_b)
