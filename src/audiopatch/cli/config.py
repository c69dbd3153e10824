"""Defaults from the surroundings: flags > ``AUDIOPATCH_*`` > ``audiopatch.toml`` here > the user's own file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from audiopatch.catalog import unknown_name
from audiopatch.errors import UsageError

PROJECT_FILE = "audiopatch.toml"
_NO_DEFAULT = {"help", "help_all"}


def user_file() -> Path:
    """``$XDG_CONFIG_HOME/audiopatch/config.toml``, or the same under ``~/.config``."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "audiopatch" / "config.toml"


def read_defaults(
    command: str, options_of: Callable[[str], Mapping[str, str]], commands: Collection[str]
) -> dict[str, Any]:
    """Parameter -> default for one command, from both files.

    A ``[command]`` section holds for that command, keys outside of any section for every command that has them.
    A key that no command has, or a section of none, is a UsageError with the nearest one that exists.
    """
    own = options_of(command)
    merged: dict[str, Any] = {}
    for path in (user_file(), Path(PROJECT_FILE)):  # the later one wins
        values = _read(path)
        sections = {key: value for key, value in values.items() if isinstance(value, dict)}
        _refuse(path, "section", sections.keys() - set(commands), commands)
        shared = _names({key: value for key, value in values.items() if key not in sections})
        section = _names(sections.get(command, {}))
        _refuse(path, "option", section.keys() - own.keys(), own)
        unknown = shared.keys() - own.keys()
        if unknown:
            everywhere = {option for name in commands for option in options_of(name)}
            _refuse(path, "option", unknown - everywhere, everywhere)
        merged |= {own[key]: value for key, value in (shared | section).items() if key in own}
    return merged


def option_names(command: Any) -> dict[str, str]:
    """The options of a command as configuration files write them, each with its parameter's name."""
    names = {_spelt(param): param.name for param in command.params if param.param_type_name == "option"}
    return {spelt: name for spelt, name in names.items() if spelt not in _NO_DEFAULT}


def _spelt(param: Any) -> str:
    """``decode_timeout`` for ``--decode-timeout``."""
    return next(flag for flag in param.opts if flag.startswith("--"))[2:].replace("-", "_")


def bind_environment(command: Any) -> None:
    """Let every option read ``AUDIOPATCH_<NAME>``, so that ``AUDIOPATCH_MODEL`` is the default of ``--model``."""
    for nested in getattr(command, "commands", {}).values():
        bind_environment(nested)
    for param in command.params:
        if param.param_type_name == "option" and not param.envvar and _spelt(param) not in _NO_DEFAULT:
            param.envvar = f"AUDIOPATCH_{_spelt(param).upper()}"
            param.show_envvar = False


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:  # no TOML, or no UTF-8
        raise UsageError(f"{path} is not valid TOML: {error}") from error


def _names(values: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("-", "_"): value for key, value in values.items()}


def _refuse(path: Path, kind: str, unknown: Collection[str], known: Collection[str]) -> None:
    for key in sorted(unknown):
        raise UsageError(f"{path}: {unknown_name(kind, key, known)}")
