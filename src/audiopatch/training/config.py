"""A training run as plain values, everything that decides its result, and as TOML. Imports no torch."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar, get_args, get_type_hints

import tomli_w

from audiopatch.catalog import unknown_name
from audiopatch.errors import UsageError


@dataclass(frozen=True)
class ModelChoice:
    """Which network, and what it starts from.

    ``base`` is a model whose architecture is taken; ``weights`` are its own ("base"), "random", another model's name,
    or a file with an image ViT (DeiT). What is None or 0 stays as the base has it. ``head``: "plain", or "separated"
    for a DIST head of its own. ``keep_every`` 2 keeps the first, the last and every second block between (PaSST-L).
    ``sharing`` 3 runs three blocks in a row on one set of weights (ALBERT, Lan et al. 2020): the same computation from
    a third of the parameters, which begin as those of the first of the three.
    ``n_conformers`` and ``channel_attention`` make it a HAM-AST.
    """

    base: str = "tiny-random"
    weights: str = "base"
    segment_s: float = 0.0
    frontend: str = ""
    frontend_options: dict[str, Any] = field(default_factory=dict)
    patch_stride: int = 0
    head: str = "plain"
    keep_every: int = 1
    sharing: int = 1
    n_conformers: int = 0
    channel_attention: bool = False
    n_frozen_blocks: int = 0


@dataclass(frozen=True)
class Reduction:
    """Plans for training and for inference; the training plan grows from ``start_epoch`` over ``ramp_epochs``.

    ``before`` is the plan of the epochs before ``start_epoch`` (the token-pruning study hides patches until it prunes).
    """

    train: str = "none"
    inference: str = "none"
    start_epoch: int = 0
    ramp_epochs: int = 0
    before: str = "none"


@dataclass(frozen=True)
class Optimizer:
    """``decay_matrices_only`` spares biases, norms, tokens and positions the weight decay; ``clip_norm`` 0 is off.

    With ``layer_decay`` below 1 each block learns that much slower than the one above it (BEiT, AudioMAE).
    """

    name: str = "adamw"
    lr: float = 1e-4
    weight_decay: float = 1e-4
    decay_matrices_only: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 0.0
    layer_decay: float = 1.0


@dataclass(frozen=True)
class LearningRate:
    """Share of ``Optimizer.lr`` over epochs: a rise, a plateau, a fall from ``decay_start`` on.

    ``warmup`` is "linear" or "exponential" (PaSST, exp(-5 (1 - t)²)). ``decay`` is "linear" or "cosine" over
    ``decay_epochs`` down to ``last_share``, "steps" (times ``factor`` every ``step_epochs``), or "none".
    """

    warmup: str = "linear"
    warmup_epochs: float = 0.0
    decay: str = "none"
    decay_start: float = 0.0
    decay_epochs: float = 1.0
    last_share: float = 0.0
    factor: float = 1.0
    step_epochs: int = 1


@dataclass(frozen=True)
class Augment:
    """What is done to training clips. Counts and widths are in samples of the mel: (groups, width) of masks.

    ``mask_frames`` and ``mask_bands`` hide groups of frames and mel bands (SpecAugment); each has exactly that width,
    or up to it with ``mask_random_width``; with ``mask_epochs`` they act in the first so many epochs only.
    ``mixup_chance`` clips are mixed with another one of the set, with a share from Beta(alpha, alpha), on the mel;
    ``wave_mixup_chance`` is the same on the waveform (AST). PaSST does both.
    """

    gain_db: float = 0.0
    roll_s: float = 0.0
    mask_frames: tuple[int, int] = (0, 0)
    mask_bands: tuple[int, int] = (0, 0)
    mask_random_width: bool = False
    mask_epochs: int = 0
    mixup_chance: float = 0.0
    mixup_alpha: float = 0.3
    wave_mixup_chance: float = 0.0
    wave_mixup_alpha: float = 2.0


@dataclass(frozen=True)
class Sampling:
    """``batch_size`` counts clips per step over all devices; ``micro_batch`` 0 does a device's share at once.

    ``epoch_clips`` 0 visits every clip once per epoch; else that many are drawn. ``balanced`` draws without
    replacement with weights by inverse label frequency (PaSST: the sum over a clip's labels of
    1000 / (count + ``balance_offset``)).
    """

    batch_size: int = 32
    micro_batch: int = 0
    epoch_clips: int = 0
    balanced: bool = False
    balance_offset: int = 100


@dataclass(frozen=True)
class Averaging:
    """Equal-weight average of the weights (SWA) every so many epochs from ``start_epoch`` (from 0; -1 is off)."""

    start_epoch: int = -1
    every_epochs: int = 1


@dataclass(frozen=True)
class Teacher:
    """A model that labels the training clips for the DIST head: scores above ``threshold``, or else the best one."""

    model: str = ""
    threshold: float = 0.45


@dataclass(frozen=True)
class TrainConfig:
    """A run of the loop. ``options`` go to the dataset recipe (such as ``fold``); precision is fp32, bf16 or fp16."""

    dataset: str
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 10
    seed: int = 0
    precision: str = "fp32"
    loss: str = "bce"
    model: ModelChoice = ModelChoice()
    reduction: Reduction = Reduction()
    optimizer: Optimizer = Optimizer()
    learning_rate: LearningRate = LearningRate()
    augment: Augment = Augment()
    sampling: Sampling = Sampling()
    averaging: Averaging = Averaging()
    teacher: Teacher = Teacher()


@dataclass(frozen=True)
class ProbeConfig:
    """An MLP on frozen features: MAEST's probes (Alonso-Jiménez et al. 2023, section 4.1).

    ``blocks`` (from 1; empty = all) × ``tokens`` (such as "cls" or "cls+dist+avg") are the features tried; ``lrs`` ×
    ``weight_decays`` × ``dropouts`` the settings. The best epoch of the best cell by validation is kept.
    """

    dataset: str
    options: dict[str, Any] = field(default_factory=dict)
    model: str = "tiny-random"
    patchout: str = "none"
    blocks: tuple[int, ...] = ()
    tokens: tuple[str, ...] = ("cls", "dist", "avg", "cls+dist+avg")
    n_hidden: int = 512
    epochs: int = 60
    batch_size: int = 128
    lrs: tuple[float, ...] = (1e-4,)
    weight_decays: tuple[float, ...] = (1e-3,)
    dropouts: tuple[float, ...] = (0.5,)
    seed: int = 0


_T = TypeVar("_T")


def from_values(kind: type[_T], values: Mapping[str, Any], where: str = "") -> _T:
    """A configuration from nested tables; an unknown key or a value of another type is a UsageError that names it."""
    hints = get_type_hints(kind)
    made = {}
    for key, value in values.items():
        if key not in hints:
            raise UsageError(unknown_name("setting", f"{where}{key}", [f"{where}{name}" for name in hints]))
        made[key] = _value(hints[key], value, f"{where}{key}")
    missing = [entry.name for entry in fields(kind) if _required(entry) and entry.name not in made]  # type: ignore[arg-type]
    if missing:
        raise UsageError(f"the setting '{where}{missing[0]}' is missing")
    return kind(**made)


def with_overrides(config: _T, settings: Mapping[str, str]) -> _T:
    """``{"optimizer.lr": "1e-4"}`` -> the configuration with that changed; values are written as in TOML."""
    known = _all_names(config)
    for name, text in settings.items():
        table = getattr(config, name.partition(".")[0], None)
        if name not in known and not isinstance(table, dict):  # a table such as options takes any key
            raise UsageError(unknown_name("setting", name, known))
        config = _replaced(config, name.split("."), text, name)
    return config


def overrides(settings: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` -> name: value as text."""
    for text in settings:
        if "=" not in text:
            raise UsageError(f"--set {text} cannot work; write NAME=VALUE, as optimizer.lr=1e-4")
    return dict(text.split("=", 1) for text in settings)


def spelled(settings: Mapping[str, Any] | None) -> list[str]:
    """``NAME=VALUE`` of each, values as in TOML but text as it is: what ``--set`` takes."""
    return [
        f"{name}={value if isinstance(value, str) else tomli_w.dumps({'value': value}).partition('=')[2].strip()}"
        for name, value in (settings or {}).items()
    ]


def to_toml(values: Mapping[str, Any]) -> str:
    """Nested tables as TOML, without those that are empty."""
    return tomli_w.dumps({key: _filled(value) for key, value in values.items() if value != {}})


def _filled(value: Any) -> Any:
    return {name: inner for name, inner in value.items() if inner != {}} if isinstance(value, dict) else value


def _replaced(config: Any, path: list[str], text: str, name: str) -> Any:
    hints = get_type_hints(type(config))
    if len(path) > 1 and isinstance(getattr(config, path[0]), dict):
        value: Any = {**getattr(config, path[0]), path[1]: _parsed(text)}
    elif len(path) > 1:
        value = _replaced(getattr(config, path[0]), path[1:], text, name)
    else:
        value = _value(hints[path[0]], _parsed(text), name)
    return replace(config, **{path[0]: value})


def _all_names(config: Any, where: str = "") -> list[str]:
    if not is_dataclass(config):
        return []
    nested = [_all_names(getattr(config, entry.name), f"{where}{entry.name}.") for entry in fields(config)]
    return [f"{where}{entry.name}" for entry in fields(config)] + [name for names in nested for name in names]


def _required(entry: dataclasses.Field) -> bool:
    return entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string


def _value(hint: Any, value: Any, name: str) -> Any:
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UsageError(f"'{name}' is a table of settings, not {value!r}")
        return from_values(hint, value, f"{name}.")  # type: ignore[arg-type]
    kinds = get_args(hint)
    if kinds and isinstance(value, list | tuple):
        kinds = kinds[:1] * len(value) if kinds[-1] is ... else kinds
        if len(kinds) == len(value):
            return tuple(_value(kind, item, name) for kind, item in zip(kinds, value, strict=True))
    wanted = getattr(hint, "__origin__", hint)
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise UsageError(f"'{name}' cannot be {value!r}; it is of type {wanted.__name__}")
    return value
