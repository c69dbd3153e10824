"""MusiCNN and its VGG baseline: convolutional networks on three seconds of 96 log-mel bands.

Pons, Serra: "musicnn: pre-trained convolutional neural networks for music audio tagging", 2019, arXiv 1909.06654.
Every convolution is followed by ReLU and then by batch norm, as theirs are.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.models.config import MusicnnConfig, VggConfig
from audiopatch.models.features import ConvolutionalBackbone

_batch_norm_1d, _batch_norm_2d = partial(nn.BatchNorm1d, eps=1e-3), partial(nn.BatchNorm2d, eps=1e-3)

_TIMBRAL_BANDS, _N_TIMBRAL = (38, 67), 204  # 40 and 70 % of the bands
_TEMPORAL_FRAMES, _N_TEMPORAL = (128, 64, 32), 51  # 2, 1 and 0.5 s
_N_MID = 64
_ROWS_AT_ONCE = 1024  # of a running maximum, so that it stays in a core's cache
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
            PeaksOfConv(nn.Conv2d(1, _N_TIMBRAL, (bands, 7)), pad=(3, 3)) for bands in _TIMBRAL_BANDS
        )
        self.temporal: nn.ModuleList = nn.ModuleList(
            PeaksOfConv(nn.Conv2d(1, _N_TEMPORAL, (1, frames)), pad=((frames - 1) // 2, frames // 2), n_at_once=16)
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
        front = torch.cat([branch(x) for branch in (*self.timbral, *self.temporal)], dim=1)  # (B, 561, T)
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


class PeaksOfConv(ConvReluNorm):
    """The same for one channel, followed by the maximum over bands: x (B, 1, bands, T) -> (B, C, T)."""

    def __init__(self, conv: nn.Conv2d, pad: tuple[int, int], *, n_at_once: int = 1):
        super().__init__(conv, pad)
        self.n_at_once = n_at_once  # frames of one matrix product: several share what a long kernel reads

    def forward(self, x: Tensor) -> Tensor:
        """ReLU and norm either keep the order of a channel's values or, where the norm's weight is negative, turn it
        round: of all that the convolution gives, only its largest, or smallest, need to go through them."""
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if self.training or torch.is_grad_enabled() or traced:
            return super().forward(x).amax(dim=2)  # in training the norm's statistics are those of the whole map
        sign = torch.where(self.norm.weight < 0, -1.0, 1.0)[:, None]
        extreme = self._largest(x[:, 0], sign[..., None]) * sign
        return self.norm(F.relu(extreme)[:, :, None])[:, :, 0]

    def _largest(self, x: Tensor, sign: Tensor) -> Tensor:
        """x (B, bands, T) -> the largest value over bands of the convolution times ``sign`` (C, 1, 1), (B, C, T).

        One matrix product for each place along the bands, on rows that lie in memory once for all of them; twice to
        four times as fast on a CPU as the convolution, whose map is much larger than what is left of it.
        """
        weight: Tensor = self.conv.weight[:, 0] * sign  # (C, kernel's bands, its frames)
        n, n_frames = self.n_at_once, x.shape[2]
        shifted = [F.pad(weight, (place, n - 1 - place)) for place in range(n)]
        kernel = torch.stack(shifted).flatten(0, 1).flatten(1)  # (n * C, bands * window)
        window = weight.shape[2] + n - 1
        before, behind = self.pad
        windows = F.pad(x, (before, behind + -n_frames % n)).unfold(2, window, n)  # (B, bands, T / n, window)
        rows = windows.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
        found = torch.cat([_running_maximum(part, kernel, window) for part in rows.split(_ROWS_AT_ONCE)])
        found = found.unflatten(0, (len(x), -1)).unflatten(2, (n, -1)).flatten(1, 2)[:, :n_frames]
        assert self.conv.bias is not None
        return found.transpose(1, 2) + (self.conv.bias[:, None] * sign[..., 0])


def _running_maximum(rows: Tensor, kernel: Tensor, step: int) -> Tensor:
    """rows (R, long), kernel (M, short) -> (R, M), the largest product over the kernel's places, ``step`` apart."""
    size = kernel.shape[1]
    first, *others = (rows[:, start : start + size] for start in range(0, rows.shape[1] - size + 1, step))
    largest = F.linear(first, kernel)
    for part in others:
        torch.maximum(largest, F.linear(part, kernel), out=largest)
    return largest
