"""Model cards: what a set of weights is, where it comes from, and under which licence. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from audiopatch.errors import WeightsError
from audiopatch.models.config import (
    BackboneConfig,
    DymnConfig,
    FrontendConfig,
    HamConfig,
    HeadConfig,
    MobileNetConfig,
    MusicnnConfig,
    StemConfig,
    TransformerConfig,
    VggConfig,
)
from audiopatch.models.thresholds import Thresholds


@dataclass(frozen=True)
class Weights:
    """Where published weights lie. ``sha256`` may be a prefix where only that is known."""

    url: str = ""
    hub: str = ""
    filename: str = ""
    sha256: str = ""
    size_bytes: int = 0


@dataclass(frozen=True)
class ModelCard:
    """Weights know their front-end, network, labels, licence and published scores.

    ``segment_s`` is the length the model was trained on; ``multilabel`` chooses sigmoid over softmax;
    ``labels`` names a label set (see ``zoo.labels``); ``scores`` are published figures with their source as key;
    ``thresholds`` say from which score on a label is meant, for each way in which that has been measured: ask
    ``thresholds_for``; ``licence`` is that of the weights, ``code_licence`` that of the code they came with, ``page``
    where both were read; ``domain`` is what the labels (or, without labels, the training data) are about: music, sound
    or speech; ``shrunk_from`` names the model that it is a smaller copy of.
    """

    name: str
    family: str
    frontend: FrontendConfig
    backbone: BackboneConfig
    head: HeadConfig
    labels: str
    segment_s: float
    multilabel: bool = True
    weights: Weights | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    thresholds: tuple[Thresholds, ...] = ()
    licence: str = ""
    code_licence: str = ""
    paper: str = ""
    page: str = ""
    domain: str = ""
    summary: str = ""
    shrunk_from: str = ""

    def with_thresholds(self, measured: Thresholds) -> ModelCard:
        """``measured`` takes the place of what was measured in the same way on the same clips, and comes last."""
        others = (known for known in self.thresholds if known.conditions != measured.conditions)
        return replace(self, thresholds=(*others, measured))

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card that ``to_json`` wrote; anything else is a WeightsError that says what is off."""
        try:
            values = json.loads(text)
            values["frontend"] = _typed(FrontendConfig, values["frontend"])
            values["backbone"] = _backbone(values["backbone"])
            values["head"] = _head(values["head"])
            values["weights"] = _typed(Weights, values["weights"]) if values.get("weights") else None
            values["thresholds"] = _thresholds(values.get("thresholds", ()))
            return _typed(cls, values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise WeightsError(f"this is no audiopatch model card: {error}") from error


def _thresholds(values: Any) -> tuple[Thresholds, ...]:
    """Those of a card; one of an earlier version holds one mapping from label to score, and no word about it."""
    if isinstance(values, Mapping):
        return (Thresholds(dict(values)),) if values else ()
    return tuple(_typed(Thresholds, one) for one in values)


_BACKBONES: dict[str, type[BackboneConfig]] = {
    "transformer": TransformerConfig,
    "ham": HamConfig,
    "mobilenet": MobileNetConfig,
    "dymn": DymnConfig,
    "musicnn": MusicnnConfig,
    "vgg": VggConfig,
}
_T = TypeVar("_T")


def _backbone(values: dict[str, Any]) -> BackboneConfig:
    stem = _typed(StemConfig, values["stem"]) if values.get("stem") else None
    return _typed(_BACKBONES[values["kind"]], values | ({"stem": stem} if stem else {}))


def _head(values: dict[str, Any]) -> HeadConfig:
    return _typed(HeadConfig, values | {"parts": tuple(map(_head, values.get("parts", ())))})


def _typed(kind: type[_T], values: Mapping[str, Any]) -> _T:
    """``kind(**values)`` with JSON's lists as tuples; a value of another type than its field's is a TypeError."""
    made = kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    hints = get_type_hints(kind)
    for entry in fields(kind):  # type: ignore[arg-type]
        if not _is_a(getattr(made, entry.name), hints[entry.name]):
            raise TypeError(f"'{entry.name}' cannot be {getattr(made, entry.name)!r}")
    return made


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type: the few forms that cards use."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in arguments
    if origin in (Union, UnionType):
        return any(_is_a(value, argument) for argument in arguments)
    if origin is tuple:
        kinds = arguments[:1] * len(value) if isinstance(value, tuple) and arguments[-1] is ... else arguments
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_is_a, value, kinds))
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    if hint is int:
        return type(value) is int and abs(value) < 1 << 40
    return hint is Any or isinstance(value, origin or hint)
