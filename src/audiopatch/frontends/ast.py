"""AST's filterbank, which AudioMAE shares: Kaldi's fbank, 128 bands at 16 kHz (Gong et al. 2021, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from audiopatch.frontends.filterbank import kaldi_filterbank
from audiopatch.frontends.frontend import Frontend

_WIN_LENGTH, _N_FFT = 400, 512  # 25 ms, and the next power of two
_FLOOR = 1.1920928955078125e-07  # float32's epsilon, Kaldi's floor under the logarithm


class AstFrontend(Frontend):
    """wave (B, S) at 16 kHz -> (B, 128, n_frames): frames of 25 ms every 10 ms, none beyond the waveform's end.

    Cut to the first ``n_frames`` or filled with zeros before normalising. ``mean`` and ``std`` are those of the
    model's training set (AudioSet's by default); Kaldi's other settings are the published ones, without dither.
    """

    sample_rate = 16000
    n_mels = 128
    hop_length = 160
    min_samples = _WIN_LENGTH
    pads = True

    def __init__(self, n_frames: int | None = None, *, mean: float = -4.2677393, std: float = 4.5689974):
        super().__init__(n_frames)
        self.mean: float = mean
        self.scale: float = 2 * std
        self.register_buffer("window", torch.hann_window(_WIN_LENGTH, periodic=False), persistent=False)
        bank = kaldi_filterbank(self.n_mels, _N_FFT, self.sample_rate, low_hz=20.0, high_hz=8000.0)
        self._set_filterbank(bank)

    def whole_frames(self, n_samples: int) -> int:
        return 1 + (n_samples - _WIN_LENGTH) // self.hop_length

    def log_mel(self, wave: Tensor) -> Tensor:
        frames = wave.unfold(1, _WIN_LENGTH, self.hop_length)  # (B, frames, 400)
        frames = frames - frames.mean(dim=2, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)  # Kaldi repeats the first sample
        spectrum = torch.fft.rfft((frames - 0.97 * before) * self.window, n=_N_FFT)
        power = spectrum.real.square() + spectrum.imag.square()
        return torch.log(self.in_bands(power.transpose(1, 2)).clamp(min=_FLOOR))
