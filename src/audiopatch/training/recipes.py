"""Recipes: every row of the papers' tables as data (``recipes/*.toml``), with the published result beside it.

A file holds what its rows share under ``[train]`` or ``[probe]``, and what each differs in under ``[rows.NAME]``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from audiopatch.catalog import unknown_name
from audiopatch.datasets import DATASETS
from audiopatch.errors import UsageError
from audiopatch.training.config import ProbeConfig, TrainConfig
from audiopatch.training.config_toml import from_values

_KINDS: dict[str, type[TrainConfig] | type[ProbeConfig]] = {"train": TrainConfig, "probe": ProbeConfig}
_FOLDER = resources.files("audiopatch.training") / "recipes"


@dataclass(frozen=True)
class TrainRecipe:
    """One experiment. ``published`` holds the paper's figures by the names of ours, read in ``source``; ``note`` says
    what to know first."""

    name: str
    title: str
    config: TrainConfig | ProbeConfig
    paper: str = ""
    note: str = ""
    published: Mapping[str, float] = field(default_factory=dict)
    source: str = ""

    @property
    def command(self) -> str:
        """What reproduces it."""
        return f"audiopatch train {self.name} --data-dir DIR"


@cache
def recipes() -> Mapping[str, TrainRecipe]:
    """All recipes by name, in the order of their files."""
    found: dict[str, TrainRecipe] = {}
    for path in sorted(_FOLDER.iterdir(), key=lambda path: path.name):
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        kind = next(name for name in _KINDS if name in values)
        for name, row in values["rows"].items():
            found[name] = _recipe(name, row, values, kind)
    return found


def find_recipe(name: str) -> TrainRecipe:
    """The recipe called ``name``; a UsageError with the nearest name where there is none."""
    if name not in recipes():
        raise UsageError(unknown_name("recipe", name, recipes()))
    return recipes()[name]


def _recipe(name: str, row: Mapping[str, Any], file: Mapping[str, Any], kind: str) -> TrainRecipe:
    about = {key: row[key] for key in ("title", "published") if key in row}
    settings = {key: value for key, value in row.items() if key not in ("title", "published", "note", "source")}
    config = from_values(_KINDS[kind], merged(file[kind], settings))
    if config.dataset not in DATASETS:
        raise UsageError(unknown_name("dataset", config.dataset, DATASETS))
    paper, note = file.get("paper", ""), row.get("note", file.get("note", ""))
    source = row.get("source", file.get("source", paper)) if "published" in row else ""
    return TrainRecipe(name, config=config, paper=paper, note=note, source=source, **about)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables with ``changes`` written over ``base``, key by key."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result
