"""Prints: copies are found, whatever was done to them; other music, rests and fades are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr
import torch

from audiopatch.audio.pool import decode
from audiopatch.distill.prints import Prints, print_of

MUSIC = Path(__file__).parents[2] / "examples/music"
RATE = 16_000


@pytest.fixture(scope="module")
def music() -> dict[str, np.ndarray]:
    return {path.stem: decode(path, RATE) for path in sorted(MUSIC.iterdir()) if path.suffix != ".md"}


@pytest.fixture(scope="module")
def prints(music) -> Prints:
    return Prints((name, print_of(wave, RATE)) for name, wave in music.items())


@pytest.mark.parametrize("start_s", [0.0, 2.11, 3.3])
def test_a_quieter_copy_at_a_quarter_of_the_rate_is_found(music, prints, start_s):
    for name, wave in music.items():
        part = 0.1 * wave[round(start_s * RATE) :]
        low = soxr.resample(part + 1e-4 * np.random.default_rng(0).standard_normal(len(part)), RATE, 8_000)
        assert prints.find(print_of(low.astype(np.float32), 8_000)) == name


def test_other_music_is_not(music):
    for name in music:
        others = Prints((other, print_of(wave, RATE)) for other, wave in music.items() if other != name)
        assert others.find(print_of(music[name], RATE)) is None


def test_silence_and_tones_are_like_nothing_not_even_like_themselves():
    seconds = np.arange(20 * RATE) / RATE
    for wave in (0 * seconds, 1e-4 * np.sin(2 * np.pi * 440 * seconds)):
        columns = print_of(wave.astype(np.float32), RATE)
        assert Prints([("itself", columns)]).find(columns) is None


def test_recordings_that_fade_alike_are_not_taken_for_each_other(music):
    seconds = np.arange(20 * RATE) / RATE
    rng = np.random.default_rng(0)
    sounds = {f"{hz} Hz": np.sin(2 * np.pi * hz * seconds) for hz in (440, 660)}
    sounds |= {f"hiss {n}": rng.standard_normal(len(seconds)) for n in range(2)}
    sounds |= {name: wave[: len(seconds)] for name, wave in music.items()}
    for fade in (np.exp(-seconds / 3), 1 - seconds / 20):
        columns = {name: print_of((fade * wave).astype(np.float32), RATE) for name, wave in sounds.items()}
        for name in columns:
            others = Prints(item for item in columns.items() if item[0] != name)
            assert others.find(columns[name]) is None


def test_two_recordings_with_a_rest_at_the_same_place_are_two(music):
    faded = np.ones(20 * RATE, np.float32)
    faded[8 * RATE : 10 * RATE] = np.linspace(1, 0, 2 * RATE)
    faded[10 * RATE : 12 * RATE] = 0
    with_rest = {name: print_of(wave[: 20 * RATE] * faded[: len(wave)], RATE) for name, wave in music.items()}
    for name, columns in with_rest.items():
        assert Prints(item for item in with_rest.items() if item[0] != name).find(columns) is None
        assert Prints(with_rest.items()).find(columns) == name


def test_what_is_too_short_has_no_print_and_many_recordings_are_searched_in_parts(music, prints):
    assert prints.find(print_of(np.zeros(100, np.float32), RATE)) is None
    assert Prints([]).find(print_of(next(iter(music.values())), RATE)) is None
    hours = [(f"noise {n}", torch.randn(15, 6_000, generator=torch.Generator().manual_seed(n))) for n in range(9)]
    wanted = {name: print_of(wave, RATE) for name, wave in music.items()}
    many = Prints([*hours[:4], *wanted.items(), *hours[4:]])
    assert [many.find(columns) for columns in wanted.values()] == list(wanted)
