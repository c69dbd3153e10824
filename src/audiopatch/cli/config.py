"""Defaults from the surroundings: flags > ``AUDIOPATCH_*`` > ``audiopatch.toml`` here > the user's own file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiopatch.catalog import unknown_name
from audiopatch.errors import UsageError
from audiopatch.storage.place import at_home, cache_folder

PROJECT_FILE = "audiopatch.toml"
_NO_DEFAULT = {"help", "help_all", "version"}
_PREFIX = "AUDIOPATCH_"
_OTHER_VARIABLES = {"AUDIOPATCH_CACHE", "AUDIOPATCH_PATIENCE_S", "AUDIOPATCH_ALLOW_HTTP"}


def user_file() -> Path:
    """``$XDG_CONFIG_HOME/audiopatch/config.toml``, or the same under ``~/.config``."""
    base = at_home(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
    return base / "audiopatch" / "config.toml"


def find_home() -> None:
    """A home where nobody knows one (a user id without an entry, no HOME): libraries that ask for it would stop."""
    if os.path.expanduser("~") == "~":  # noqa: PTH111 (Path's raises)
        os.environ["HOME"] = str(cache_folder().parent)


def expand_homes(arguments: list[str]) -> list[str]:
    """The arguments with a home for every ``~/`` that no shell has replaced, also in ``--output=~/tags``.

    The values of ``AUDIOPATCH_*`` in the environment are replaced in place.
    """
    for name, value in os.environ.items():
        if name.startswith("AUDIOPATCH_"):
            os.environ[name] = _with_home(value)
    return [_with_home(argument) for argument in arguments]


def _with_home(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_home(one) for one in value]
    if not isinstance(value, str):
        return value
    option, equals, path = value.partition("=") if value.startswith("--") else ("", "", value)
    return f"{option}{equals}{at_home(path)}" if path == "~" or path.startswith("~/") else value


@dataclass(frozen=True)
class Effective:
    """An option's value where nothing is typed, and where it comes from."""

    name: str
    value: Any
    source: str


def read_defaults(
    command: str, options_of: Callable[[str], Mapping[str, Any]], commands: Collection[str]
) -> dict[str, Any]:
    """Parameter -> default for one command, from both files.

    A ``[command]`` section holds for that command, keys outside of any section for every command that has them.
    A key that no command has, or a section of none, is a UsageError with the nearest one that exists.
    """
    own = options_of(command)
    merged: dict[str, Any] = {}
    for path in (user_file(), Path(PROJECT_FILE)):  # the later one wins
        merged |= _read_for(path, command, options_of, commands)
    return {own[key].name: value for key, value in merged.items()}


def effective(
    command: str, options_of: Callable[[str], Mapping[str, Any]], commands: Collection[str]
) -> list[Effective]:
    """Every option of a command as a run without flags would have it."""
    files = [(str(path), _read_for(path, command, options_of, commands)) for path in (Path(PROJECT_FILE), user_file())]

    def of(name: str, param: Any) -> Effective:
        if param.envvar in os.environ:
            return Effective(name, os.environ[param.envvar], f"{param.envvar} in the environment")
        for path, values in files:
            if name in values:
                return Effective(name, values[name], path)
        return Effective(name, param.default, "default")

    return [of(name, param) for name, param in options_of(command).items()]


def check_environment(command: str, options_of: Callable[[str], Mapping[str, Any]], commands: Collection[str]) -> None:
    """A variable that sets no option of any command is a UsageError with the nearest one that does."""
    given = {name for name in os.environ if name.startswith(_PREFIX)} - _OTHER_VARIABLES
    own = {param.envvar for param in options_of(command).values()}
    if given - own:  # looking into the other commands takes a moment
        known = {param.envvar for name in commands for param in options_of(name).values()} | _OTHER_VARIABLES
        for name in sorted(given - known):
            raise UsageError(f"the environment: {unknown_name('variable', name, known)}")


def _read_for(
    path: Path, command: str, options_of: Callable[[str], Mapping[str, Any]], commands: Collection[str]
) -> dict[str, Any]:
    """What a file sets for a command, by the options' names."""
    own = options_of(command)
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
    return {key: value for key, value in (shared | section).items() if key in own}


def options(command: Any) -> dict[str, Any]:
    """The parameters of a command, and of those below it, by the names that configuration files give them."""
    found: dict[str, Any] = {}
    for nested in getattr(command, "commands", {}).values():
        found |= options(nested)
    mine = {_spelt(param): param for param in command.params if param.param_type_name == "option"}
    return found | {spelt: param for spelt, param in mine.items() if spelt not in _NO_DEFAULT}


def own_options(command: Any) -> dict[str, Any]:
    """The same without those of the commands below it, which configuration files do not reach."""
    mine = {_spelt(param): param for param in command.params if param.param_type_name == "option"}
    return {spelt: param for spelt, param in mine.items() if spelt not in _NO_DEFAULT}


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
            return tomllib.loads(file.read().decode("utf-8-sig"))  # Windows puts a mark first
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:  # no TOML, or no UTF-8
        raise UsageError(f"{path} is not valid TOML: {error}") from error


def _names(values: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("-", "_"): _with_home(value) for key, value in values.items()}


def _refuse(path: Path, kind: str, unknown: Collection[str], known: Collection[str]) -> None:
    for key in sorted(unknown):
        raise UsageError(f"{path}: {unknown_name(kind, key, known)}")
