"""Run a model and remember what its reducers saw and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from audiopatch.errors import UsageError
from audiopatch.models.card import TransformerConfig
from audiopatch.models.tagger import Prediction, Tagger
from audiopatch.models.transformer import mel_patches
from audiopatch.reducers.plan import Plan
from audiopatch.reducers.reducer import Reducer
from audiopatch.tokens import MelPatches, Signals, TokenGrid


@dataclass(frozen=True)
class Watched(Reducer):
    """Acts as ``inner`` and notes the cells it left, (B, N)."""

    inner: Reducer
    cells: list[Tensor] = field(default_factory=list)

    def __call__(self, tokens: TokenGrid, signals: Signals) -> TokenGrid:
        left = self.inner(tokens, signals)
        self.cells.append(left.cell.cpu())
        return left


@dataclass(frozen=True)
class AttentionProbe(Reducer):
    """Keeps everything and notes each token's attention score, (B, N)."""

    score: str
    scores: list[Tensor] = field(default_factory=list)

    def __call__(self, tokens: TokenGrid, signals: Signals) -> TokenGrid:
        self.scores.append(getattr(signals, self.score)(tokens).cpu())
        return tokens


@dataclass(frozen=True)
class Kept:
    """What a plan did to some clips: the prediction, and the cells left after each block that reduced, (B, N)."""

    prediction: Prediction
    cells: dict[int, Tensor]


@torch.inference_mode()
def watch(tagger: Tagger, mel: Tensor, plan: Plan, *, seed: int = 0) -> Kept:
    """mel (B, n_mels, frames) -> Kept. Clips draw from seed, seed + 1, ... where the plan is random."""
    watched = {block: Watched(reducer) for block, reducer in plan.items()}
    seeds = torch.arange(seed, seed + len(mel))
    prediction = tagger(mel.to(tagger.device), Plan(watched), seeds=seeds)
    return Kept(prediction, {block: reducer.cells[0] for block, reducer in watched.items()})


@torch.inference_mode()
def attention_by_block(tagger: Tagger, mel: Tensor) -> dict[int, Tensor]:
    """mel (B, n_mels, frames) -> block -> (B, N): every block's attention scores, nothing dropped.

    From CLS where the model classifies by its prefix tokens, else from all patch tokens (arXiv 2504.01690, section 3).
    """
    config = transformer_of(tagger)
    score = "token_attention" if config.pool == "patch" else "cls_attention"
    probes = {block: AttentionProbe(score) for block in range(1, config.depth + 1)}
    tagger(mel.to(tagger.device), Plan(probes))
    return {block: probe.scores[0] for block, probe in probes.items()}


def patches_of(tagger: Tagger, mel: Tensor) -> MelPatches:
    """The log-mel behind each token of the model."""
    return mel_patches(mel, transformer_of(tagger))


def transformer_of(tagger: Tagger) -> TransformerConfig:
    """The configuration of a model with tokens; any other is a UsageError."""
    config = tagger.card.backbone
    if not isinstance(config, TransformerConfig):
        raise UsageError(f"{tagger.card.name} is a convolutional network: it has no tokens to look at")
    return config


def quarter_blocks(depth: int, quarters: Sequence[int]) -> list[int]:
    """The blocks that begin the given quarters of a network: of 12 blocks, quarters 1, 2, 3 begin at 4, 7, 10."""
    return sorted({1 + depth * quarter // 4 for quarter in quarters})
