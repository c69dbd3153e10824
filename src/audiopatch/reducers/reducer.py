"""What every reducer is: a frozen dataclass whose one verb gives back fewer tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import field, fields
from typing import Any, ClassVar, Self

from audiopatch.errors import UsageError
from audiopatch.reducers.spelling import spell
from audiopatch.tokens import Signals, TokenGrid


class Reducer(ABC):
    """Base of the strategies. Prefix tokens are never dropped, and the cells that stay keep their order.

    Subclasses are frozen dataclasses; their fields are their text form (``topk:0.7/cls``), see ``spelling``.
    ``default_blocks`` is where a plan puts the reducer, of 12 blocks, when its text names none; ``draws`` tells that
    it asks ``signals.uniform`` for chance, so that results differ from seed to seed.
    """

    default_blocks: ClassVar[tuple[int, ...]] = (0,)
    draws: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for spec in fields(self):  # pyright: ignore[reportArgumentType]  (every strategy is a dataclass)
            if "letter" in spec.metadata:
                check_count(getattr(self, spec.name), spec.name)

    @abstractmethod
    def __call__(self, tokens: TokenGrid, signals: Signals) -> TokenGrid:
        """The tokens that stay."""

    def lines(self, n_rows: int, n_cols: int) -> tuple[list[int], list[int]] | None:
        """The rows and columns of a whole grid that are left of any input; None where input or chance decide."""
        return None

    def spread(self, n_stages: int) -> list[Self]:
        """What acts at each of ``n_stages`` blocks; most strategies act the same everywhere."""
        return [self] * n_stages

    def scaled(self, share: float) -> Self:
        """This reducer at ``share`` (0..1) of its strength, for schedules; one without a strength stays as it is."""
        return self

    def describe(self, tokens: TokenGrid) -> str:
        """What it does to ``tokens``, in words, for the echo on the command line."""
        return str(self)

    def __str__(self) -> str:
        return spell(self)


def letter(name: str, default: int = 0) -> Any:
    """A count with a one-letter short form: ``drop_f: int = letter("F")`` reads ``F3``."""
    return field(default=default, metadata={"letter": name})


def check_count(n: int, name: str) -> None:
    """A count is not negative."""
    if n < 0:
        raise UsageError(f"{name} counts what goes, so it cannot be {n}")


def check_keep_rate(keep_rate: float) -> None:
    """A keep rate is a share of the current patch tokens, more than 0 and at most 1."""
    if not 0 < keep_rate <= 1:
        raise UsageError(f"a keep rate is more than 0 and at most 1, not {keep_rate:g}")


def kept_count(n: int, n_drop: int, what: str) -> int:
    """How many of ``n`` stay after ``n_drop`` went; nothing left is a UsageError that names ``what``."""
    if n == 1 and n_drop and what == "rows":
        raise UsageError(
            f"this plan drops {counted(n_drop, 'row')}, but each patch of this model spans all frequencies: there is "
            "one row; drop columns only"
        )
    if n_drop >= n:
        raise UsageError(f"this plan drops {n_drop} {what}, but this input has only {n}")
    return n - n_drop


def counted(n: int, noun: str) -> str:
    """``1 row``, ``40 columns``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
