"""Triangular mel filterbanks, in the conventions that published models were trained with."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def slaney_filterbank(n_mels: int, n_fft: int, sample_rate: int) -> Tensor:
    """(n_fft / 2 + 1, n_mels): triangles linear in Hz on Slaney's mel scale, each of unit area, 0 to Nyquist.

    The "slaney"/"slaney" setting of torchaudio and librosa (Auditory Toolbox), which MAEST uses.
    """
    hz = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    corners = _slaney_to_hz(torch.linspace(0, _hz_to_slaney(sample_rate / 2), n_mels + 2, dtype=torch.float64))
    return (_triangles(hz, corners) * 2 / (corners[2:] - corners[:-2])).float()


def htk_filterbank(n_mels: int, n_fft: int, sample_rate: int) -> Tensor:
    """(n_fft / 2 + 1, n_mels): triangles linear in Hz between corners on the HTK mel scale, of height 1, 0 to Nyquist.

    torchaudio's default ("htk", no norm), which CED and Dasheng use.
    """
    hz = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    mels = torch.linspace(0, _hz_to_htk(sample_rate / 2), n_mels + 2, dtype=torch.float64)
    return _triangles(hz, 700 * torch.expm1(mels / 1127)).float()


def kaldi_filterbank(n_mels: int, n_fft: int, sample_rate: int, low_hz: float, high_hz: float) -> Tensor:
    """(n_fft / 2 + 1, n_mels): triangles linear on the HTK mel scale, of height 1; the Nyquist bin is zero.

    Kaldi's convention (mel = 1127 ln(1 + f / 700)), which PaSST, EfficientAT and AST use.
    """
    edges = torch.linspace(_hz_to_htk(low_hz), _hz_to_htk(high_hz), n_mels + 2, dtype=torch.float64)
    hz = torch.arange(n_fft // 2, dtype=torch.float64) * sample_rate / n_fft
    triangles = _triangles(1127 * torch.log1p(hz / 700), edges)
    return torch.cat([triangles, triangles.new_zeros(1, n_mels)]).float()


def _triangles(place: Tensor, corners: Tensor) -> Tensor:
    """(bins,), (n_mels + 2,) -> (bins, n_mels): up from one corner to the next, and down to the one after."""
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rise, fall = (place[:, None] - left) / (centre - left), (right - place[:, None]) / (right - centre)
    return torch.minimum(rise, fall).clamp(min=0)


def _hz_to_htk(hz: float) -> float:
    return 1127 * math.log1p(hz / 700)


# Slaney's scale: 3 mel per 200 Hz up to 1 kHz, then 27 mel for each factor of 6.4.
_HZ_PER_MEL, _KNEE_HZ, _LOG_STEP = 200 / 3, 1000.0, math.log(6.4) / 27


def _hz_to_slaney(hz: float) -> float:
    if hz < _KNEE_HZ:
        return hz / _HZ_PER_MEL
    return _KNEE_HZ / _HZ_PER_MEL + math.log(hz / _KNEE_HZ) / _LOG_STEP


def _slaney_to_hz(mel: Tensor) -> Tensor:
    knee = _KNEE_HZ / _HZ_PER_MEL
    return torch.where(mel < knee, mel * _HZ_PER_MEL, _KNEE_HZ * torch.exp((mel - knee) * _LOG_STEP))
