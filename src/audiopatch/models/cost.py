"""What a model costs: parameters, and multiply-adds (MACs) for a plan and an input length, without running it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from audiopatch.errors import UsageError
from audiopatch.models.card import ModelCard
from audiopatch.models.config import TransformerConfig
from audiopatch.models.stem import window_of
from audiopatch.models.tagger import Tagger
from audiopatch.models.transformer import SpectrogramTransformer
from audiopatch.reducers.plan import NO_REDUCTION, Plan, Stage, trace
from audiopatch.tokens import TokenGrid


@dataclass(frozen=True)
class Cost:
    """One input's cost. MACs count matrix products and convolutions, as the papers do; norms and softmax are left out.

    tokens       patch tokens after block 0 (patchout), 1, 2, ...; empty for a network without tokens
    patch_macs   the patch projection, after the stem where there is one; for a convolutional network all of it
    block_macs   block 1, 2, ...
    scoring_macs what the plan's reducers compute to choose, such as the CLS row of an attention map
    head_macs    the classifier, and what a hybrid network or one with a tail has between its blocks and that
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
    mel = torch.zeros(1, card.backbone.n_mels, n_frames, device="meta")
    if isinstance(card.backbone, TransformerConfig):
        backbone = cast(SpectrogramTransformer, tagger.backbone.eval())
        grid = card.backbone.patch_grid(n_frames)
        config, heads = card.backbone, card.backbone.block_heads
        with FlopCounterMode(display=False) as scoring:
            stages = trace(plan, grid, depth=config.depth, prefix=config.prefix, heads=heads, head_dim=config.head_dim)
        tokens = _tokens(stages, math.prod(grid), config.depth)
        rectangle = stages[-1].rectangle if stages else grid
        return Cost(
            n_params=n_params,
            tokens=tokens,
            patch_macs=_patch_macs(backbone, mel, plan, tokens[0]),
            block_macs=tuple(block_macs(config, n, *counts) for n, counts in zip(heads, pairwise(tokens), strict=True)),
            scoring_macs=scoring.get_total_flops() // 2,
            head_macs=_after_blocks_macs(backbone, tokens[-1], rectangle) + head_macs,
        )
    if plan:
        raise UsageError(f"{card.name} has no tokens to reduce")
    return Cost(n_params, (), _counted(tagger.backbone.eval(), mel), (), 0, head_macs)


def _tokens(stages: Sequence[Stage], n_all: int, depth: int) -> tuple[int, ...]:
    """Patch tokens after block 0, 1, 2, ..."""
    after = {stage.block: stage.n_after for stage in stages}
    tokens = [after.get(0, n_all)]
    for block in range(1, depth + 1):
        tokens.append(after.get(block, tokens[-1]))
    return tuple(tokens)


def _patch_macs(backbone: SpectrogramTransformer, mel: Tensor, plan: Plan, n_patches: int) -> int:
    config = backbone.config
    if config.stem is None:
        return n_patches * config.dim * math.prod(config.patch_size)
    window = window_of(config, plan, mel.shape[2])
    read = window.read(mel) if window else mel
    return _counted(backbone.stem.map_of, read) + n_patches * config.dim * config.stem.channels


def block_macs(config: TransformerConfig, n_heads: int, n_before: int, n_after: int) -> int:
    """Of one block: attention on all patch tokens that enter, the MLP on those its reducer left, and prefix tokens."""
    n_before, n_after = n_before + config.prefix, n_after + config.prefix
    width = n_heads * config.head_dim
    projections = 4 * n_before * config.dim * width  # q, k, v and the output
    attention = 2 * n_before**2 * width
    return projections + attention + 2 * config.mlp_ratio * n_after * config.dim**2


def _after_blocks_macs(backbone: SpectrogramTransformer, n_patches: int, rectangle: tuple[int, int]) -> int:
    """Of a hybrid network's own layers, and of a tail's on the last rectangle there was; 0 for any other."""
    config = backbone.config
    patches = torch.zeros(1, config.dim, 1, n_patches, device="meta")
    tokens = TokenGrid.whole(patches, torch.zeros(1, config.prefix, config.dim, device="meta"))
    with sdpa_kernel(SDPBackend.MATH):  # fused attention is not counted
        macs = _counted(backbone.after_blocks, tokens)
    if config.stem is None or not config.stem.tail:
        return macs
    n_cells, channels = math.prod(rectangle), config.stem.channels
    filling = 0 if n_patches == n_cells else n_cells**2 * (channels + 1)  # TokenGrid.as_filled_grid
    n_rows, n_cols = rectangle
    if config.stem.all_rows and n_rows < config.grid[0]:
        n_rows = config.grid[0]
        filling += n_cols * (n_rows * channels) ** 2  # DroppedRows
    tail = _counted(backbone.stem.tail, torch.zeros(1, channels, n_rows, n_cols, device="meta"))
    return macs + n_patches * config.dim * channels + filling + tail


def _counted(compute: Callable[[Any], object], x: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        compute(x)
    return counter.get_total_flops() // 2
