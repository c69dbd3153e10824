"""PaSST's log-mel, which EfficientAT shares: 128 Kaldi bands at 32 kHz (Koutini et al. 2022, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from audiopatch.frontends.filterbank import kaldi_filterbank
from audiopatch.frontends.frontend import Frontend, power_spectrum, power_spectrum_at


class PasstFrontend(Frontend):
    """wave (B, S) at 32 kHz -> (B, n_mels, 1 + (S - 1) // hop_length); hop and bands differ by checkpoint.

    The upper band edge is 15 kHz: the references pass ``fmax_aug_range=2000`` and leave ``fmax`` unset.
    """

    sample_rate = 32000
    n_fft = 1024
    win_length = 800
    mean: float = -4.5
    scale: float = 5.0

    def __init__(self, n_frames: int | None = None, *, hop_length: int = 320, n_mels: int = 128):
        super().__init__(n_frames)
        self.hop_length, self.n_mels = hop_length, n_mels
        self.min_samples: int = max(15 * hop_length + 1, self.n_fft // 2 + 2)  # one patch, and enough to reflect
        self.register_buffer("window", torch.hann_window(self.win_length, periodic=False), persistent=False)
        bank = kaldi_filterbank(self.n_mels, self.n_fft, self.sample_rate, low_hz=0.0, high_hz=15000.0)
        self._set_filterbank(bank)

    def whole_frames(self, n_samples: int) -> int:
        return 1 + (n_samples - 1) // self.hop_length  # pre-emphasis takes one sample

    def log_mel(self, wave: Tensor) -> Tensor:
        whole = _emphasised(wave, 0, wave.shape[1] - 1)
        return self._log_mel_of(power_spectrum(whole, **self._stft))

    def log_mel_at(self, wave: Tensor, frames: Sequence[int]) -> Tensor:
        power = power_spectrum_at(partial(_emphasised, wave), wave.shape[1] - 1, frames, **self._stft)
        return self._log_mel_of(power)

    @property
    def _stft(self) -> dict[str, Any]:
        return {"n_fft": self.n_fft, "hop_length": self.hop_length, "window": self.window}

    def _log_mel_of(self, power: Tensor) -> Tensor:
        """power (B, n_fft / 2 + 1, frames) -> log-mel (B, 128, frames)."""
        return torch.log(self.in_bands(power) + 1e-5)


def _emphasised(wave: Tensor, start: int, end: int) -> Tensor:
    """wave (B, S) -> samples ``start`` to ``end`` of its S - 1 differences."""
    return torch.sub(wave[:, start + 1 : end + 1], wave[:, start:end], alpha=0.97)
