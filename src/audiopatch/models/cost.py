"""What a model costs: parameters, and multiply-adds (MACs) for a plan and an input length, without running it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from audiopatch.errors import UsageError
from audiopatch.models.card import ModelCard, TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.models.transformer import SpectrogramTransformer
from audiopatch.reducers.plan import NO_REDUCTION, Plan
from audiopatch.reducers.trace import trace
from audiopatch.tokens import TokenGrid


@dataclass(frozen=True)
class Cost:
    """One input's cost. MACs count matrix products and convolutions, as the papers do; norms and softmax are left out.

    tokens       patch tokens after block 0 (patchout), 1, 2, ...; empty for a network without tokens
    patch_macs   the patch projection; for a convolutional network all of it
    block_macs   block 1, 2, ...
    scoring_macs what the plan's reducers compute to choose, such as the CLS row of an attention map
    head_macs    the classifier, and what a hybrid network has between its blocks and that
    """

    n_params: int
    tokens: tuple[int, ...]
    patch_macs: int
    block_macs: tuple[int, ...]
    scoring_macs: int
    head_macs: int

    @property
    def macs(self) -> int:
        return self.patch_macs + sum(self.block_macs) + self.scoring_macs + self.head_macs


def cost_of(card: ModelCard, plan: Plan = NO_REDUCTION, *, segment_s: float | None = None) -> Cost:
    """The cost of one segment of ``segment_s`` seconds (default: the card's own) under ``plan``."""
    with torch.device("meta"):
        tagger = Tagger(card, labels=())
    n_params = sum(parameter.numel() for parameter in tagger.parameters())
    n_frames = tagger.frontend.frames_of(round((segment_s or card.segment_s) * tagger.frontend.sample_rate))
    head_macs = _counted(tagger.head, torch.zeros(1, card.backbone.n_features, device="meta"))
    if isinstance(card.backbone, TransformerConfig):
        tokens, scoring_macs = _tokens(card.backbone, plan, n_frames)
        return Cost(
            n_params=n_params,
            tokens=tokens,
            patch_macs=tokens[0] * card.backbone.dim * math.prod(card.backbone.patch_size),
            block_macs=tuple(_block_macs(card.backbone, *counts) for counts in pairwise(tokens)),
            scoring_macs=scoring_macs,
            head_macs=_after_blocks_macs(cast(SpectrogramTransformer, tagger.backbone), tokens[-1]) + head_macs,
        )
    if plan:
        raise UsageError(f"{card.name} has no tokens to reduce")
    mel = torch.zeros(1, card.backbone.n_mels, n_frames, device="meta")
    return Cost(n_params, (), _counted(tagger.backbone.eval(), mel), (), 0, head_macs)


def _tokens(config: TransformerConfig, plan: Plan, n_frames: int) -> tuple[tuple[int, ...], int]:
    """Patch tokens after block 0, 1, 2, ..., and the multiply-adds that choosing them takes."""
    rows, cols = config.patch_grid(n_frames)
    heads = (config.n_heads, config.dim // config.n_heads)
    stages = trace(plan, (rows, cols), depth=config.depth, prefix=config.prefix, heads=heads)
    after = {stage.block: stage.n_after for stage in stages}
    tokens = [after.get(0, rows * cols)]
    for block in range(1, config.depth + 1):
        tokens.append(after.get(block, tokens[-1]))
    return tuple(tokens), sum(stage.macs for stage in stages)


def _block_macs(config: TransformerConfig, n_before: int, n_after: int) -> int:
    """Attention on all patch tokens that enter, the MLP on those the reducer left; prefix tokens come on top."""
    n_before, n_after = n_before + config.prefix, n_after + config.prefix
    projections = 4 * n_before * config.dim**2  # q, k, v and the output
    attention = 2 * n_before**2 * config.dim
    return projections + attention + 2 * config.mlp_ratio * n_after * config.dim**2


def _after_blocks_macs(backbone: SpectrogramTransformer, n_patches: int) -> int:
    """Of a hybrid network's own layers, for which only the number of tokens matters; 0 for any other."""
    dim, prefix = backbone.config.dim, backbone.config.prefix
    tokens = TokenGrid.whole(
        torch.zeros(1, dim, 1, n_patches, device="meta"), torch.zeros(1, prefix, dim, device="meta")
    )
    with sdpa_kernel(SDPBackend.MATH):  # fused attention is not counted
        return _counted(backbone.eval().after_blocks, tokens)


def _counted(compute: Callable[[Any], object], x: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        compute(x)
    return counter.get_total_flops() // 2
