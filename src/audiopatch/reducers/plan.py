"""A plan: which reducer acts at which block, with a text form that round-trips.

    plan    = "none" | term { "+" term }
    term    = reducer [ "@" blocks ]             blocks = 4,7,10 or 1-12; 0 is before block 1 (patchout)
    reducer = FxTy[Rz] | name [ ":" arg { "/" arg } ] | module:Class [ ":" args ]      args: see ``spelling``

``F3T2``, ``topk:0.7/cls@4,7,10``, ``adaptive:F3T120@4,7,10``, ``F3T2+topk:0.7@7``. Terms for block 0 act in the order
written; any other block takes one reducer, since its attention scores the tokens that entered it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from importlib import import_module
from pathlib import Path

import torch

from audiopatch.catalog import unknown_name
from audiopatch.errors import UsageError
from audiopatch.reducers import REDUCERS
from audiopatch.reducers.chain import Chain, spell_at, steps_of
from audiopatch.reducers.reducer import Reducer
from audiopatch.reducers.spelling import Misspelled, read_fields, read_numbers
from audiopatch.tokens import MelPatches, Signals, TokenGrid


@dataclass(frozen=True)
class Stage:
    """One act of a plan: what it does in words, and the patch tokens before and after.

    ``rectangle`` is that of the tokens after it, or, where they are ragged, the last one there was.
    """

    block: int
    words: str
    n_before: int
    n_after: int
    rectangle: tuple[int, int]


def trace(
    plan: Mapping[int, Reducer],
    grid: tuple[int, int],
    *,
    depth: int | None = None,
    prefix: int = 1,
    heads: Sequence[int] = (),
    head_dim: int = 4,
) -> list[Stage]:
    """The stages of a plan on a grid of (rows, cols). No network runs: the reducers act on noise.

    Counts are exact for every reducer whose count does not depend on the sound. ``depth`` checks the block numbers;
    ``prefix`` tokens, the number of ``heads`` of block 1, 2, ... and their width decide what reducers compute.
    """
    if depth is not None and any(block > depth for block in plan):
        raise UsageError(f"block {max(plan)} does not exist; this model has blocks 1 to {depth}")
    chance = torch.Generator().manual_seed(0)
    rows, cols = grid
    tokens = TokenGrid.whole(torch.zeros(1, 1, rows, cols), torch.zeros(1, prefix, 1))
    noise = torch.randn(1, 2 * rows, 2 * cols, generator=chance)
    signals = Signals(MelPatches(noise, (2, 2), (2, 2)), torch.zeros(1, dtype=torch.int64))
    stages = []
    for block in sorted(plan):
        if block > 0:
            n_heads = heads[block - 1] if heads else 1
            q, k = torch.randn(2, 1, n_heads, prefix + tokens.n_patches, head_dim, generator=chance)
            signals = signals.at(q, k)
        for step in steps_of(plan[block]):
            words, before = step.describe(tokens), tokens.n_patches
            tokens = step(tokens, signals)
            stages.append(Stage(block, words, before, tokens.n_patches, tokens.last_rectangle))
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


__all__ = ["NO_REDUCTION", "Plan", "describe", "parse_plan"]


class Plan(Mapping[int, Reducer]):
    """Block number (from 1; 0 = before block 1) -> the reducer that acts there. ``str(plan)`` parses back.

    ``text`` is a canonical spelling that joins the stages of one term; without it each block is spelled out.
    """

    def __init__(self, reducers: Mapping[int, Reducer] | None = None, *, text: str = ""):
        self._reducers = dict(sorted((reducers or {}).items()))
        self._text = text or "+".join(spell_at(reducer, (block,)) for block, reducer in self._reducers.items())

    def __getitem__(self, block: int) -> Reducer:
        return self._reducers[block]

    def __iter__(self) -> Iterator[int]:
        return iter(self._reducers)

    def __len__(self) -> int:
        return len(self._reducers)

    @property
    def draws(self) -> bool:
        """Whether chance has a part in it."""
        return any(step.draws for reducer in self.values() for step in steps_of(reducer))

    def scaled(self, share: float) -> Plan:
        """This plan at ``share`` (0..1) of its strength; 1 is the plan itself."""
        return self if share == 1 else Plan({block: reducer.scaled(share) for block, reducer in self.items()})

    def __str__(self) -> str:
        return self._text or "none"

    def __repr__(self) -> str:
        return f"Plan({str(self)!r})"


NO_REDUCTION = Plan()


def parse_plan(text: str | None, depth: int = 12) -> Plan:
    """The plan ``text`` writes; ``none``, ``F0T0``, an empty text or None keep every token.

    Reducers that name no block act where they do of 12 blocks, in a network of ``depth`` at the same shares of it:
    ``topk:0.7`` at 4, 7, 10 of 12, at 1, 2 of 2. What is no plan is a UsageError that points at the character.
    """
    if text is None or text.strip().lower() in ("", "none", "f0t0"):
        return NO_REDUCTION
    terms = list(_read_terms(text, depth))
    reducers: dict[int, Reducer] = {}
    for term in terms:
        for block, reducer in term.stages():
            if block in reducers and block > 0:
                raise _pointing(text, term.start, f"block {block} already has a reducer; one acts per block")
            reducers[block] = Chain.of(reducers[block], reducer) if block in reducers else reducer
    return Plan(reducers, text="+".join(map(str, terms)))


@dataclass(frozen=True)
class _Term:
    """One part of a plan between two plus signs, and where it starts in the text."""

    reducer: Reducer
    blocks: tuple[int, ...]
    start: int

    @classmethod
    def read(cls, text: str, start: int, part: str, depth: int) -> _Term:
        start += len(part) - len(part.lstrip())
        head, at, blocks = part.strip().partition("@")
        if not head.strip():
            raise _pointing(text, start, "a reducer is missing here")
        reducer = _read_reducer(text, start, head.rstrip())
        if not at:
            scaled = {1 + (block - 1) * depth // 12 if block else 0 for block in reducer.default_blocks}
            return cls(reducer, tuple(sorted(scaled)), start)
        return cls(reducer, _read_blocks(text, start + len(head) + 1, blocks), start)

    def stages(self) -> Iterator[tuple[int, Reducer]]:
        return zip(self.blocks, self.reducer.spread(len(self.blocks)), strict=True)

    def __str__(self) -> str:
        return spell_at(self.reducer, self.blocks)


def _read_terms(text: str, depth: int) -> Iterator[_Term]:
    start = 0
    for part in text.split("+"):
        yield _Term.read(text, start, part, depth)
        start += len(part) + 1


_FXTY = re.compile(r"F\d+T\d+(R\d+)?", re.IGNORECASE)
_UNFINISHED = re.compile(r"F\d*|T\d*|F\d*T\d*", re.IGNORECASE)


def _read_reducer(text: str, start: int, head: str) -> Reducer:
    name, _, args = ("fixed", ":", head) if _FXTY.fullmatch(head) else head.partition(":")
    if name in REDUCERS:
        cls = REDUCERS.load(name)
    else:
        attribute, _, rest = args.partition(":")
        cls = _own_class(text, start, name, attribute)
        args = rest
    try:
        return cls(**read_fields(cls, args))
    except UsageError as error:
        offset = error.offset if isinstance(error, Misspelled) else 0
        raise _pointing(text, start + len(head) - len(args) + offset, str(error)) from None


def _own_class(text: str, start: int, module: str, attribute: str) -> type[Reducer]:
    """A user's own reducer, from a module on the path or in the current folder."""
    if _UNFINISHED.fullmatch(module):
        raise _pointing(text, start, "both letters need their number, as in F3T2; 0 drops nothing")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise _pointing(text, start, unknown_name("reducer", module, REDUCERS))
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        near = unknown_name("reducer", module, REDUCERS)
        raise _pointing(text, start, f"{near}; nor is it a reducer of your own: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Reducer) and is_dataclass(found)):
        raise _pointing(text, start, f"{module}:{attribute} is no frozen dataclass that derives from Reducer")
    return found


def _read_blocks(text: str, start: int, blocks: str) -> tuple[int, ...]:
    try:
        numbers = read_numbers(blocks)
    except ValueError:
        raise _pointing(text, start, f"'{blocks}' names no blocks; write numbers such as 4,7,10 or 1-12") from None
    if list(numbers) != sorted(set(numbers)):
        raise _pointing(text, start, "name each block once, in ascending order")
    return numbers


def _pointing(text: str, position: int, message: str) -> UsageError:
    return UsageError(f"{message}\n  {text}\n  {' ' * position}^")
