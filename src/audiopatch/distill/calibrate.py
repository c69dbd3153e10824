"""Calibrating a student's scores: a regression pulls them towards the mean, where rare tags never reach a threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.distill.augment_wave import resample_fft
from audiopatch.distill.pieces import Pieces
from audiopatch.distill.teacher import Teacher
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import parse_plan


@torch.no_grad()
def calibrate(
    tagger: Tagger,
    teacher: Teacher,
    pieces: Pieces,
    *,
    n_clips: int = 480,
    clip_s: float = 10.0,
    plans: Sequence[str] = ("F0T0", "F3T2"),
    seed: int = 0,
) -> None:
    """Change the last layer of ``tagger`` so that its scores fit the teacher's on random clips of ``pieces``.

    One scale and one offset per class (Platt 1999, with the teacher's scores as targets), fitted over all ``plans``
    together; the order of clips within a class stays as it was.
    """
    rng = np.random.default_rng(seed)
    said, meant = [], []
    for _ in range(0, n_clips, 24):
        crops = pieces.random(rng, 24, round(clip_s * pieces.sample_rate))
        wave = torch.from_numpy(crops).to(tagger.device).float() / 32768
        target = teacher(resample_fft(wave, pieces.sample_rate, teacher.sample_rate)).logits.sigmoid()
        mel = tagger.frontend(resample_fft(wave, pieces.sample_rate, tagger.frontend.sample_rate))
        for plan in plans:
            said.append(tagger(mel, parse_plan(plan)).logits)
            meant.append(target)
    scale, offset = fit_affine(torch.cat(said), torch.cat(meant))
    layer = last_linear(tagger.head)
    layer.weight.mul_(scale[:, None])
    layer.bias.mul_(scale).add_(offset)


def fit_affine(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """logits, target scores (N, C) -> scale > 0 and offset (C,) of least cross-entropy, drawn a little to 1 and 0."""
    centre = logits.mean(dim=0)
    log_scale = torch.zeros_like(centre, requires_grad=True)
    shift = torch.zeros_like(centre, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_scale, shift], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        fitted = (logits - centre) * log_scale.exp() + centre + shift
        error = F.binary_cross_entropy_with_logits(fitted, targets, reduction="sum")
        error = error + log_scale.square().sum() + 0.1 * shift.square().sum()
        error.backward()
        return error

    with torch.enable_grad():
        optimizer.step(loss)
    scale = log_scale.detach().exp()
    return scale, centre + shift.detach() - scale * centre


def last_linear(head: nn.Module) -> nn.Linear:
    """The layer of a head that gives the logits."""
    return [layer for layer in head.modules() if isinstance(layer, nn.Linear)][-1]
