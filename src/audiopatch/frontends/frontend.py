"""What every front-end is: a module from waveform to normalised log-mel, always in fp32."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.errors import UsageError


class Frontend(nn.Module):
    """waveform (B, S) in [-1, 1] -> normalised log-mel (B, n_mels, frames), fp32 even under autocast.

    ``n_frames`` is the longest input the model takes; later frames are cut, as the references do. Where ``pads`` is
    true, shorter inputs get zeros up to ``n_frames``, and get them before normalising, so the padding is not zero.
    ``min_samples`` is the shortest waveform that still gives the model something to look at.
    ``mean`` and ``scale`` normalise the log-mel: (x - mean) / scale.
    """

    sample_rate: int
    n_mels: int
    hop_length: int
    min_samples: int
    window: Tensor
    filterbank: Tensor
    _spans: tuple[tuple[slice, slice], ...]
    mean: float
    scale: float
    pads = False

    def __init__(self, n_frames: int | None):
        super().__init__()
        self.n_frames = n_frames

    def forward(self, wave: Tensor, only: Sequence[int] | None = None) -> Tensor:
        """wave (B, S) -> mel (B, n_mels, frames); fewer than ``min_samples`` is a UsageError.

        ``only`` names the frames that will be read, ascending; the others may be left zero.
        """
        return self._mel(wave, self.n_frames, only)

    def whole(self, wave: Tensor) -> Tensor:
        """The same, neither cut nor padded to ``n_frames``."""
        return self._mel(wave, None)

    def _mel(self, wave: Tensor, n_frames: int | None, only: Sequence[int] | None = None) -> Tensor:
        if wave.ndim != 2:
            raise UsageError(f"a front-end takes waveforms of shape (batch, samples), not {tuple(wave.shape)}")
        if wave.shape[1] < self.min_samples:
            raise UsageError(f"{wave.shape[1]} samples are too few for this front-end; it needs {self.min_samples}")
        with torch.autocast(wave.device.type, enabled=False):
            # one at a time a CPU keeps a clip's spectrum in its cache: half the time for a batch of 8 (Zen 3)
            clips = wave.float().split(1 if wave.device.type == "cpu" else len(wave))
            if only is not None and not self.pads:
                return torch.cat([self._at(clip, only, n_frames) for clip in clips])
            mel = torch.cat([self.log_mel(clip) for clip in clips])[..., :n_frames]
            if self.pads and n_frames is not None:
                mel = F.pad(mel, (0, n_frames - mel.shape[2]))
            return (mel - self.mean) / self.scale

    def _at(self, wave: Tensor, frames: Sequence[int], n_frames: int | None) -> Tensor:
        """The normalised log-mel at ``frames``, and zeros elsewhere."""
        mel = wave.new_zeros(len(wave), self.n_mels, self.whole_frames(wave.shape[1]))[..., :n_frames]
        spans = runs_of(frames)
        parts = ((self.log_mel_at(wave, frames) - self.mean) / self.scale).split(
            [end - first for first, end in spans], 2
        )
        for (first, end), part in zip(spans, parts, strict=True):
            mel[..., first:end] = part
        return mel

    def _set_filterbank(self, bank: Tensor) -> None:
        """``bank`` (bins, n_mels): its bands from the lowest to the highest."""
        self.register_buffer("filterbank", bank, persistent=False)
        self._spans = tuple(_span(bank, bands) for bands in torch.arange(bank.shape[1]).chunk(_N_SPANS))

    def in_bands(self, power: Tensor) -> Tensor:
        """power (B, bins, frames) -> mel (B, n_mels, frames), leaving out most products with the bank's zeros."""
        power = power.transpose(1, 2)
        mels = [power[..., bins] @ self.filterbank[bins, bands] for bins, bands in self._spans]
        return torch.cat(mels, dim=2).transpose(1, 2)

    def frames_of(self, n_samples: int) -> int:
        """How many frames a waveform of ``n_samples`` gives."""
        if self.n_frames is None:
            return self.whole_frames(n_samples)
        return self.n_frames if self.pads else min(self.whole_frames(n_samples), self.n_frames)

    def whole_frames(self, n_samples: int) -> int:
        """The same, before cutting or padding to ``n_frames``."""
        return 1 + n_samples // self.hop_length

    def log_mel(self, wave: Tensor) -> Tensor:
        """The log-mel itself, without input checks, cutting, padding or normalising."""
        raise NotImplementedError

    def log_mel_at(self, wave: Tensor, frames: Sequence[int]) -> Tensor:
        """Some ``frames`` of ``log_mel``: (B, n_mels, len(frames))."""
        return self.log_mel(wave)[..., list(frames)]


_N_SPANS = 4  # runs of bands that are multiplied each with the bins it hears alone: a third of the time of all at once


def _span(bank: Tensor, bands: Tensor) -> tuple[slice, slice]:
    """The bins that some of neighbouring ``bands`` hear, and these bands."""
    heard = bank[:, bands].any(dim=1).nonzero()
    return slice(int(heard.min()), int(heard.max()) + 1), slice(int(bands[0]), int(bands[-1]) + 1)


def power_spectrum(wave: Tensor, *, n_fft: int, hop_length: int, window: Tensor, pad_mode: str = "reflect") -> Tensor:
    """wave (B, S) -> |STFT|² (B, n_fft / 2 + 1, frames), centred, both ends padded (reflected by default)."""
    half = n_fft // 2
    padded = _reflected(wave, half, half) if pad_mode == "reflect" else F.pad(wave, (half, half), mode=pad_mode)
    return _power(padded, n_fft, hop_length, window).transpose(1, 2)


def power_spectrum_at(
    part: Callable[[int, int], Tensor],
    n_samples: int,
    frames: Sequence[int],
    *,
    n_fft: int,
    hop_length: int,
    window: Tensor,
) -> Tensor:
    """``part(start, end)`` of a signal of ``n_samples``, (B, end - start) -> |STFT|² (B, n_fft / 2 + 1, len(frames)):
    those frames of ``power_spectrum``, and no others."""
    spans = runs_of(frames)
    ends = [(first * hop_length - n_fft // 2, (end - 1) * hop_length + n_fft // 2) for first, end in spans]
    pieces = [_around(part, n_samples, start, end) for start, end in ends]
    power = pieces[0].new_empty(len(pieces[0]), len(frames), n_fft // 2 + 1)
    outs = power.split([end - first for first, end in spans], dim=1)
    for piece, out in zip(pieces, outs, strict=True):
        _power(piece, n_fft, hop_length, window, out=out)
    return power.transpose(1, 2)


def _power(wave: Tensor, n_fft: int, hop_length: int, window: Tensor, out: Tensor | None = None) -> Tensor:
    """wave (B, S) -> the power of each whole frame in it (B, frames, n_fft / 2 + 1)."""
    margin = n_fft - len(window)
    window = F.pad(window, (margin // 2, margin - margin // 2))
    spectrum = torch.fft.rfft(wave.unfold(1, n_fft, hop_length) * window)
    squares = torch.view_as_real(spectrum).square()
    return torch.add(squares[..., 0], squares[..., 1], out=out)


def _around(part: Callable[[int, int], Tensor], n_samples: int, start: int, end: int) -> Tensor:
    """The samples of a signal from ``start`` to ``end``, reflected where those lie outside."""
    before, after = max(0, -start), max(0, end - n_samples)
    piece = part(max(0, start), min(n_samples, end))
    if not before and not after:
        return piece
    if max(before, after) < piece.shape[1]:
        return _reflected(piece, before, after)
    return _reflected(part(0, n_samples), before, after)[:, start + before : end + before]


def _reflected(wave: Tensor, before: int, after: int) -> Tensor:
    """wave (B, S) -> (B, before + S + after), mirrored at both ends; ``F.pad`` takes longer on a CPU."""
    last = wave.shape[1] - 1
    return torch.cat([wave[:, 1 : before + 1].flip(1), wave, wave[:, last - after : last].flip(1)], dim=1)


def runs_of(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """3, 4, 5, 9 -> (3, 6), (9, 10)."""
    starts = [n for before, n in zip((None, *numbers), numbers, strict=False) if before is None or n != before + 1]
    ends = [n + 1 for n, after in zip(numbers, (*numbers[1:], None), strict=True) if after != n + 1]
    return list(zip(starts, ends, strict=True))
