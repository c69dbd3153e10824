"""Calibrating a student's scores: a regression pulls them towards the mean, where rare tags never reach a threshold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.distill.agreement import plans_for
from audiopatch.distill.augment_wave import resample_fft
from audiopatch.distill.pieces import Pieces
from audiopatch.distill.stopping import never, until
from audiopatch.distill.teacher import Teachers
from audiopatch.distill.vocabulary import Together
from audiopatch.models.heads import JointHead
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import parse_plan


@torch.no_grad()
def calibrate(
    tagger: Tagger,
    teachers: Teachers | Together,
    pieces: Pieces,
    *,
    n_clips: int = 480,
    clip_s: float = 10.0,
    plans: Sequence[str] = ("F0T0", "F3T2"),
    seed: int = 0,
    stop: Callable[[], bool] = never,
) -> None:
    """Change the last layer of ``tagger`` so that its scores fit the teachers' on random clips of ``pieces``.

    One scale and one offset per class (Platt 1999, with the teacher's scores as targets), fitted over all ``plans``
    together that leave something of its grid; the order of clips within a class stays as it was. StopAsked where
    ``stop`` says so between two batches.
    """
    said, meant = [], []
    for wave in until(stop, samples(pieces, n_clips, clip_s, tagger.device, seed=seed)):
        target = teachers(wave, pieces.sample_rate).logits.sigmoid()
        mel = tagger.frontend(resample_fft(wave, pieces.sample_rate, tagger.frontend.sample_rate))
        for plan in plans_for(tagger, plans):
            said.append(tagger(mel, parse_plan(plan)).logits)
            meant.append(target)
    scale, offset = fit_affine(torch.cat(said), torch.cat(meant))
    start = 0
    for layer in last_linears(tagger.head):
        rows = slice(start, start + layer.out_features)
        layer.weight.mul_(scale[rows, None])
        layer.bias.mul_(scale[rows]).add_(offset[rows])
        start = rows.stop


def samples(
    pieces: Pieces, n_clips: int, clip_s: float, device: torch.device, *, seed: int = 0, batch_size: int = 24
) -> Iterator[Tensor]:
    """wave (batch_size, S) at the pieces' rate, until there were ``n_clips`` clips; always the same ones."""
    rng = np.random.default_rng(seed)
    for _ in range(0, n_clips, batch_size):
        crops = pieces.random(rng, batch_size, round(clip_s * pieces.sample_rate))
        yield torch.as_tensor(crops, device=device).float() / 32768


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


def last_linears(head: nn.Module) -> list[nn.Linear]:
    """The layers of a head that give the logits, in their order: one, or one for each part of a joint head."""
    parts = list(head.heads.values()) if isinstance(head, JointHead) else [head]
    return [[layer for layer in part.modules() if isinstance(layer, nn.Linear)][-1] for part in parts]
