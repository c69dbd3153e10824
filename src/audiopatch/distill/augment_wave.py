"""Waveform augmentation in batches, on the device: what teacher and student both hear (function matching).

Beyer et al. 2022 ("Knowledge distillation: a good teacher is patient and consistent") ask for aggressive but *shared*
augmentation. Each step here acts on the share of clips it is given by chance; all draws come from one seed, so that a
batch is a function of (crops, seed) and a resumed run hears what an uninterrupted one would have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from audiopatch.catalog import unknown_name
from audiopatch.errors import UsageError

EQ_POINTS = 8
LOWEST_HZ, HIGHEST_HZ = 40.0, 16_000.0


@dataclass(frozen=True)
class WaveAugment:
    """wave (B, S) in [-1, 1] -> (B, n_samples); ``n_source`` says how long S must be.

    Each ``*_chance`` is the share of clips that a step changes.

    ``speed``           plays faster or slower by a factor, drawn evenly on a log scale; pitch moves along
    ``mix_chance``      adds another clip of the batch, 0 to 12 dB below
    ``filter_chance``   a smooth random equaliser of +-``eq_db`` and, half of the time each, a low and a high cut
    ``reverb_chance``   a synthetic room: decaying noise of 0.1 to 1 s
    ``codec_chance``    a steep cut between 3 and 14 kHz, holes above 1 kHz and coarse steps: what low bit rates lose
    ``noise_chance``    white to brown noise, 5 to 40 dB below
    ``gain_db``         the range of a random gain for every clip
    """

    sample_rate: int
    speed: tuple[float, float] = (0.8, 1.25)
    speed_chance: float = 0.5
    mix_chance: float = 0.5
    filter_chance: float = 0.4
    eq_db: float = 9.0
    reverb_chance: float = 0.15
    codec_chance: float = 0.15
    noise_chance: float = 0.15
    gain_db: tuple[float, float] = (-12.0, 6.0)

    @classmethod
    def gentle(cls, sample_rate: int) -> Self:
        """For runs of a few epochs, which do not overfit anyway: about half as much of everything."""
        return cls(
            sample_rate,
            speed_chance=0.3,
            mix_chance=0.25,
            filter_chance=0.2,
            reverb_chance=0.08,
            codec_chance=0.08,
            noise_chance=0.08,
        )

    def n_source(self, n_samples: int) -> int:
        """How many samples a crop needs so that the fastest playing still fills ``n_samples``."""
        return math.ceil(n_samples * self.speed[1]) + 1

    def __call__(self, wave: Tensor, n_samples: int, *, seed: int) -> Tensor:
        draw = torch.Generator(wave.device).manual_seed(seed)
        wave = self._change_speed(wave, n_samples, draw)
        steps: tuple[tuple[float, Callable[[Tensor, torch.Generator], Tensor]], ...] = (
            (self.mix_chance, _mix),
            (self.filter_chance, self._filter),
            (self.reverb_chance, self._reverb),
            (self.codec_chance, self._codec),
            (self.noise_chance, self._add_noise),
        )
        for chance, step in steps:
            chosen = _uniform(draw, len(wave)) < chance
            if chosen.any():
                wave = wave.index_put((chosen,), step(wave[chosen], draw))
        gain = _decibel(_uniform(draw, len(wave), *self.gain_db))
        return (wave * gain[:, None]).clamp(-1, 1)

    def _change_speed(self, wave: Tensor, n_samples: int, draw: torch.Generator) -> Tensor:
        """Linear interpolation: its soft top end is one more variation, heard by both models."""
        log_factor = _uniform(draw, len(wave), *map(math.log, self.speed))
        changed = _uniform(draw, len(wave)) < self.speed_chance
        result = wave[:, :n_samples].clone()
        at = torch.arange(n_samples, device=wave.device) * log_factor[changed].exp()[:, None]
        left, source = at.long().clamp(max=wave.shape[1] - 2), wave[changed]
        result[changed] = torch.lerp(source.gather(1, left), source.gather(1, left + 1), (at - left).to(wave.dtype))
        return result

    def _filter(self, wave: Tensor, draw: torch.Generator) -> Tensor:
        hz = _bin_hz(wave.shape[1], self.sample_rate).to(wave.device)
        gain_db = _uniform(draw, (len(wave), EQ_POINTS), -self.eq_db, self.eq_db)
        curve = _decibel(gain_db @ _eq_weights(wave.shape[1], self.sample_rate).to(wave.device))
        low, high = _log_uniform(draw, len(wave), 30.0, 300.0), _log_uniform(draw, len(wave), 4_000.0, 14_000.0)
        low = torch.where(_uniform(draw, len(wave)) < 0.5, low, 0.0)
        high = torch.where(_uniform(draw, len(wave)) < 0.5, high, float(self.sample_rate))
        edges = torch.sigmoid((hz - low[:, None]) / 10) * torch.sigmoid((high[:, None] - hz) / 200)
        return _times(wave, curve * edges)

    def _reverb(self, wave: Tensor, draw: torch.Generator) -> Tensor:
        t60_s, wet = _log_uniform(draw, len(wave), 0.1, 1.0), _uniform(draw, len(wave), 0.1, 0.6)
        t_s = torch.arange(min(wave.shape[1], self.sample_rate), device=wave.device) / self.sample_rate
        tail = _normal(draw, (len(wave), len(t_s))) * torch.exp(-6.9 * t_s / t60_s[:, None])  # -60 dB after t60
        tail = tail / tail.square().sum(1, keepdim=True).sqrt() * wet[:, None]
        room = torch.fft.rfft(tail, n=wave.shape[1])
        return _times(wave, 1 + room)

    def _codec(self, wave: Tensor, draw: torch.Generator) -> Tensor:
        hz = _bin_hz(wave.shape[1], self.sample_rate).to(wave.device)
        kept = (hz < _log_uniform(draw, len(wave), 3_000.0, 14_000.0)[:, None]).to(wave.dtype)
        for _ in range(4):
            centre = _log_uniform(draw, len(wave), 1_000.0, 14_000.0)[:, None]
            kept = kept * ((hz - centre).abs() > 0.04 * centre)
        steps = _log_uniform(draw, len(wave), 64.0, 4096.0)[:, None]
        return torch.round(_times(wave, kept) * steps) / steps

    def _add_noise(self, wave: Tensor, draw: torch.Generator) -> Tensor:
        hz = _bin_hz(wave.shape[1], self.sample_rate).to(wave.device).clamp(min=LOWEST_HZ)
        slope = _uniform(draw, len(wave))[:, None]  # 0: white, 1: brown
        noise = _times(_normal(draw, wave.shape), hz**-slope)
        below = _decibel(_uniform(draw, len(wave), -40.0, -5.0))
        return wave + noise * ((_rms(wave) + 1e-4) * below / _rms(noise))[:, None]


AUGMENTATIONS: dict[str, Callable[[int], WaveAugment]] = {"full": WaveAugment, "gentle": WaveAugment.gentle}


def augmentation(name: str, sample_rate: int) -> WaveAugment:
    """The one called ``name``; a UsageError that lists them where there is none."""
    if name not in AUGMENTATIONS:
        raise UsageError(unknown_name("augmentation", name, AUGMENTATIONS))
    return AUGMENTATIONS[name](sample_rate)


def _mix(wave: Tensor, draw: torch.Generator) -> Tensor:
    """Each clip plus its neighbour in the batch, scaled to the same loudness and then 0 to 12 dB below it."""
    other = wave.roll(1, dims=0)
    gain = _rms(wave) / (_rms(other) + 1e-4) * _decibel(_uniform(draw, len(wave), -12.0, 0.0))
    return (wave + other * gain[:, None]) * 0.7


def _times(wave: Tensor, spectrum: Tensor) -> Tensor:
    """Filter a clip by multiplying its spectrum: no delay, and what rings past the end comes in at the start."""
    return torch.fft.irfft(torch.fft.rfft(wave) * spectrum, n=wave.shape[1])


@lru_cache(maxsize=4)
def _bin_hz(n_samples: int, sample_rate: int) -> Tensor:
    return torch.fft.rfftfreq(n_samples, 1 / sample_rate)


@lru_cache(maxsize=4)
def _eq_weights(n_samples: int, sample_rate: int) -> Tensor:
    """(EQ_POINTS, bins): straight lines between points spaced evenly in octaves, like the knobs of an equaliser."""
    hz = _bin_hz(n_samples, sample_rate).clamp(LOWEST_HZ, HIGHEST_HZ)
    place = (hz / LOWEST_HZ).log() / math.log(HIGHEST_HZ / LOWEST_HZ) * (EQ_POINTS - 1)
    return (1 - (place - torch.arange(EQ_POINTS)[:, None]).abs()).clamp(min=0)


def _rms(wave: Tensor) -> Tensor:
    return wave.square().mean(dim=1).sqrt()


def _decibel(db: Tensor) -> Tensor:
    return torch.exp(db * (math.log(10) / 20))


def _uniform(draw: torch.Generator, size: int | tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
    return torch.rand(size, generator=draw, device=draw.device) * (high - low) + low


def _log_uniform(draw: torch.Generator, size: int, low: float, high: float) -> Tensor:
    return _uniform(draw, size, math.log(low), math.log(high)).exp()


def _normal(draw: torch.Generator, size: tuple[int, ...]) -> Tensor:
    return torch.randn(size, generator=draw, device=draw.device)


def resample_fft(wave: Tensor, rate: int, new_rate: int) -> Tensor:
    """wave (B, S) at ``rate`` Hz -> (B, S * new_rate / rate), by cutting or padding its spectrum.

    An ideal low-pass; the clip counts as periodic, so that its two ends ring into each other.
    """
    if rate == new_rate:
        return wave
    n_new = round(wave.shape[1] * new_rate / rate)
    spectrum = torch.fft.rfft(wave)[:, : n_new // 2 + 1]
    return torch.fft.irfft(spectrum, n=n_new) * (n_new / wave.shape[1])
