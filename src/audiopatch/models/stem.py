"""A convolutional stem and tail: tokens come from a MobileNet's map, and go back to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.frontends.frontend import runs_of
from audiopatch.models.config import StemConfig, TransformerConfig
from audiopatch.models.linear import Linear
from audiopatch.models.mobilenet import mobilenet_layers
from audiopatch.reducers.plan import Plan
from audiopatch.tokens import TokenGrid

_LONG_RUN = 8
_HALO = 1  # columns on both sides of the kept ones that are read, too: what is farther away matters little


@dataclass(frozen=True)
class Window:
    """The part of the mel that a stem reads where some columns of its map are all that is kept of it.

    ``frames`` of the mel, side by side as if nothing lay between them; ``cols`` say where the kept columns are on the
    smaller map that comes of it, ``rows`` are the kept ones. All bands are read: to leave out those that F3 drops saves
    an eighth of the stem, and moves mn04's logits half as far as F3 itself does.
    """

    frames: list[int]
    rows: list[int]
    cols: list[int]

    @classmethod
    def around(cls, rows: list[int], cols: list[int], *, stride: int, n_frames: int) -> Window | None:
        """What to read for the cells where ``rows`` and ``cols`` cross; None where that is everything."""
        near = sorted({col + step for col in cols for step in range(-_HALO, _HALO + 1)})
        near = [col for col in near if 0 <= col * stride < n_frames]
        frames = [frame for col in near for frame in range(col * stride, min(n_frames, (col + 1) * stride))]
        return None if len(frames) == n_frames else cls(frames, rows, [near.index(col) for col in cols])

    def read(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, all frames) -> (B, n_mels, frames)."""
        return _take(mel, 2, self.frames)

    def kept(self, grid: Tensor) -> Tensor:
        """The map of that part, (B, C, rows, cols) -> its kept cells alone."""
        return _take(_take(grid, 2, self.rows), 3, self.cols)


def window_of(config: TransformerConfig, plan: Plan, n_frames: int) -> Window | None:
    """The part of a mel of ``n_frames`` that a stem reads under ``plan``; None for all of it, and without a stem."""
    if config.stem is None or 0 not in plan:
        return None
    lines = plan[0].lines(*config.patch_grid(n_frames))
    return Window.around(*lines, stride=config.stem.stride, n_frames=n_frames) if lines else None


def _take(x: Tensor, axis: int, index: list[int]) -> Tensor:
    """``x`` at ``index`` along ``axis``: a view where that is one run.

    Long runs are put side by side: single numbers along the last axis would take a CPU four times as long (Zen 3).
    """
    spans = runs_of(index)
    if len(index) < _LONG_RUN * len(spans):
        return x.index_select(axis, torch.tensor(index, device=x.device))
    parts = [x.narrow(axis, first, end - first) for first, end in spans]
    return parts[0] if len(parts) == 1 else torch.cat(parts, axis)


class DroppedRows(nn.Module):
    """The rows of a map that patchout dropped, guessed from those that it kept.

    A tail knows its rows by their place: on five of eight rows, moved together, nothing that it does near the edges is
    as its weights mean it. A guess is the nearest kept cell of the same column, and what a linear layer adds to it that
    hears all kept cells of the column; the layer begins at zero.
    """

    def __init__(self, channels: int, n_rows: int):
        super().__init__()
        self.from_column: Linear = Linear(n_rows * channels, n_rows * channels)
        nn.init.zeros_(self.from_column.weight)
        nn.init.zeros_(self.from_column.bias)
        self.n_rows = n_rows

    def forward(self, kept: Tensor, rows: Tensor) -> Tensor:
        """kept (B, C, K, cols), its ``rows`` (B, K) -> (B, C, n_rows, cols); what was kept is as it was."""
        batch, channels, _, cols = kept.shape
        spot = rows[:, None, :, None].expand(kept.shape)
        grid = kept.new_zeros(batch, channels, self.n_rows, cols).scatter(2, spot, kept)
        is_kept = torch.zeros(batch, self.n_rows, dtype=torch.bool, device=rows.device).scatter(1, rows, True)
        place = torch.arange(self.n_rows, device=rows.device)
        apart = (place[:, None] - rows[:, None, :]).abs()  # (B, n_rows, K)
        nearest = rows.gather(1, apart.argmin(dim=2))[:, None, :, None].expand(grid.shape)
        added = self.from_column(grid.permute(0, 3, 2, 1).flatten(2)).unflatten(2, (self.n_rows, channels))
        guessed = grid.gather(2, nearest) + added.permute(0, 3, 2, 1)
        return torch.where(is_kept[:, None, :, None], grid, guessed)


class MapContext(nn.Sequential):
    """A map -> what each of its cells takes in from those around it; nothing, before it has learnt.

    Each of the ``n_filters`` per channel is a convolution of its own: for all in one oneDNN has no kernel of that kind,
    and takes four times as long (Zen 3).
    """

    def __init__(self, channels: int, n_filters: int):
        back = nn.Conv2d(n_filters * channels, channels, 1)
        nn.init.zeros_(back.weight)
        assert back.bias is not None
        nn.init.zeros_(back.bias)
        around = nn.Conv2d(channels, n_filters * channels, 5, padding=2, groups=channels)
        super().__init__(around, nn.Hardswish(), back)
        self.n_filters = n_filters

    def forward(self, grid: Tensor) -> Tensor:
        around, act, back = cast(tuple[nn.Conv2d, nn.Module, nn.Conv2d], tuple(self))
        assert around.bias is not None and back.bias is not None
        taken = back.bias[:, None, None]
        for number in range(self.n_filters):
            mine = slice(number, None, self.n_filters)
            heard = F.conv2d(grid, around.weight[mine], around.bias[mine], padding=2, groups=around.groups)
            taken = taken + F.conv2d(act(heard), back.weight[:, mine])
        return taken


class StemEnds(nn.Module):
    """What learns to do without dropped cells: the context before they are dropped, the way back, and the tail."""

    def __init__(self, config: StemConfig, dim: int, n_rows: int):
        super().__init__()
        self.context: MapContext | None = MapContext(config.channels, config.context) if config.context else None
        if config.tail:
            self.to_map: Linear = Linear(dim, config.channels)
            nn.init.zeros_(self.to_map.weight)
            nn.init.zeros_(self.to_map.bias)
            self.tail: nn.Sequential = nn.Sequential(*mobilenet_layers(config.width)[config.n_layers :])
        guesses = config.tail and config.all_rows
        self.dropped_rows: DroppedRows | None = DroppedRows(config.channels, n_rows) if guesses else None

    def in_context(self, grid: Tensor) -> Tensor:
        """The map that the layers give, each cell with what it takes in from those around it."""
        return grid + self.context(grid) if self.context else grid

    def back(self, tokens: TokenGrid) -> Tensor:
        """Tokens after all blocks -> the map that the tail hears, (B, channels, rows, cols)."""
        assert tokens.carried is not None  # enter saw to it
        grid = tokens.as_filled_grid(tokens.carried + self.to_map(tokens.patches))
        if self.dropped_rows is None or grid.shape[2] == tokens.full[0]:
            return grid
        return self.dropped_rows(grid, tokens.last_rows)


class ConvolutionalStem(StemEnds):
    """What lies before and after the blocks of a transformer inside a MobileNet.

    The map between layers ``n_layers`` and ``n_layers`` + 1 reaches the tail past the blocks; what the blocks found is
    added to it by a projection that begins at zero. So with any blocks the network begins as the MobileNet itself.
    """

    def __init__(self, config: StemConfig, dim: int, n_rows: int):
        super().__init__(config, dim, n_rows)
        self.layers: nn.Sequential = nn.Sequential(*mobilenet_layers(config.width)[: config.n_layers])
        self.to_token: Linear = Linear(config.channels, dim)
        self.whole: StemEnds | None = ends_for_whole_maps(config, dim) if config.whole else None

    def ends_for(self, tokens: TokenGrid) -> StemEnds:
        """Those that fit what is left of the map."""
        return self.whole if self.whole is not None and tokens.n_patches == math.prod(tokens.full) else self

    def map_of(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, frames) -> the map (B, channels, rows, cols) that tokens are cells of, before a plan drops
        some of them."""
        return self.in_context(self.layers(mel[:, None]))

    def enter(
        self, mel: Tensor, places: TokenGrid, window: Window | None = None, known: Tensor | None = None
    ) -> Tensor:
        """mel (B, n_mels, frames) -> the map at ``places``, (B, N, channels), from the ``window`` around them alone.

        Without a window the map of all of ``mel`` may be ``known``.
        """
        if window is None:
            grid = self.ends_for(places).in_context(self.layers(mel[:, None])) if known is None else known
            return places.gather(grid.flatten(2).transpose(1, 2))
        return window.kept(self.map_of(window.read(mel))).flatten(2).transpose(1, 2)

    def leave(self, tokens: TokenGrid) -> Tensor:
        """Tokens after all blocks -> the tail's map (B, n_features, rows, cols), about half as many of both."""
        ends = self.ends_for(tokens)
        return ends.tail(ends.back(tokens))


def ends_for_whole_maps(config: StemConfig, dim: int) -> StemEnds:
    """Ends for maps of which nothing was dropped, hence without a guess."""
    return StemEnds(replace(config, all_rows=False), dim, 0)
