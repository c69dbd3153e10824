"""What a plan leaves at each block, found by running its reducers alone on an empty grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from audiopatch.errors import UsageError
from audiopatch.reducers.chain import steps_of
from audiopatch.reducers.reducer import Reducer
from audiopatch.tokens import MelPatches, Signals, TokenGrid


@dataclass(frozen=True)
class Stage:
    """One act of a plan: what it does in words, the patch tokens before and after, and its own multiply-adds.

    ``rectangle`` is that of the tokens after it, or, where they are ragged, the last one there was.
    """

    block: int
    words: str
    n_before: int
    n_after: int
    macs: int
    rectangle: tuple[int, int]


def trace(
    plan: Mapping[int, Reducer],
    grid: tuple[int, int],
    *,
    depth: int | None = None,
    prefix: int = 1,
    heads: tuple[int, int] = (1, 4),
) -> list[Stage]:
    """The stages of a plan on a grid of (rows, cols). No network runs: the reducers act on noise.

    Counts are exact for every reducer whose count does not depend on the sound. ``depth`` checks the block numbers;
    ``prefix`` tokens and ``heads`` (number, width) matter to ``macs`` alone.
    """
    if depth is not None and any(block > depth for block in plan):
        raise UsageError(f"block {max(plan)} does not exist; this model has blocks 1 to {depth}")
    chance = torch.Generator().manual_seed(0)
    rows, cols = grid
    tokens = TokenGrid.whole(torch.zeros(1, 1, rows, cols), torch.zeros(1, prefix, 1))
    signals = Signals(MelPatches(torch.randn(1, rows, cols, 2, 2, generator=chance)), torch.zeros(1, dtype=torch.int64))
    stages = []
    for block in sorted(plan):
        if block > 0:
            q, k = torch.randn(2, 1, heads[0], prefix + tokens.n_patches, heads[1], generator=chance)
            signals = signals.at(q, k)
        for step in steps_of(plan[block]):
            words, before = step.describe(tokens), tokens.n_patches
            with FlopCounterMode(display=False) as counter:
                tokens = step(tokens, signals)
            macs = counter.get_total_flops() // 2
            stages.append(Stage(block, words, before, tokens.n_patches, macs, tokens.last_rectangle))
    return stages


def describe(plan: Mapping[int, Reducer], grid: tuple[int, int], depth: int | None = None, *, prefix: int = 1) -> str:
    """What a plan does to a grid of (rows, cols) behind ``prefix`` special tokens, in words:

    "drop rows 0, 7, 8 of 9, keep every 2nd of 186 columns: 558 of 1674 tokens, 33 %".
    """
    n_all = grid[0] * grid[1]
    stages = trace(plan, grid, depth=depth, prefix=prefix)
    if not stages:
        return f"keep all {n_all} tokens"
    words = "; ".join(dict.fromkeys(stage.words for stage in stages))
    (first, n_first), *others = {stage.block: stage.n_after for stage in stages}.items()
    if first == 0 and not others:
        return f"{words}: {n_first} of {n_all} tokens, {n_first / n_all * 100:.0f} %"
    rest = "".join(f", {n_after} after block {block}" for block, n_after in others)
    return f"{words}: {n_first} of {n_all} tokens after block {first}{rest}"
