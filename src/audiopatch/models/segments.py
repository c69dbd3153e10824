"""From whole clips to one result each: cut into segments, run in batches across clips, averaged per clip."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from audiopatch.audio.cut import segment_starts
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import NO_REDUCTION, Plan
from audiopatch.types import CutSpec

Compute = Callable[[Tensor, Tensor], Tensor]  # wave (B, S), seeds (B,) -> (B, ...)


def clip_scores(
    tagger: Tagger,
    clips: Iterable[np.ndarray],
    *,
    plan: Plan = NO_REDUCTION,
    overlap: float = 0.5,
    batch_size: int = 16,
) -> np.ndarray:
    """Waveforms (S,) at the model's rate -> (N, C): the mean over segments of the scores, as ``tag`` gives them."""

    def scores(wave: Tensor, seeds: Tensor) -> Tensor:
        return tagger.scores(tagger(tagger.frontend(wave), plan, seeds=seeds).logits)

    return mean_over_segments(tagger, clips, scores, overlap=overlap, batch_size=batch_size)


def mean_over_segments(
    tagger: Tagger, clips: Iterable[np.ndarray], compute: Compute, *, overlap: float, batch_size: int
) -> np.ndarray:
    """The mean of ``compute`` over each clip's segments, (N, ...) float32, without gradients.

    Full segments of different clips share batches; a clip shorter than one segment runs at its own length.
    """
    rate = tagger.frontend.sample_rate
    spec = CutSpec(rate, tagger.card.segment_s, overlap)
    queues: dict[int, list[tuple[int, int, np.ndarray]]] = defaultdict(list)
    sums: dict[int, np.ndarray] = {}
    counts: dict[int, int] = {}

    def run(queue: list[tuple[int, int, np.ndarray]]) -> None:
        wave = torch.from_numpy(np.stack([wave for _, _, wave in queue])).to(tagger.device)
        seeds = torch.tensor([clip * 1000 + segment for clip, segment, _ in queue], device=tagger.device)
        for (clip, _, _), result in zip(queue, compute(wave, seeds).float().cpu().numpy(), strict=True):
            sums[clip] = sums.get(clip, 0) + result
        queue.clear()

    with torch.inference_mode():
        for clip, wave in enumerate(clips):
            wave = np.pad(wave, (0, max(0, tagger.frontend.min_samples - len(wave))))
            starts = segment_starts(len(wave), spec)
            counts[clip] = len(starts)
            for segment, start in enumerate(starts):
                cut = wave[start : start + spec.segment_samples]
                queue = queues[len(cut)]
                queue.append((clip, segment, cut))
                if len(queue) == batch_size:
                    run(queue)
        for queue in queues.values():
            if queue:
                run(queue)
    return np.stack([sums[clip] / counts[clip] for clip in range(len(counts))]).astype(np.float32)
