"""Fixed patchout: the same rows and columns of every input, as MAEST drops them at inference."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from audiopatch.errors import UsageError
from audiopatch.reducers.reducer import Reducer, letter
from audiopatch.tokens import Signals, TokenGrid


@dataclass(frozen=True)
class FixedPatchout(Reducer):
    """Drop ``drop_f`` edge rows and keep one column of ``every_t`` ("FxTy"; Alonso-Jiménez et al. 2023, section 4.5).

    Fx removes the floor(x / 2) lowest and the ceil(x / 2) highest rows: of nine rows F3 drops 0, 7, 8.
    Ty keeps columns 0, y, 2y, ...; T0 and T1 keep all. With Rz it keeps or drops runs of z columns: F0T3R8 keeps the
    first 8 of each 24. ``rows`` and ``cols`` name further ones to drop.
    """

    drop_f: int = letter("F")
    every_t: int = letter("T")
    run: int = letter("R", 1)
    rows: tuple[int, ...] = ()
    cols: tuple[int, ...] = ()

    def __str__(self) -> str:
        return super().__str__() if self.rows or self.cols else f"F{self.drop_f}T{self.every_t}{self._spelled_run}"

    @property
    def _spelled_run(self) -> str:
        return f"R{self.run}" if self.run > 1 else ""

    def dropped_rows(self, n_rows: int) -> list[int]:
        low, high = self.drop_f // 2, self.drop_f - self.drop_f // 2
        return [row for row in range(n_rows) if row < low or row >= n_rows - high or row in self.rows]

    def kept_cols(self, n_cols: int) -> list[int]:
        run, every = max(1, self.run), max(1, self.every_t)
        return [col for col in range(n_cols) if col // run % every == 0 and col not in self.cols]

    def lines(self, n_rows: int, n_cols: int) -> tuple[list[int], list[int]]:
        dropped = set(self.dropped_rows(n_rows))
        rows = [row for row in range(n_rows) if row not in dropped]
        cols = self.kept_cols(n_cols)
        if n_rows == 1 and not rows:
            raise UsageError(
                f"{self} drops rows, but each patch of this model spans all frequencies: its grid is one row of "
                f"{n_cols} columns; drop columns only (F0T2)"
            )
        if not rows or not cols:
            raise UsageError(f"{self} leaves nothing of a grid of {n_rows} rows × {n_cols} columns")
        return rows, cols

    def __call__(self, tokens: TokenGrid, signals: Signals) -> TokenGrid:
        rows, cols = self.lines(*tokens.rectangle())
        device = tokens.x.device
        return tokens.keep_rows_cols(torch.tensor(rows, device=device), torch.tensor(cols, device=device))

    def describe(self, tokens: TokenGrid) -> str:
        """``drop rows 0, 7, 8 of 9, keep every 2nd of 186 columns``."""
        n_rows, n_cols = tokens.rectangle()
        dropped = self.dropped_rows(n_rows)
        rows = f"drop rows {', '.join(map(str, dropped))} of {n_rows}" if dropped else f"keep all {n_rows} rows"
        cols = f"{self._stride_in_words()} {n_cols} columns"
        listed = f" but {', '.join(map(str, self.cols))}" if self.cols else ""
        return f"{rows}, {cols}{listed}"

    def _stride_in_words(self) -> str:
        run = f"run of {self.run} of the" if self.run > 1 else "of"
        return f"keep every {_ordinal(self.every_t)} {run}" if self.every_t > 1 else "all"


def _ordinal(number: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 not in (11, 12, 13) else 0, "th")
    return f"{number}{suffix}"
