"""Training clips: from places in an epoch, in its order, to a batch of waveforms and targets, augmented."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from audiopatch.datasets.recipe import Item, targets
from audiopatch.datasets.waves import Waves
from audiopatch.training.config import Augment, Sampling


@dataclass
class Batch:  # not frozen: Fabric rebuilds its inputs field by field
    """B clips and, where mixup is on, the B others to be mixed into their mels; the answers are mixed already.

    wave, other (B, S); share (B,) how much of the first stays; target, teacher (B, C); known (B, C) bool as float.
    ``rngs`` go on drawing for each clip (masks on the mel).
    """

    wave: Tensor
    target: Tensor
    known: Tensor
    rngs: list[np.random.Generator]
    share: Tensor
    other: Tensor | None = None
    teacher: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        moved = {
            name: value.to(device, non_blocking=True) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class Clips:
    """The clips of a split with their targets; every batch is a function of (seed, epoch, places)."""

    items: Sequence[Item]
    waves: Waves
    truth: np.ndarray
    known: np.ndarray
    n_samples: int
    augment: Augment
    seed: int
    teacher: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        items: Sequence[Item],
        waves: Waves,
        labels: Sequence[str],
        *,
        segment_samples: int,
        augment: Augment,
        seed: int,
        teacher: np.ndarray | None = None,
    ) -> Clips:
        """Crops are of the model's segment, or of the longest clip where all are shorter."""
        truth, known = targets(items, labels)
        n_samples = min(segment_samples, max(waves.n_samples(item.path) for item in items))
        return cls(items, waves, truth, known, n_samples, augment, seed, teacher)

    @property
    def digest(self) -> str:
        """Which clips with which labels: a resumed run must find the same."""
        lines = (f"{item.path.name}|{item.labels}" for item in self.items)
        return hashlib.blake2b("\n".join(lines).encode(errors="replace"), digest_size=8).hexdigest()

    def batch(self, order: np.ndarray, places: Sequence[int], epoch: int) -> Batch:
        """The clips at ``places`` of the epoch's ``order``."""
        rngs = [np.random.default_rng([self.seed, epoch, place]) for place in places]
        own = _stacked([self._example(order, place, rng) for place, rng in zip(places, rngs, strict=True)])
        share = np.ones(len(rngs), np.float32)
        other = own
        if self.augment.mixup_chance:
            chance, alpha = self.augment.mixup_chance, self.augment.mixup_alpha
            share = np.array([mix_share(chance, alpha, rng) for rng in rngs], np.float32)
            other = _stacked([self._example(order, int(rng.integers(len(order))), rng) for rng in rngs])
        mixed = _mixed(own, other, share)
        return Batch(
            torch.from_numpy(own.wave),
            torch.from_numpy(mixed.target),
            torch.from_numpy(mixed.known),
            rngs,
            torch.from_numpy(share),
            None if other is own else torch.from_numpy(other.wave),
            None if self.teacher is None else torch.from_numpy(mixed.teacher),
        )

    def _example(self, order: np.ndarray, place: int, rng: np.random.Generator) -> Example:
        """One clip with its answers, another's waveform mixed in where that is asked for."""
        own = self._clip(int(order[place]), rng)
        if not self.augment.wave_mixup_chance:
            return own
        share = mix_share(self.augment.wave_mixup_chance, self.augment.wave_mixup_alpha, rng)
        other = self._clip(int(order[rng.integers(len(order))]), rng)
        both = _mixed(_stacked([own]), _stacked([other]), np.array([share], np.float32))
        return Example(share * own.wave + (1 - share) * other.wave, *(values[0] for values in both[1:]))

    def _clip(self, clip: int, rng: np.random.Generator) -> Example:
        """A random crop (S,), with silence after a clip that is shorter, augmented; its answers (C,)."""
        path = self.items[clip].path
        start = crop(self.waves.n_samples(path), self.n_samples, rng)
        wave = self.waves.read(path, start, self.n_samples)
        wave = np.pad(wave, (0, self.n_samples - len(wave)))
        wave = change_wave(wave, self.augment, self.waves.sample_rate, rng)
        taught = self.truth if self.teacher is None else self.teacher
        return Example(wave, self.truth[clip], self.known[clip].astype(np.float32), taught[clip])


class Example(NamedTuple):
    """A waveform (S,) and its answers (C,) in float32; or a stack of them, (B, S) and (B, C)."""

    wave: np.ndarray
    target: np.ndarray
    known: np.ndarray
    teacher: np.ndarray


def _stacked(examples: Sequence[Example]) -> Example:
    return Example(*(np.stack(values).astype(np.float32) for values in zip(*examples, strict=True)))


def _mixed(own: Example, other: Example, share: np.ndarray) -> Example:
    """The answers to two stacks mixed with ``share`` (B,) of the first; known is what is known of all that sounds."""
    part = share[:, None]
    known = own.known * np.where(part == 1, 1, other.known)
    target, teacher = (part * a + (1 - part) * b for a, b in ((own.target, other.target), (own.teacher, other.teacher)))
    return Example(own.wave, target, known.astype(np.float32), teacher)


def epoch_order(truth: np.ndarray, config: Sampling, *, seed: int, epoch: int) -> np.ndarray:
    """truth (N, C) -> indices of the clips of one epoch, a multiple of the batch size long.

    The last, incomplete batch waits for another epoch's shuffle; a set smaller than one batch is repeated to fill it.
    """
    rng = np.random.default_rng([seed, epoch])
    n = len(truth)
    wanted = min(config.epoch_clips or n, n)
    if config.balanced:
        order = _balanced(truth, wanted, config.balance_offset, rng)
    else:
        order = rng.permutation(n)[:wanted]
    if len(order) < config.batch_size:
        return np.resize(order, config.batch_size)
    return order[: len(order) // config.batch_size * config.batch_size]


def _balanced(truth: np.ndarray, n: int, offset: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` clips without replacement, weighted by the inverse frequency of their labels.

    Drawing without replacement with weights w is taking the smallest of exponential times with rates w.
    """
    weights = (truth * (1000.0 / (truth.sum(axis=0) + offset))).sum(axis=1)
    times = rng.exponential(size=len(truth)) / np.maximum(weights, 1e-12)
    return np.argsort(times)[:n]


def in_epoch(config: Augment, epoch: int) -> Augment:
    """What is done in an epoch (from 0): no masks once ``mask_epochs`` have gone by."""
    if config.mask_epochs and epoch >= config.mask_epochs:
        return replace(config, mask_frames=(0, 0), mask_bands=(0, 0))
    return config


def crop(n_samples: int, length: int, rng: np.random.Generator) -> int:
    """Where a random crop of ``length`` starts in a clip of ``n_samples``."""
    return int(rng.integers(max(0, n_samples - length) + 1))


def change_wave(wave: np.ndarray, config: Augment, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """wave (S,) -> (S,): a random gain of up to ±``gain_db``, rolled around by up to ±``roll_s``."""
    if config.roll_s:
        furthest = round(config.roll_s * sample_rate)
        wave = np.roll(wave, int(rng.integers(-furthest, furthest + 1)))
    if config.gain_db:
        wave = wave * np.float32(10 ** (rng.uniform(-config.gain_db, config.gain_db) / 20))
    return wave


def mix_share(chance: float, alpha: float, rng: np.random.Generator) -> float:
    """How much of a clip stays when another is mixed in; 1 for the clips left alone."""
    if rng.random() >= chance:
        return 1.0
    share = float(rng.beta(alpha, alpha))
    return max(share, 1 - share)  # PaSST: the first clip always leads


def mask_mel(mel: Tensor, config: Augment, rngs: list[np.random.Generator]) -> Tensor:
    """mel (B, n_mels, frames) -> the same with groups of frames and bands at zero, the training set's mean."""
    if not config.mask_frames[0] and not config.mask_bands[0]:
        return mel
    keep = torch.ones(mel.shape, dtype=torch.bool)
    for clip, rng in enumerate(rngs):
        for axis, (n_groups, width) in ((1, config.mask_frames), (0, config.mask_bands)):
            size = mel.shape[axis + 1]
            for _ in range(n_groups):
                wide = min(size, int(rng.integers(width + 1)) if config.mask_random_width else width)
                start = int(rng.integers(size - wide + 1))
                keep[clip].narrow(axis, start, wide).fill_(False)
    return mel * keep.to(mel.device)
