"""What a weight reader gives back, the questions readers ask a state dict, and the strict copy into a Tagger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from audiopatch.errors import AudioPatchError, WeightsError
from audiopatch.models.card import ModelCard, TransformerConfig
from audiopatch.models.tagger import Tagger

MAX_SEGMENT_S = 3600.0
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


def dim_of(state: Mapping[str, Tensor], key: str = "cls_token") -> int:
    """The width of the token vectors, which must be whole heads of 64."""
    dim = shape_of(state, key, 3)[2]
    if dim % HEAD_DIM:
        raise WeightsError(f"'{key}' is {dim} wide, which is not a whole number of heads of {HEAD_DIM}")
    return dim


def depth_of(keys: Iterable[str], prefix: str = "blocks.") -> int:
    """How many blocks the keys ``blocks.N...`` name. A gap among them shows up later, as a missing key."""
    return len({key[len(prefix) :].partition(".")[0] for key in keys if key.startswith(prefix)})


def drop_unused(state: Mapping[str, Tensor], prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """The state without the keys that the reference itself never uses."""
    return {key: value for key, value in state.items() if not key.startswith(prefixes)}


def adopt_card(published: Published, card: ModelCard) -> Published:
    """The tensors under the zoo's card for them; another architecture than the card's is a WeightsError.

    A hub folder brings a config of its own, which is right about everything but the task: the classes must agree.
    """
    read = published.card
    on_hub = card.weights is not None and card.weights.hub
    for part in ("head",) if on_hub else ("frontend", "backbone", "head"):
        found, expected = getattr(read, part), getattr(card, part)
        if found != expected:
            raise WeightsError(f"the weights of '{card.name}' are not what its card says: {found}, expected {expected}")
    if on_hub:
        card = replace(card, frontend=read.frontend, backbone=read.backbone, segment_s=read.segment_s)
    return replace(published, card=replace(card, labels=read.labels if published.labels else card.labels))


def check_fit(card: ModelCard, labels: tuple[str, ...], state: Mapping[str, Tensor]) -> None:
    """A WeightsError unless the state is exactly what the card's network needs; no memory is taken to find out."""
    if len(labels) != card.head.n_classes:
        raise WeightsError(f"'{card.name}' has {card.head.n_classes} classes but {len(labels)} labels")
    if depth_of(state, "backbone.blocks.") < getattr(card.backbone, "depth", 0):
        raise WeightsError(f"the card of '{card.name}' names more blocks than its weights hold")
    try:
        with torch.device("meta"):
            tagger = Tagger(card, labels)
            _check_geometry(tagger)
            expected = tagger.state_dict()
    except AudioPatchError:
        raise
    except Exception as error:  # a card is outside data: whatever building from it trips over is a bad card
        raise WeightsError(f"the card of '{card.name}' describes no network that can be built: {error}") from error
    check_keys(expected, state)


def _check_geometry(tagger: Tagger) -> None:
    """A WeightsError unless one segment fits the front-end and the position table."""
    card, frontend = tagger.card, tagger.frontend
    n_samples = card.segment_s * frontend.sample_rate
    most = MAX_SEGMENT_S * frontend.sample_rate
    frames_fit = frontend.hop_length > 0 and 0 < (frontend.n_frames or 1) <= most
    if not 0 < frontend.min_samples <= n_samples <= most or not frames_fit:
        raise WeightsError(f"'{card.name}': segments of {card.segment_s} s ({frontend.n_frames} frames) cannot be")
    if isinstance(card.backbone, TransformerConfig):
        rows, cols = tagger.grid or (0, 0)
        fits = 1 <= rows <= card.backbone.grid[0] and 1 <= cols <= card.backbone.grid[1]
        if not fits or card.backbone.n_mels != frontend.n_mels:
            raise WeightsError(f"'{card.name}': segments of {rows} × {cols} patches do not fit its position table")


def check_keys(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """A missing, unexpected, misshapen or mistyped tensor is a WeightsError that names it and both shapes."""
    problems = [f"missing '{key}' {tuple(expected[key].shape)}" for key in expected.keys() - state.keys()]
    problems += [f"unexpected '{key}' {tuple(state[key].shape)}" for key in state.keys() - expected.keys()]
    for key in expected.keys() & state.keys():
        found, wanted = state[key], expected[key]
        if found.shape != wanted.shape:
            problems.append(f"'{key}' has shape {tuple(found.shape)}, expected {tuple(wanted.shape)}")
        elif found.is_floating_point() != wanted.is_floating_point():
            problems.append(f"'{key}' has type {found.dtype}, expected {wanted.dtype}")
    if problems:
        shown = "; ".join(sorted(problems)[:5])
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise WeightsError(f"the weights do not fit their card: {shown}{more}")


def copy_weights(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy every tensor by name, strictly (see ``check_keys``), converting to the module's own precision."""
    check_keys(module.state_dict(), state)
    module.load_state_dict(dict(state))
