"""Prints of recordings, by which a copy is known whatever its codec, level or sample rate."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from audiopatch.audio.cut import Resampler
from audiopatch.audio.source import DecodedBlock
from audiopatch.frontends.filterbank import kaldi_filterbank

RATE, N_FFT, HOP = 8_000, 1024, 500  # Hz, samples, samples: all that the worst of copies may have kept
N_BANDS, LOW_HZ, HIGH_HZ = 16, 100.0, 3_500.0
FRAMES, EVERY = 8, 4  # each column is the mean of half a second, every quarter of one
FLOOR = 1e-6  # of the loudest band: what is quieter counts as silence
STRETCH = 18  # columns: two of them, and what the last column spans, fit into ten seconds
ALIKE = 0.75  # the correlation of copies; docs/default-model.md says what else was found
VARIED = 0.1  # nepers: what moves less has no print
BLOCK, N_SPECTRA = 16_384, 1024  # columns that are searched at once, and frames that are transformed


def print_of(wave: np.ndarray, sample_rate: int) -> Tensor:
    """wave (S,) float -> (N_BANDS - 1, four a second): how far each band is above the one below it, in nepers.

    So the level goes out, and with it fades.
    """
    resampler = Resampler(RATE)
    chunks = [*resampler.feed(DecodedBlock(sample_rate, wave)), *resampler.finish()]
    low = torch.from_numpy(np.concatenate(chunks))
    if len(low) < N_FFT + (FRAMES - 1) * HOP:
        return torch.empty(N_BANDS - 1, 0)
    window, bank = torch.hann_window(N_FFT), kaldi_filterbank(N_BANDS, N_FFT, RATE, LOW_HZ, HIGH_HZ)
    some = low.unfold(0, N_FFT, HOP).split(N_SPECTRA)  # since the spectra of hours would fill the memory
    bands = torch.cat([torch.fft.rfft(frames * window).abs().square() @ bank for frames in some])
    columns = bands.T.unfold(1, FRAMES, EVERY).mean(dim=2)
    heard = (columns + FLOOR * columns.max() + torch.finfo().tiny).log()
    return heard[1:] - heard[:-1]


class Prints:
    """Recordings by name, to be found again in others by two stretches of 4.5 s in a row.

    Each stretch is compared around its own mean: where one step, as into a rest, made one stretch of two recordings
    alike, the other stretch is not.
    """

    def __init__(self, recordings: Iterable[tuple[str, Tensor]]):
        """Names, and what ``print_of`` says of each."""
        self._blocks: list[tuple[Tensor, Tensor, list[str]]] = []
        waiting: list[tuple[str, Tensor]] = []
        for name, columns in recordings:
            if columns.shape[1] >= 2 * STRETCH:
                waiting.append((name, columns))
            if sum(columns.shape[1] for _, columns in waiting) >= BLOCK:
                self._blocks.append(_block(waiting))
                waiting = []
        if waiting:
            self._blocks.append(_block(waiting))

    def find(self, columns: Tensor) -> str | None:
        """The recording that is most like nine seconds of ``columns``; None where none is as a copy would be."""
        stretches, length = _stretches(columns, STRETCH)
        if len(stretches) < 2:
            return None
        name, best = None, ALIKE
        wanted = stretches * _inverse(length)[:, None, None]
        for known, scale, names in self._blocks:
            alike = torch.conv1d(known, wanted) * scale
            both = torch.minimum(alike[:-1, :-STRETCH], alike[1:, STRETCH:])
            top = float(both.max())
            if top > best:
                name, best = names[int(both.max(dim=0).values.argmax())], top
        return name


def _block(recordings: list[tuple[str, Tensor]]) -> tuple[Tensor, Tensor, list[str]]:
    """Recordings one after the other (bands, T), 1 / the size of the stretch from each column on, whose it is."""
    scale = torch.cat([_scale(columns) for _, columns in recordings])
    names = [name for name, columns in recordings for _ in range(columns.shape[1])]
    known = torch.cat([columns for _, columns in recordings], dim=1)
    return known, scale[: known.shape[1] - STRETCH + 1], names


def _scale(columns: Tensor) -> Tensor:
    """(T,); zero where a stretch would reach into the next recording."""
    _, length = _stretches(columns, 1)
    return torch.nn.functional.pad(_inverse(length), (0, columns.shape[1] - len(length)))


def _stretches(columns: Tensor, every: int) -> tuple[Tensor, Tensor]:
    """(bands, T) -> (N, bands, STRETCH) around their means over time, and their sizes (N,)."""
    if columns.shape[1] < STRETCH:
        return columns.new_empty(0, len(columns), STRETCH), columns.new_empty(0)
    stretches = columns.unfold(1, STRETCH, every).transpose(0, 1)
    around = stretches - stretches.mean(dim=2, keepdim=True)
    return around, around.square().sum(dim=(1, 2)).sqrt()


def _inverse(length: Tensor) -> Tensor:
    """1 / length; zero for what hardly moves, which is then like nothing."""
    least = VARIED * ((N_BANDS - 1) * STRETCH) ** 0.5
    return torch.where(length > least, 1 / length, 0.0)
