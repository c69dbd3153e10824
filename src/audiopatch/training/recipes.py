"""Recipes: every row of the papers' tables as data (``recipes/*.toml``), with the published figures beside it.

A file holds what its rows share under ``[train]`` or ``[probe]``, and what each differs in under ``[rows.NAME]``.
Where a paper's text and its code disagree, ``follows`` says which one the file has, and ``[as.paper]`` or ``[as.code]``
(of the file or of a row) what the other says. ``{keep_rate}`` stands for the file's ``keep_rate``.
``recipes/published.csv`` holds every figure; ``variant`` is empty for the row as it stands, or names a model, a keep
rate or a part of a map.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any

from audiopatch.catalog import nearest, unknown_name
from audiopatch.datasets import DATASETS
from audiopatch.errors import UsageError
from audiopatch.training.config import ProbeConfig, TrainConfig, from_values

_KINDS: dict[str, type[TrainConfig] | type[ProbeConfig]] = {"train": TrainConfig, "probe": ProbeConfig}
_FOLDER = resources.files("audiopatch.training") / "recipes"


@dataclass(frozen=True)
class Figure:
    """One published figure, of a recipe as it stands or of a ``variant`` of it, and ``where`` it was read."""

    variant: str
    metric: str
    value: float
    where: str


@dataclass(frozen=True)
class Listed:
    """A recipe as a list shows it: ``published`` is for the recipe as it stands, ``figures`` are also of variants."""

    name: str
    title: str
    dataset: str
    paper: str
    note: str
    follows: str
    published: dict[str, float]
    figures: tuple[Figure, ...]
    command: str


@dataclass(frozen=True)
class TrainRecipe:
    """One experiment; ``note`` says what to know first, ``follows`` whose settings: the paper's, or its code's."""

    name: str
    title: str
    config: TrainConfig | ProbeConfig
    paper: str = ""
    note: str = ""
    follows: str = ""
    keep_rate: float | None = None
    figures: tuple[Figure, ...] = ()

    @property
    def published(self) -> dict[str, float]:
        """The paper's figures for this very configuration, by the names of ours; empty where it has none."""
        variants = {figure.variant for figure in self.figures}
        own = [f"keep {self.keep_rate}"] if self.keep_rate else []
        own += [self.config.model] if isinstance(self.config, ProbeConfig) else []
        variant = next((name for name in own if name in variants), "")
        return {figure.metric: figure.value for figure in self.figures if figure.variant == variant}

    @property
    def source(self) -> str:
        """Where the figures were read."""
        return "; ".join(dict.fromkeys(figure.where for figure in self.figures))

    @property
    def command(self) -> str:
        """What reproduces it."""
        return f"audiopatch train {self.name} --data-dir DIR"

    @property
    def listed(self) -> Listed:
        own = {entry.name: getattr(self, entry.name) for entry in fields(Listed) if entry.name != "dataset"}
        return Listed(dataset=self.config.dataset, **own)


@cache
def recipes() -> Mapping[str, TrainRecipe]:
    """All recipes by name, in the order of their files."""
    return {name: _recipe(name, row, file) for file in _files() for name, row in file["rows"].items()}


def find_recipe(name: str, *, keep_rate: float | None = None, follow: str | None = None) -> TrainRecipe:
    """The recipe called ``name``; a UsageError with the nearest name where there is none.

    ``keep_rate`` (0..1) is another than the recipe's own, where it prunes; ``follow`` is "paper" or "code".
    """
    if name not in recipes():
        cure = nearest(name, recipes(), otherwise="'audiopatch train --list' names them all")
        raise UsageError(f"unknown recipe '{name}'; {cure}")
    if keep_rate is None and follow is None:
        return recipes()[name]
    file = next(file for file in _files() if name in file["rows"])
    row = file["rows"][name]
    if keep_rate is not None and not _is_pruned(file, row):
        raise UsageError(f"'{name}' has no keep rate: it prunes nothing")
    if follow is not None and "follows" not in file:
        raise UsageError(
            f"'{name}' has one reading only: the paper's text and its code agree, or one of them is not known"
        )
    if follow not in (None, "paper", "code"):
        raise UsageError(f"--as {follow} does not exist; choose paper or code")
    return _recipe(name, row, file, keep_rate=keep_rate, follow=follow)


@cache
def figures_of(name: str) -> tuple[Figure, ...]:
    """Every published figure of the recipe called ``name``."""
    rows = csv.DictReader((_FOLDER / "published.csv").read_text(encoding="utf-8").splitlines())
    return tuple(
        Figure(row["variant"], row["metric"], float(row["value"]), row["where"])
        for row in rows
        if row["recipe"] == name
    )


@cache
def _files() -> tuple[dict[str, Any], ...]:
    paths = sorted((path for path in _FOLDER.iterdir() if path.name.endswith(".toml")), key=lambda path: path.name)
    return tuple(tomllib.loads(path.read_text(encoding="utf-8")) for path in paths)


def _recipe(
    name: str,
    row: Mapping[str, Any],
    file: Mapping[str, Any],
    *,
    keep_rate: float | None = None,
    follow: str | None = None,
) -> TrainRecipe:
    kind = next(kind for kind in _KINDS if kind in file)
    settings = {key: value for key, value in row.items() if key not in ("title", "note", "as")}
    values = merged(file[kind], settings)
    if follow not in (None, file.get("follows")):
        for other in (file, row):
            values = merged(values, other.get("as", {}).get(follow, {}))
    rate = (keep_rate or file["keep_rate"]) if _is_pruned(file, row) else None
    config = from_values(_KINDS[kind], _filled(values, rate))
    if config.dataset not in DATASETS:
        raise UsageError(unknown_name("dataset", config.dataset, DATASETS))
    note, follows = row.get("note", file.get("note", "")), follow or file.get("follows", "")
    return TrainRecipe(name, row["title"], config, file.get("paper", ""), note, follows, rate, figures_of(name))


def _is_pruned(file: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    return "keep_rate" in file and row.get("reduction", {}).get("inference") != "none"


def _filled(values: Any, keep_rate: float | None) -> Any:
    """``{keep_rate}`` written out, in every text of nested tables."""
    if isinstance(values, Mapping):
        return {key: _filled(value, keep_rate) for key, value in values.items()}
    filled = isinstance(values, str) and keep_rate is not None
    return values.replace("{keep_rate}", f"{keep_rate:g}") if filled else values


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables with ``changes`` written over ``base``, key by key."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result
