"""Frozen features of whole clips: the token stacks of all blocks, computed once in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from audiopatch.errors import UsageError
from audiopatch.inference.clips import clip_rows
from audiopatch.inference.extract import stack_names, stack_names_of
from audiopatch.inference.settings import Analysis, Stack
from audiopatch.models.card import HeadConfig, ModelCard, TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import Plan

POOLED = 0  # the "block" of a network without tokens


@dataclass(frozen=True)
class Features:
    """stacks (N, n_blocks, P + 1, D): each clip's mean over segments; of a convolutional network, (N, 1, 1, E)."""

    blocks: tuple[int, ...]
    tokens: tuple[str, ...]
    stacks: np.ndarray

    def of(self, block: int, tokens: Sequence[str]) -> np.ndarray:
        """(N, E): the named tokens after a block, one after the other."""
        index = [self.tokens.index(token) for token in tokens]
        return self.stacks[:, self.blocks.index(block)][:, index].reshape(len(self.stacks), -1)


def choices(card: ModelCard, blocks: Sequence[int], tokens: Sequence[str]) -> list[tuple[int, tuple[str, ...]]]:
    """The (block, tokens) cells to try; impossible ones are a UsageError. A convolutional network has one cell."""
    backbone = card.backbone
    if not isinstance(backbone, TransformerConfig):
        return [(POOLED, ("pooled",))]
    named = stack_names_of(backbone)
    for block in blocks:
        if not 1 <= block <= backbone.depth:
            raise UsageError(f"block {block} does not exist; {card.name} has blocks 1 to {backbone.depth}")
    split = [tuple(text.split("+")) for text in tokens]
    for token in (token for some in split for token in some):
        if token not in ("cls", "dist", "avg"):
            raise UsageError(f"unknown token '{token}'; choose cls, dist, avg or a sum of them such as cls+avg")
    usable = list(dict.fromkeys(tuple(token for token in some if token in named) for some in split))
    return [(block, some) for block in blocks or range(1, backbone.depth + 1) for some in usable if some]


def extract(
    tagger: Tagger, clips: Iterable[np.ndarray], blocks: Sequence[int], *, plan: Plan, overlap: float, names: Sequence
) -> Features:
    """Features of waveforms (S,) at the model's rate, as ``embed`` finds them; ``names`` are those of the clips."""
    backbone = tagger.card.backbone
    tokens = stack_names(tagger)
    stack = Stack(blocks=tuple(blocks), tokens=tokens) if isinstance(backbone, TransformerConfig) else None
    analysis = Analysis(
        model=tagger.card.name, tags=False, embeddings=True, stack=stack, patchout=str(plan), overlap=overlap
    )
    found = clip_rows(tagger, clips, analysis).require_all(names).embeddings
    if stack is None:
        return Features((POOLED,), ("pooled",), found[:, None, None])
    return Features(tuple(blocks), tokens, found.reshape(len(found), len(blocks), len(tokens), -1))


def probe_card(
    base: ModelCard, block: int, tokens: Sequence[str], head: HeadConfig, *, name: str, multilabel: bool
) -> ModelCard:
    """The card of a probe: the network up to ``block``, whose features are the named tokens, under an MLP."""
    backbone = base.backbone
    if isinstance(backbone, TransformerConfig):
        backbone = replace(backbone, depth=block, final_norm=False, pool="stack", stack=tuple(tokens))
    return replace(
        base,
        name=name,
        backbone=backbone,
        head=head,
        labels="own",
        multilabel=multilabel,
        weights=None,
        scores={},
        summary=f"probe on {base.name}" + (f", block {block}, {'+'.join(tokens)}" if block else ""),
    )
