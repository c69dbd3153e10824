"""audiopatch's own format: a folder with ``model.safetensors``, ``card.json`` and ``labels.txt``."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save as serialise

from audiopatch.errors import WeightsError
from audiopatch.models.card import ModelCard
from audiopatch.models.tagger import Tagger
from audiopatch.zoo.cards import CARD_FILE, LABELS_FILE
from audiopatch.zoo.checkpoint import read_checkpoint
from audiopatch.zoo.published import Published

WEIGHTS_FILE = "model.safetensors"
_MAX_TEXT_BYTES = 16 << 20
# Smaller tensors stay in float32: they are a few per cent of a file, and most of what rounding costs (norms, biases;
# of MusiCNN, three small filter banks make 9/10 of it).
_ROUNDED_FROM = 16_384


def save(tagger: Tagger, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write card, labels and weights to ``folder``; large floats as ``dtype``, small tensors in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: _stored(value, dtype) for key, value in tagger.state_dict().items()}
    (folder / WEIGHTS_FILE).write_bytes(serialise(state))  # save_file's own would be readable by the owner alone
    (folder / CARD_FILE).write_text(tagger.card.to_json(), encoding="utf-8")
    (folder / LABELS_FILE).write_text("".join(f"{label}\n" for label in tagger.labels), encoding="utf-8")


def save_card(card: ModelCard, folder: Path) -> None:
    """Replace the card of a native folder, its weights untouched."""
    unfinished = folder / f"{CARD_FILE}.unfinished"
    unfinished.write_text(card.to_json(), encoding="utf-8")
    unfinished.replace(folder / CARD_FILE)


def matches(folder: Path) -> bool:
    """Whether a folder holds a native model."""
    return (folder / CARD_FILE).is_file()


def read(folder: Path) -> Published:
    """The card, the weights in float32, and the labels of a native folder."""
    try:
        card = ModelCard.from_json(_text(folder / CARD_FILE))
    except WeightsError as error:
        raise WeightsError(f"{folder}: {error}") from error
    state = read_checkpoint(folder / WEIGHTS_FILE)
    as_float = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    return Published(card, as_float, read_labels(folder))


def read_labels(folder: Path) -> tuple[str, ...]:
    """The class names stored beside the weights."""
    return tuple(_text(folder / LABELS_FILE).splitlines())


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_TEXT_BYTES:
            raise WeightsError(f"{path} is far larger than any real one")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error


def _stored(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    rounded = value.is_floating_point() and value.numel() >= _ROUNDED_FROM
    kept = torch.float32 if value.is_floating_point() else value.dtype
    return value.detach().to("cpu", dtype if rounded else kept).contiguous()
