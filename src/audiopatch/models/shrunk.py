"""A transformer with fewer attention heads and fewer blocks: their weights are gone, not masked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor

from audiopatch.errors import UsageError
from audiopatch.models.card import ModelCard
from audiopatch.models.config import TransformerConfig
from audiopatch.models.tagger import Tagger

_BLOCK = re.compile(r"backbone\.blocks\.(\d+)\.(.+)")
_RIDGE = 0.1  # of the mean variance: of 0.001 to 0.1, audiopatch-small's tags on other music were kept best by it
_LEAST = 1e-12


@dataclass(frozen=True)
class Remainder:
    """What stays of a network: by the number (from 1) of each set of block weights that stays, which of its heads
    (from 0). Without shared weights, a set is a block."""

    heads: Mapping[int, Sequence[int]] = field(default_factory=dict)

    @classmethod
    def all_of(cls, config: TransformerConfig) -> Remainder:
        """Everything there is."""
        counts = config.block_heads[:: config.sharing]
        return cls({number: tuple(range(n)) for number, n in enumerate(counts, start=1)})

    def without_head(self, number: int, head: int) -> Remainder:
        return Remainder({**self.heads, number: tuple(one for one in self.heads[number] if one != head)})

    def without_block(self, number: int) -> Remainder:
        return Remainder({one: heads for one, heads in self.heads.items() if one != number})

    def config(self, config: TransformerConfig) -> TransformerConfig:
        """The network that is left."""
        counts = tuple(len(heads) for heads in self.heads.values())
        whole = all(n == config.n_heads for n in counts)
        return replace(config, depth=len(counts) * config.sharing, heads=() if whole else counts)


def network_of(card: ModelCard) -> TransformerConfig:
    """The card's network; one without attention heads is a UsageError."""
    if not isinstance(card.backbone, TransformerConfig):
        raise UsageError(f"{card.name} is a convolutional network: it has no attention heads or blocks to drop")
    return card.backbone


@dataclass(frozen=True)
class Moments:
    """What the heads of a block gave, (H d,) for each of ``n`` tokens, as float64 sums; two of them add up."""

    n: int
    total: Tensor
    products: Tensor

    @classmethod
    def of(cls, outputs: Tensor) -> Moments:
        """outputs (n, H d)"""
        values = outputs.double()
        return cls(len(values), values.sum(dim=0), values.T @ values)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, self.total + other.total, self.products + other.products)

    @property
    def mean(self) -> Tensor:
        """(H d,)"""
        return self.total / self.n

    @property
    def covariance(self) -> Tensor:
        """(H d, H d)"""
        return self.products / self.n - self.mean.outer(self.mean)

    def predict(self, wanted: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers ``wanted`` (W,) as a linear map (W, K) of the numbers ``known`` (K,), and a constant (W,)."""
        covariance = self.covariance[known]
        ridge = _RIDGE * covariance[:, known].diagonal().mean().clamp_min(_LEAST) * torch.eye(len(known)).to(covariance)
        slope = torch.linalg.solve(covariance[:, known] + ridge, covariance[:, wanted]).T
        return slope, self.mean[wanted] - slope @ self.mean[known]


def shrunk(tagger: Tagger, kept: Remainder, moments: Mapping[int, Moments] | None = None) -> Tagger:
    """A Tagger of its own with those heads and blocks alone; it answers as ``tagger`` does with the others masked.

    A head that goes takes its rows of q, k and v and its columns of the projection along; of a block that goes, the
    tokens pass by unchanged. What was measured of the whole model (scores, thresholds) is not said of this one.
    With ``moments``, by number what its heads gave, a head is not masked: what can be told of it from those that stay,
    by least squares, is added to their projection, and its mean to the bias (He et al. 2017, "Channel pruning for
    accelerating very deep neural networks", section 3.1, do so with channels).
    """
    config = network_of(tagger.card)
    card = replace(tagger.card, backbone=kept.config(config), weights=None, scores={}, thresholds=())
    made = Tagger(card, tagger.labels).eval().requires_grad_(False)
    made.load_state_dict(_state(tagger, kept, config.head_dim))
    made = made.to(tagger.device)
    if moments is not None:
        _make_up(moments, tagger, kept, made)
    return made


def _state(tagger: Tagger, kept: Remainder, head_dim: int) -> dict[str, Tensor]:
    place = {old - 1: new for new, old in enumerate(kept.heads)}
    state = {}
    for key, value in tagger.state_dict().items():
        found = _BLOCK.fullmatch(key)
        if found is None:
            state[key] = value
        elif (old := int(found[1])) in place:
            state[f"backbone.blocks.{place[old]}.{found[2]}"] = _cut(found[2], value, kept.heads[old + 1], head_dim)
    return state


def _cut(name: str, value: Tensor, heads: Sequence[int], head_dim: int) -> Tensor:
    """One tensor of a block -> the part of it that ``heads`` need."""
    index = torch.tensor(heads, device=value.device)
    if name.startswith("attn.qkv."):  # (3 H d, ...)
        return value.unflatten(0, (3, -1, head_dim)).index_select(1, index).flatten(0, 2)
    if name == "attn.proj.weight":  # (D, H d)
        return value.unflatten(1, (-1, head_dim)).index_select(1, index).flatten(1)
    return value


def _make_up(moments: Mapping[int, Moments], tagger: Tagger, kept: Remainder, made: Tagger) -> None:
    """Let the heads that stay say what those that went did, as far as they can."""
    old, new = cast(Any, tagger.backbone).blocks, cast(Any, made.backbone).blocks
    for (number, heads), block in zip(kept.heads.items(), new, strict=True):
        layer = old[number - 1].attn
        numbers = torch.arange(layer.proj.in_features, device=tagger.device).unflatten(0, (layer.n_heads, -1))
        stays = torch.zeros(layer.n_heads, dtype=torch.bool, device=tagger.device)
        stays[list(heads)] = True
        slope, constant = moments[number].predict(numbers[~stays].flatten(), numbers[stays].flatten())
        lost = layer.proj.weight[:, numbers[~stays].flatten()].double()
        block.attn.proj.weight += (lost @ slope).to(block.attn.proj.weight)
        block.attn.proj.bias += (lost @ constant).to(block.attn.proj.bias)
