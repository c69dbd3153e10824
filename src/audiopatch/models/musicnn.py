"""MusiCNN and its VGG baseline: convolutional networks on three seconds of 96 log-mel bands.

Pons, Serra: "musicnn: pre-trained convolutional neural networks for music audio tagging", 2019, arXiv 1909.06654.
Every convolution is followed by ReLU and then by batch norm, as theirs are.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.models.config import MusicnnConfig, VggConfig
from audiopatch.models.features import ConvolutionalBackbone

_batch_norm_1d, _batch_norm_2d = partial(nn.BatchNorm1d, eps=1e-3), partial(nn.BatchNorm2d, eps=1e-3)

_TIMBRAL_BANDS, _N_TIMBRAL = (38, 67), 204  # 40 and 70 % of the bands
_TEMPORAL_FRAMES, _N_TEMPORAL = (128, 64, 32), 51  # 2, 1 and 0.5 s
_N_MID = 64
N_FRONT = len(_TIMBRAL_BANDS) * _N_TIMBRAL + len(_TEMPORAL_FRAMES) * _N_TEMPORAL
N_POOLED = 2 * (N_FRONT + 3 * _N_MID)

# Max-pools of the VGG, kernel and stride, frequency × time. The two published files have different ones; those of
# "msd" are the training graph's: the authors' package builds "mtt"'s for both, which fit by chance and score wrongly.
_POOLS = {
    "msd": (((1, 4), (1, 4)), ((4, 1), (4, 1)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4))),
    "mtt": (((1, 4), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4))),
}


class Musicnn(ConvolutionalBackbone):
    """mel (B, 96, frames) -> pooled (B, 200); any number of frames, trained on 187."""

    def __init__(self, config: MusicnnConfig):
        super().__init__()
        self.config = config
        self.norm = _batch_norm_2d(1)
        self.timbral: nn.ModuleList = nn.ModuleList(
            WideConvReluNorm(nn.Conv2d(1, _N_TIMBRAL, (bands, 7), padding=(0, 3))) for bands in _TIMBRAL_BANDS
        )
        self.temporal: nn.ModuleList = nn.ModuleList(
            WideConvReluNorm(nn.Conv2d(1, _N_TEMPORAL, (1, frames)), pad=((frames - 1) // 2, frames // 2))
            for frames in _TEMPORAL_FRAMES
        )
        self.mid: nn.ModuleList = nn.ModuleList(
            ConvReluNorm(nn.Conv1d(n_inside, _N_MID, 7, padding=3)) for n_inside in (N_FRONT, _N_MID, _N_MID)
        )
        self.pooled_norm = _batch_norm_1d(N_POOLED)
        self.dense: nn.Linear = nn.Linear(N_POOLED, config.n_features)
        self.dense_norm = _batch_norm_1d(config.n_features)

    def pooled(self, mel: Tensor) -> Tensor:
        x = self.norm(mel[:, None])
        branches: tuple[Any, ...] = (*self.timbral, *self.temporal)
        front = torch.cat([branch.peaks(x) for branch in branches], dim=1)  # (B, 561, T)
        first, second, third = self.mid
        c1 = first(front)
        c2 = c1 + second(c1)
        c3 = c2 + third(c2)
        maps = torch.cat([front, c1, c2, c3], dim=1)  # (B, 753, T)
        pooled = torch.stack([maps.amax(dim=2), maps.mean(dim=2)], dim=2).flatten(1)  # max and mean side by side
        return self.dense_norm(F.relu(self.dense(self.pooled_norm(pooled))))


class Vgg(ConvolutionalBackbone):
    """mel (B, 96, 187) -> pooled (B, 256)."""

    def __init__(self, config: VggConfig):
        super().__init__()
        self.config = config
        self.norm = _batch_norm_2d(1)
        channels = (1, *[128] * 5)
        self.layers: nn.ModuleList = nn.ModuleList(
            ConvReluNorm(nn.Conv2d(n_inside, 128, 3, padding=1)) for n_inside in channels[:-1]
        )

    def pooled(self, mel: Tensor) -> Tensor:
        x = self.norm(mel[:, None])
        for layer, (kernel, stride) in zip(self.layers, _POOLS[self.config.pools], strict=True):
            x = F.max_pool2d(layer(x), kernel, stride)
        return x.permute(0, 3, 2, 1).flatten(1)  # time, frequency, channel, as TensorFlow flattens


class ConvReluNorm(nn.Module):
    """Convolution, ReLU, batch norm, in this order; ``pad`` adds zero frames before and after."""

    def __init__(self, conv: nn.Conv1d | nn.Conv2d, pad: tuple[int, int] = (0, 0)):
        super().__init__()
        self.conv = conv
        self.norm = (_batch_norm_1d if isinstance(conv, nn.Conv1d) else _batch_norm_2d)(conv.out_channels)
        self.pad = pad  # TensorFlow's "same" puts the odd zero of an even kernel at the end, which no Conv2d does

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.relu(self.conv(F.pad(x, self.pad) if any(self.pad) else x)))


class WideConvReluNorm(ConvReluNorm):
    """The same for one channel and a kernel that is long along one axis, whose length is laid out as channels.

    A fifth faster on a CPU; a GPU's matrix units would pad the one channel to eight.
    """

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.relu(self._convolved(x)))

    def peaks(self, x: Tensor) -> Tensor:
        """x (B, 1, bands, T) -> the largest value over bands of what ``forward`` gives, (B, C, T).

        ReLU and norm either keep the order of a channel's values or, where the norm's weight is negative, turn it
        round. So of all that the convolution gives, only its largest, or smallest, go through them.
        """
        if self.training:  # the norm's statistics are then those of the whole map
            return self(x).amax(dim=2)
        sign = torch.where(self.norm.weight < 0, -1.0, 1.0)
        extreme = self._convolved(x, sign).amax(dim=2, keepdim=True) * sign[:, None, None]
        return self.norm(F.relu(extreme))[:, :, 0]

    def _convolved(self, x: Tensor, sign: Tensor | None = None) -> Tensor:
        """The convolution's map, each channel times its ``sign``."""
        x = F.pad(x, self.pad) if any(self.pad) else x
        weight, bias = self.conv.weight[:, 0], self.conv.bias  # (C, bands, frames)
        if sign is not None and bias is not None:
            weight, bias = weight * sign[:, None, None], bias * sign
        along = 1 if weight.shape[1] > 1 else 2
        size = weight.shape[along]
        channels = x[:, 0].unfold(along, size, 1).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        kernel = weight[:, :, None] if along == 1 else weight.transpose(1, 2)[..., None]
        return F.conv2d(channels, kernel, bias, padding=self.conv.padding)
