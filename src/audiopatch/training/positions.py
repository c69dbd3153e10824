"""Position encodings for another grid, by the rules of the references.

PaSST and MAEST (split): bicubic along frequency and along time. AST (full): the centre where the new grid is smaller,
bilinear where it is larger. An image ViT or another full table for a split model: bicubic to the grid, then the mean
over time is the frequency encoding and the mean over frequency the time encoding (PaSST, section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from audiopatch.models.card import TransformerConfig

_FULL = "backbone.pos_embed"
_SPLIT = ("backbone.new_pos_embed", "backbone.freq_new_pos_embed", "backbone.time_new_pos_embed")
_CLS, _DIST = "backbone.cls_token", "backbone.dist_token"


def fit_positions(state: Mapping[str, Tensor], config: TransformerConfig) -> dict[str, Tensor]:
    """``state`` with its positions (and its number of prefix tokens) as ``config`` needs them."""
    found, (rows, cols) = dict(state), config.grid
    if _FULL in found:
        prefix, grid = _read_full(found.pop(_FULL), n_prefix=2 if _DIST in found else 1)
        fitted = _bicubic(grid, (rows, cols))
        freq, time = fitted.mean(dim=3, keepdim=True), fitted.mean(dim=2, keepdim=True)
    else:
        prefix, freq, time = (found.pop(key) for key in _SPLIT)
        grid = freq + time
    prefix = _prefix(prefix, config.prefix)
    if config.positions == "split":
        found |= dict(zip(_SPLIT, (prefix, _bicubic(freq, (rows, 1)), _bicubic(time, (1, cols))), strict=True))
    else:
        grid = _ast_axis(_ast_axis(grid, 2, rows), 3, cols)
        found[_FULL] = torch.cat([prefix, grid.flatten(2).transpose(1, 2)], dim=1)
    if config.prefix == 2:
        found.setdefault(_DIST, found[_CLS])  # a ViT without distillation: both tokens start alike
    else:
        found.pop(_DIST, None)
    return found


def _read_full(table: Tensor, n_prefix: int) -> tuple[Tensor, Tensor]:
    """(1, P + N, D) -> prefix (1, P, D), grid (1, D, rows, cols); images are square, spectrograms have 8 to 12 rows."""
    n = table.shape[1] - n_prefix
    rows = (
        math.isqrt(n) if math.isqrt(n) ** 2 == n else next(r for r in (12, 10, 9, 8, *range(16, 0, -1)) if n % r == 0)
    )
    return table[:, :n_prefix], table[:, n_prefix:].transpose(1, 2).unflatten(2, (rows, n // rows))


def _prefix(positions: Tensor, n: int) -> Tensor:
    return positions.expand(-1, n, -1) if positions.shape[1] == 1 else positions[:, :n]


def _bicubic(grid: Tensor, size: tuple[int, int]) -> Tensor:
    if grid.shape[2:] == size:
        return grid
    return F.interpolate(grid, size=size, mode="bicubic", align_corners=False)


def _ast_axis(grid: Tensor, axis: int, size: int) -> Tensor:
    """One axis of (1, D, rows, cols): the centre ``size`` entries, or stretched to ``size``."""
    old = grid.shape[axis]
    if size <= old:
        return grid.narrow(axis, old // 2 - size // 2, size)
    shape = (size, grid.shape[3]) if axis == 2 else (grid.shape[2], size)
    return F.interpolate(grid, size=shape, mode="bilinear", align_corners=False)
