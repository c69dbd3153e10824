"""Configurations from TOML tables, with single settings changed by name, and back to TOML; strict on both sides."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, get_args, get_type_hints

import tomli_w

from audiopatch.catalog import unknown_name
from audiopatch.errors import UsageError

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
