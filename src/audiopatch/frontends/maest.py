"""MAEST's log-mel: 96 Slaney bands at 16 kHz, one frame per 16 ms (Alonso-Jiménez et al. 2023, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from audiopatch.frontends.filterbank import slaney_filterbank
from audiopatch.frontends.frontend import Frontend, power_spectrum


class MaestFrontend(Frontend):
    """wave (B, S) at 16 kHz -> (B, 96, 1 + S // 256), as the authors' package computes it.

    The edges of the waveform are reflected, and an input shorter than a segment stays short.
    """

    sample_rate = 16000
    n_mels = 96
    hop_length = 256
    n_fft = 512
    min_samples: int = 15 * 256  # 16 frames, one patch
    mean: float = 2.06755686098554  # of the training set; published with the code
    scale: float = 2 * 1.268292820667291
    pad_mode = "reflect"

    def __init__(self, n_frames: int | None = None):
        super().__init__(n_frames)
        self.register_buffer("window", torch.hann_window(self.n_fft), persistent=False)
        bank = slaney_filterbank(self.n_mels, self.n_fft, self.sample_rate)
        self._set_filterbank(bank)

    def log_mel(self, wave: Tensor) -> Tensor:
        power = power_spectrum(
            wave, n_fft=self.n_fft, hop_length=self.hop_length, window=self.window, pad_mode=self.pad_mode
        )
        mel = self.in_bands(power)
        return torch.log10(1 + 10_000 * mel)  # MAEST, section 3.1


class MaestHubFrontend(MaestFrontend):
    """wave (B, S) at 16 kHz -> (B, 96, n_frames), as the feature extractor beside the hub's copies computes it.

    It differs from the authors' package at the edges: zeros instead of reflected audio around the waveform, zeros
    (before normalising) after a short one, and one frame more per segment (1876 instead of 1875 for 30 s).
    """

    min_samples: int = 1
    pad_mode = "constant"
    pads = True


class MusicnnFrontend(MaestFrontend):
    """wave (B, S) at 16 kHz -> (B, 96, 1 + S // 256): log10(1 + 10000 mel), with the edges of the audio reflected.

    In float32 throughout: the authors' package takes the logarithm in float16, where 10000 mel of loud music
    overflows and every score becomes NaN. ``min_frames`` is the shortest input the network takes.
    """

    mean: float = 0.0  # the network's first layer normalises
    scale: float = 1.0

    def __init__(self, n_frames: int | None = None, *, min_frames: int = 16):
        super().__init__(n_frames)
        self.min_samples: int = (min_frames - 1) * self.hop_length
