"""Waveform augmentation: deterministic, harmless where it should do nothing, and each step does what it says."""

from __future__ import annotations

import math

import pytest
import torch

from audiopatch.distill.augment_wave import WaveAugment

RATE = 8000
NONE = {f"{step}_chance": 0.0 for step in ("speed", "mix", "filter", "reverb", "codec", "noise")}
STEPS = tuple(NONE)


def clips(n_samples: int, batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, n_samples, generator=torch.Generator().manual_seed(1)) * 0.1


def only(**options) -> WaveAugment:
    return WaveAugment(RATE, **{**NONE, "gain_db": (0.0, 0.0), **options})


def power_at(wave: torch.Tensor, low_hz: float, high_hz: float) -> torch.Tensor:
    hz = torch.fft.rfftfreq(wave.shape[1], 1 / RATE)
    return torch.fft.rfft(wave).abs().square()[:, (hz >= low_hz) & (hz < high_hz)].sum(1)


def test_without_steps_the_clip_is_its_own_beginning():
    augment = only()
    wave = clips(augment.n_source(4000))
    assert torch.equal(augment(wave, 4000, seed=0), wave[:, :4000])


def test_a_seed_fixes_everything_and_another_changes_it():
    augment = WaveAugment(RATE)
    wave = clips(augment.n_source(4000), batch=16)
    first, again, other = (augment(wave, 4000, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (16, 4000) and first.isfinite().all() and first.abs().max() <= 1


@pytest.mark.parametrize("step", STEPS)
def test_each_step_changes_every_chosen_clip_and_stays_finite(step):
    augment = only(**{step: 1.0})
    wave = clips(augment.n_source(4000))
    changed = augment(wave, 4000, seed=3)
    assert changed.isfinite().all()
    assert ((changed - wave[:, :4000]).abs().amax(1) > 1e-3).all()


@pytest.mark.parametrize("step", STEPS)
def test_silence_stays_finite(step):
    augment = only(**{step: 1.0})
    assert augment(torch.zeros(3, augment.n_source(4000)), 4000, seed=5).isfinite().all()


def test_speed_moves_a_tone_by_at_most_its_range():
    augment = only(speed_chance=1.0)
    n = RATE
    t_s = torch.arange(augment.n_source(n)) / RATE
    tone = torch.sin(2 * math.pi * 500 * t_s).expand(16, -1)
    peak_hz = torch.fft.rfft(augment(tone, n, seed=2)).abs().argmax(1).float()
    assert (peak_hz >= 399).all() and (peak_hz <= 626).all()
    assert peak_hz.min() < 450 and peak_hz.max() > 550


def test_gain_is_within_its_range():
    augment = WaveAugment(RATE, **{**NONE, "gain_db": (-6.0, 6.0)})
    wave = clips(augment.n_source(4000), batch=32)
    db = 20 * (augment(wave, 4000, seed=0).square().mean(1) / wave[:, :4000].square().mean(1)).sqrt().log10()
    assert db.min() >= -6.01 and db.max() <= 6.01 and db.max() - db.min() > 6


def test_noise_is_below_the_music():
    augment = only(noise_chance=1.0)
    wave = clips(augment.n_source(4000), batch=32)
    noise = augment(wave, 4000, seed=0) - wave[:, :4000]
    below_db = 10 * (wave[:, :4000].square().mean(1) / noise.square().mean(1)).log10()
    assert below_db.min() > 4.9 and below_db.max() < 40.1


def test_reverb_rings_on_after_a_click():
    augment = only(reverb_chance=1.0)
    click = torch.zeros(8, augment.n_source(RATE))
    click[:, 10] = 1.0
    room = augment(click, RATE, seed=1)
    early, late = room[:, 11:800].square().sum(1), room[:, 6000:].square().sum(1)
    assert (early > 0.005).all() and (late < early / 10).all()


def test_codec_takes_the_top_away():
    augment = WaveAugment(32_000, **{**NONE, "codec_chance": 1.0, "gain_db": (0.0, 0.0)})
    wave = clips(augment.n_source(32_000), batch=8)
    top = torch.fft.rfft(augment(wave, 32_000, seed=0)).abs().square()[:, 14_100:].mean(1)
    before = torch.fft.rfft(wave[:, :32_000]).abs().square()[:, 14_100:].mean(1)
    assert (top < 0.01 * before).all()
