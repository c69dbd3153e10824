"""The decibel mel of CED and Dasheng: 64 HTK bands at 16 kHz, one frame per 10 ms (Dinkel et al. 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from audiopatch.frontends.filterbank import htk_filterbank
from audiopatch.frontends.frontend import Frontend, power_spectrum

_TOP_DB = 120.0


class CedFrontend(Frontend):
    """wave (B, S) at 16 kHz -> (B, 64, 1 + S // 160) in dB, at most 120 dB below the clip's own loudest cell.

    The floor is each clip's: the reference takes the whole batch's, so that a loud neighbour changes a quiet clip's
    scores. What normalises the bands belongs to the weights, and is the network's first layer.
    ``min_frames`` is the shortest input the network takes: one patch.
    """

    sample_rate = 16000
    n_mels = 64
    hop_length = 160
    n_fft = 512
    mean: float = 0.0
    scale: float = 1.0

    def __init__(self, n_frames: int | None = None, *, min_frames: int = 16):
        super().__init__(n_frames)
        self.min_samples: int = max((min_frames - 1) * self.hop_length, self.n_fft // 2 + 1)  # enough to reflect, too
        self.register_buffer("window", torch.hann_window(self.n_fft), persistent=False)
        bank = htk_filterbank(self.n_mels, self.n_fft, self.sample_rate)
        self._set_filterbank(bank)

    def log_mel(self, wave: Tensor) -> Tensor:
        power = power_spectrum(wave, n_fft=self.n_fft, hop_length=self.hop_length, window=self.window)
        mel = self.in_bands(power)
        decibels = 10 * torch.log10(mel.clamp(min=1e-10))
        return decibels.maximum(decibels.amax(dim=(1, 2), keepdim=True) - _TOP_DB)
