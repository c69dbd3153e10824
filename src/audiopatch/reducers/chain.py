"""Several reducers before block 1, one after the other: what a plan makes of ``structured:F4T40+random:U100``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from audiopatch.reducers.reducer import Reducer
from audiopatch.reducers.spelling import spell_numbers
from audiopatch.tokens import Signals, TokenGrid


@dataclass(frozen=True)
class Chain(Reducer):
    """The tokens that stay after each of ``steps`` acted, in order."""

    steps: tuple[Reducer, ...]

    @classmethod
    def of(cls, first: Reducer, second: Reducer) -> Chain:
        """``first``, then ``second``; a chain grows instead of nesting."""
        return cls((*steps_of(first), second))

    def __call__(self, tokens: TokenGrid, signals: Signals) -> TokenGrid:
        for step in self.steps:
            tokens = step(tokens, signals)
        return tokens

    def lines(self, n_rows: int, n_cols: int) -> tuple[list[int], list[int]] | None:
        rows, cols = list(range(n_rows)), list(range(n_cols))
        for step in self.steps:
            kept = step.lines(len(rows), len(cols))
            if kept is None:
                return None
            rows, cols = [rows[row] for row in kept[0]], [cols[col] for col in kept[1]]
        return rows, cols

    def scaled(self, share: float) -> Chain:
        return Chain(tuple(step.scaled(share) for step in self.steps))

    def __str__(self) -> str:
        return "+".join(spell_at(step, (0,)) for step in self.steps)


def steps_of(reducer: Reducer) -> tuple[Reducer, ...]:
    """The single reducers behind one."""
    return reducer.steps if isinstance(reducer, Chain) else (reducer,)


def spell_at(reducer: Reducer, blocks: Sequence[int]) -> str:
    """``topk:0.7@4,7,10``; block 0 goes without saying for a reducer that acts there anyway."""
    at = "" if tuple(blocks) == (0,) == reducer.default_blocks else f"@{spell_numbers(blocks)}"
    return f"{reducer}{at}"
