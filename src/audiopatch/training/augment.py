"""What training does to clips: every draw is a function of (seed, epoch, place in the epoch), never of the batch.

So one process and two see the same clips, and a resumed run sees what an uninterrupted one would have.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from audiopatch.training.config import Augment


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
