"""The token grid that flows through a transformer, and the evidence a reducer may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from audiopatch.errors import UsageError


@dataclass(frozen=True)
class TokenGrid:
    """Tokens with the place on the spectrogram that each came from.

    x      (B, P + N, D)  prefix tokens (CLS, DIST) first, then patch tokens
    cell   (B, N) int64   row * n_cols + col on the full grid, ascending
    full   (rows, cols)   before any reduction; row 0 is the lowest frequency
    layout (rows, cols)   while the patch tokens still form a rectangle, else None ("ragged")
    prefix P
    size   (B, N) or None how many patches each token stands for, once tokens were merged; None = one each
    carried (B, N, W) or None what a patch token takes along past the blocks: the convolutional map it came from
    home   (cell, layout) of the last rectangle, once ragged

    A token that stands for several patches (merged, or EViT's fused one) keeps the cell of one of them, so places
    stay unique and ascending whatever a reducer does.
    """

    x: Tensor
    cell: Tensor
    full: tuple[int, int]
    layout: tuple[int, int] | None
    prefix: int
    size: Tensor | None = None
    carried: Tensor | None = None
    home: tuple[Tensor, tuple[int, int]] | None = None

    @classmethod
    def whole(cls, patches: Tensor, prefix: Tensor) -> TokenGrid:
        """patches (B, D, rows, cols), prefix (B, P, D) -> the full grid in row-major order."""
        batch, _, rows, cols = patches.shape
        cell = torch.arange(rows * cols, device=patches.device).expand(batch, -1)
        x = torch.cat([prefix, patches.flatten(2).transpose(1, 2)], dim=1)
        return cls(x, cell, (rows, cols), (rows, cols), prefix.shape[1])

    @property
    def n_patches(self) -> int:
        return self.cell.shape[1]

    @property
    def patches(self) -> Tensor:
        """(B, N, D), without the prefix tokens."""
        return self.x[:, self.prefix :]

    def with_x(self, x: Tensor) -> TokenGrid:
        """The same places with new vectors."""
        return replace(self, x=x)

    def keep(self, index: Tensor) -> TokenGrid:
        """Only the patch tokens at ``index``, (B, K) or (1, K) for the whole batch, sorted by place; it turns ragged.

        All of them is no reduction, and gives back this very grid.
        """
        if index.shape[1] == self.n_patches:
            return self
        index = index.sort(dim=1).values.expand(self.x.shape[0], -1)
        return self._gather(index, layout=None)

    def keep_rows_cols(self, rows: Tensor, cols: Tensor) -> TokenGrid:
        """Only the crossings of ``rows`` and ``cols``, numbered in the current layout; it stays a rectangle.

        Each is (K,) for the whole batch or (B, K) per clip.
        """
        n_rows, n_cols = self.rectangle()
        rows = rows.sort(dim=-1).values.expand(self.x.shape[0], -1)
        cols = cols.sort(dim=-1).values.expand(self.x.shape[0], -1)
        layout = (rows.shape[1], cols.shape[1])
        if layout == (n_rows, n_cols):
            return self
        index = rows[:, :, None] * n_cols + cols[:, None, :]
        return self._gather(index.flatten(1), layout=layout)

    def rectangle(self) -> tuple[int, int]:
        """``layout``, or a UsageError that explains why there is none."""
        if self.layout is None:
            raise UsageError(
                "this step needs whole rows and columns, but an earlier reducer dropped single tokens; "
                "put the structured reducer first, or use a structured one throughout"
            )
        return self.layout

    @property
    def last_rectangle(self) -> tuple[int, int]:
        """``layout``, or once ragged the last one there was."""
        if self.layout is None and self.home is not None:
            return self.home[1]
        return self.rectangle()

    @property
    def last_rows(self) -> Tensor:
        """(B, rows): which rows of the full grid the last rectangle has, in each clip."""
        cell = self.cell if self.layout is not None or self.home is None else self.home[0]
        return cell.unflatten(1, self.last_rectangle)[:, :, 0] // self.full[1]

    def as_grid(self) -> Tensor:
        """(B, D, rows, cols) of the current rectangle; a ragged grid is a UsageError."""
        return self.patches.transpose(1, 2).unflatten(2, self.rectangle())

    def as_filled_grid(self, values: Tensor) -> Tensor:
        """values (B, N, W), one per patch token -> (B, W, rows, cols) of the rectangle they form or last formed.

        What is missing from it once tokens are ragged is filled from those that are there, the nearer the more.
        """
        if self.layout is not None or self.home is None:
            return values.transpose(1, 2).unflatten(2, self.rectangle())
        cell, (rows, cols) = self.home
        order = torch.arange(rows * cols, device=cell.device).expand_as(cell)
        place = cell.new_zeros(len(cell), self.full[0] * self.full[1]).scatter(1, cell, order).gather(1, self.cell)
        with torch.autocast(values.device.type, enabled=False):
            known = torch.cat([values.float(), values.new_ones(*values.shape[:2], 1, dtype=torch.float32)], dim=2)
            spot = place[:, :, None].expand_as(known)
            known = known.new_zeros(len(known), rows * cols, known.shape[2]).scatter(1, spot, known)
            near = _nearness(rows, cols, values.device) @ known
            grid = torch.where(known[:, :, -1:] > 0, known, near / near[:, :, -1:])[:, :, :-1]
        return grid.to(values.dtype).transpose(1, 2).unflatten(2, (rows, cols))

    def stack(self) -> Tensor:
        """(B, P + 1, D): each prefix token, then the mean of the patch tokens (MAEST, section 3.3)."""
        return torch.cat([self.x[:, : self.prefix], self.patch_mean()[:, None]], dim=1)

    def patch_mean(self) -> Tensor:
        """(B, D): the mean over patches; a merged token counts as often as patches went into it."""
        if self.size is None:
            return self.patches.mean(dim=1)
        share = self.size / self.size.sum(dim=1, keepdim=True)
        return (self.patches * share[:, :, None]).sum(dim=1).to(self.x.dtype)

    def key_bias(self) -> Tensor | None:
        """(B, 1, 1, P + N) to add to attention logits: the log of each token's size; None where all are 1.

        A token of size s then draws the attention that its s patches drew (ToMe, arXiv 2210.09461, section 3).
        """
        if self.size is None:
            return None
        return torch.nn.functional.pad(self.size.log(), (self.prefix, 0))[:, None, None]

    def gather(self, values: Tensor) -> Tensor:
        """values (B or 1, rows * cols, W) of the full grid -> (B, N, W) at the places of these tokens."""
        if self.n_patches == values.shape[1]:
            return values
        index = self.cell[:, :, None].expand(-1, -1, values.shape[2])
        return values.expand(index.shape[0], -1, -1).gather(1, index)

    def _gather(self, index: Tensor, *, layout: tuple[int, int] | None) -> TokenGrid:
        prefix, patches = self.x[:, : self.prefix], self.patches
        kept = patches.gather(1, index[:, :, None].expand(-1, -1, patches.shape[2]))
        size = None if self.size is None else self.size.gather(1, index)
        carried = self.carried
        if carried is not None:
            carried = carried.gather(1, index[:, :, None].expand(-1, -1, carried.shape[2]))
        home = (self.cell, self.layout) if layout is None and self.layout is not None else self.home
        x = torch.cat([prefix, kept], dim=1)
        return replace(self, x=x, cell=self.cell.gather(1, index), layout=layout, size=size, carried=carried, home=home)


def _nearness(rows: int, cols: int, device: torch.device) -> Tensor:
    """(rows * cols, rows * cols): how much one cell of a rectangle says about another, by their distance.

    The next row is as far as the fourth column. Of mn04's map thinned at random to a half, this restores the logits to
    0.40 (root mean square over 48 clips of music); the means of row and column do to 0.47, equal distances to 0.54.
    """
    row = torch.arange(rows, device=device).repeat_interleave(cols)
    col = torch.arange(cols, device=device).repeat(rows)
    distance = (16 * (row[:, None] - row).square() + (col[:, None] - col).square()).float()
    return (1 + distance).pow(-2)


@dataclass(frozen=True)
class MelPatches:
    """The log-mel behind each patch that a convolution of this size and stride sees, cut out when somebody asks.

    mel  (B, n_mels, frames); with ``pads`` its last frame is repeated until the last patch is whole
    """

    mel: Tensor
    size: Sequence[int]
    stride: Sequence[int]
    pads: bool = False

    @cached_property
    def values(self) -> Tensor:
        """(B, rows, cols, h, w), a view of the mel of which nothing is copied unless it is padded."""
        missing = -self.mel.shape[2] % self.stride[1] if self.pads else 0
        mel = F.pad(self.mel, (0, missing), mode="replicate") if missing else self.mel
        return mel.unfold(1, self.size[0], self.stride[0]).unfold(2, self.size[1], self.stride[1])

    @cached_property
    def intensity(self) -> Tensor:
        """(B, rows * cols): mean log-mel of each patch."""
        return self.values.float().mean(dim=(-2, -1)).flatten(1)

    @cached_property
    def variation(self) -> Tensor:
        """(B, rows * cols): standard deviation of the log-mel in each patch."""
        return self.values.float().std(dim=(-2, -1), correction=0).flatten(1)


@dataclass(frozen=True)
class Signals:
    """Evidence for choosing tokens, computed only when a reducer asks; scores are fp32 even under autocast.

    mel    MelPatches             of the full grid; its statistics are computed once, whatever number of blocks ask
    seeds  (B,) int64 or None     one per clip, fixes random choices at inference; None while training
    training                      whether the network is learning: some reducers add noise then
    q, k   (B, H, P + N, D / H)   this block's queries and keys; None before block 1
    """

    mel: MelPatches
    seeds: Tensor | None = None
    training: bool = False
    q: Tensor | None = None
    k: Tensor | None = None

    def at(self, q: Tensor, k: Tensor) -> Signals:
        """The same evidence inside a block."""
        return replace(self, q=q, k=k)

    def cls_attention(self, tokens: TokenGrid) -> Tensor:
        """(B, N): mean over heads of softmax(q_cls kᵀ / √d) on the patch tokens (EViT; AASPatchout, section 3)."""
        if not tokens.prefix:
            raise UsageError(
                "this model has no CLS token to score by; score by token-to-token attention or by the mel instead: "
                "topk:0.7/token, topk:0.7/intensity, topk:0.7/variation"
            )
        q, k = self._queries_keys()
        return _attention(q[:, :, :1], k, tokens.key_bias()).mean(dim=1)[:, 0, tokens.prefix :]

    @torch.no_grad()
    def token_attention(self, tokens: TokenGrid) -> Tensor:
        """(B, N): what each patch token receives from all patch tokens, mean over heads and queries (2504.01690).

        One head at a time, so that at most (B, N, P + N) of the map is in memory.
        """
        q, k = self._queries_keys()
        bias, prefix = tokens.key_bias(), tokens.prefix
        received = [
            _attention(q[:, head, None, prefix:], k[:, head, None], bias).mean(dim=2) for head in range(q.shape[1])
        ]
        return torch.cat(received, dim=1).mean(dim=1)[:, prefix:]

    def intensity(self, tokens: TokenGrid) -> Tensor:
        """(B, N): mean of the log-mel inside each token's patch."""
        return self.mel.intensity.gather(1, tokens.cell)

    def variation(self, tokens: TokenGrid) -> Tensor:
        """(B, N): standard deviation of the log-mel inside each token's patch."""
        return self.mel.variation.gather(1, tokens.cell)

    def key_direction(self, tokens: TokenGrid) -> Tensor:
        """(B, N, D / H): each patch token's key, averaged over heads, of length 1 (what ToMe compares)."""
        _, k = self._queries_keys()
        return torch.nn.functional.normalize(k[:, :, tokens.prefix :].float().mean(dim=1), dim=-1)

    def uniform(self, tokens: TokenGrid, n: int, *, per_clip: bool = False) -> Tensor:
        """(B, n) or (1, n) random numbers in 0..1: the one source of chance for reducers.

        With seeds, each clip's come from its own seed and the number of tokens now there, so neither the batch nor
        the device matter, and two stages of a plan draw independently. Without, they come from torch's generator:
        one draw for the whole batch, as PaSST and MAEST train, or one ``per_clip``.
        """
        if self.seeds is None:
            return torch.rand(len(tokens.x) if per_clip else 1, n, dtype=torch.float64, device=tokens.x.device)
        draws = [np.random.default_rng((seed % 2**64, tokens.n_patches)).random(n) for seed in self.seeds.tolist()]
        return torch.as_tensor(np.stack(draws), device=tokens.x.device)

    def _queries_keys(self) -> tuple[Tensor, Tensor]:
        if self.q is None or self.k is None:
            raise UsageError(
                "there is no attention before block 1; choose a block number of 1 or more for this reducer"
            )
        return self.q, self.k


def _attention(q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q kᵀ / √d + bias) in fp32, (B, H, Q, L)."""
    with torch.autocast(q.device.type, enabled=False):
        logits = q.float() @ k.float().transpose(-2, -1) * q.shape[-1] ** -0.5
        return (logits if bias is None else logits + bias).softmax(dim=-1)
