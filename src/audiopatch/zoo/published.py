"""What a weight reader gives back, and the questions readers ask a state dict. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audiopatch.errors import WeightsError
from audiopatch.models.card import ModelCard

if TYPE_CHECKING:
    from torch import Tensor

AUDIOSET = {527: "audioset"}  # classes -> label set
HEAD_DIM = 64  # every published network gives each attention head 64 dimensions


@dataclass(frozen=True)
class Published:
    """A card, the tensors for the Tagger it describes (under the Tagger's own key names), and its class names.

    ``labels`` None means those of the card's label set.
    """

    card: ModelCard
    state: Mapping[str, Tensor]
    labels: tuple[str, ...] | None = None


def shape_of(state: Mapping[str, Tensor], key: str, n_dims: int) -> tuple[int, ...]:
    """The shape of a tensor that the reader needs to size the network; missing or of other rank is a WeightsError."""
    if key not in state:
        raise WeightsError(f"the weights lack '{key}'")
    shape = tuple(state[key].shape)
    if len(shape) != n_dims or 0 in shape:
        raise WeightsError(f"'{key}' has shape {shape}; {n_dims} dimensions were expected")
    return shape


def missing(state: Mapping[str, Tensor], signs: Iterable[str]) -> list[str]:
    """Which of a family's ``signs``, tensors that all of its files have, a state dict lacks."""
    return [f"'{sign}'" for sign in signs if sign not in state]


def width_of(state: Mapping[str, Tensor], key: str = "cls_token", n_dims: int = 3) -> int:
    """The width of the token vectors, the last size of a token or a norm; it must be whole heads of 64."""
    dim = shape_of(state, key, n_dims)[-1]
    if dim % HEAD_DIM:
        raise WeightsError(f"'{key}' is {dim} wide, which is not a whole number of heads of {HEAD_DIM}")
    return dim


def label_set(n_classes: int, known: Mapping[int, str] = AUDIOSET) -> str:
    """The label set of a network with so many classes: one that is known, else mere numbers."""
    return known.get(n_classes, f"classes-{n_classes}")


def depth_of(keys: Iterable[str], prefix: str = "blocks.") -> int:
    """How many blocks the keys ``blocks.N...`` name. A gap among them shows up later, as a missing key."""
    return len({key[len(prefix) :].partition(".")[0] for key in keys if key.startswith(prefix)})


def drop_unused(state: Mapping[str, Tensor], prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """The state without the keys that the reference itself never uses."""
    return {key: value for key, value in state.items() if not key.startswith(prefixes)}
