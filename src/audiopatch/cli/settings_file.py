"""``audiopatch config``: the configuration file made, shown, found and described."""

from __future__ import annotations

import json as json_text
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from audiopatch.cli import config, console
from audiopatch.cli import options as o
from audiopatch.option import TIME

app: typer.Typer = typer.Typer(
    pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False, no_args_is_help=True
)

_COMMANDS = ("tag", "embed", "evaluate")  # whose options people keep
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


@dataclass(frozen=True)
class ConfigWritten:
    """The configuration file that was made."""

    path: Path


@dataclass(frozen=True)
class ConfigShown:
    """The options of a command as a run without flags would have them."""

    command: str
    options: tuple[config.Effective, ...]


@dataclass(frozen=True)
class Place:
    """A file or folder, which need not be there."""

    path: Path
    exists: bool


@dataclass(frozen=True)
class Places:
    """The configuration file of this folder, your own, and the cache."""

    project: Place
    user: Place
    cache: Place


@app.callback()
def main() -> None:
    """Make, show and find the configuration files.

    [bold]audiopatch config init[/bold]      a commented audiopatch.toml in this folder
    [bold]audiopatch config show tag[/bold]  what tag would use, and where each value is from
    [bold]audiopatch config path[/bold]      where the files and the cache are

    What is typed wins over AUDIOPATCH_* variables, those over audiopatch.toml here, that over your own file.
    """


@app.command()
def init(
    user: Annotated[bool, typer.Option("--user", help="Your own file for all folders instead.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace one that is there.")] = False,
    json: Json = False,
) -> None:
    """Write a configuration file in which every option stands, commented out, with its default and its meaning."""
    from audiopatch.errors import OutputMismatchError

    file = config.user_file() if user else Path(config.PROJECT_FILE)
    if file.exists() and not force:
        raise OutputMismatchError(f"{file} exists; add --force to replace it")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_template(), encoding="utf-8")
    if json:
        console.print_json(ConfigWritten(file))
    console.say(f"wrote {file}; take the # from the lines you want to change")


@app.command()
def show(
    command: Annotated[str, typer.Argument(help="A command.", autocompletion=o.complete_commands)] = "tag",
    json: Json = False,
) -> None:
    """Show the value of every option of a command, and where it comes from."""
    from audiopatch.catalog import unknown_name
    from audiopatch.cli.main import COMMANDS, options_of
    from audiopatch.errors import UsageError

    if command not in COMMANDS:
        raise UsageError(unknown_name("command", command, COMMANDS))
    found = config.effective(command, options_of, COMMANDS)
    if json:
        console.print_json(ConfigShown(command, tuple(found)))
        return
    grid = console.grid("", "option", "value", "from")
    for one in found:
        value = "" if one.value is None else json_text.dumps(_plain(one.value))
        grid.add_row(one.name, console.printable(value), console.printable(one.source))
    console.rich_console(stderr=False).print(grid)


@app.command()
def path(json: Json = False) -> None:
    """Print where the configuration files and the cache are."""
    from audiopatch.storage.place import cache_folder

    places = {
        "project": Path(config.PROJECT_FILE).absolute(),
        "user": config.user_file(),
        "cache": cache_folder(),
    }
    if json:
        console.print_json(Places(**{name: Place(file, file.exists()) for name, file in places.items()}))
        return
    for name, file in places.items():
        typer.echo(f"{name:<8} {console.printable(str(file))}{'' if file.exists() else '  (not there)'}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of audiopatch.toml, for editors."""
    from audiopatch.cli.main import COMMANDS, options_of

    sections = {name: _section(options_of(name)) for name in COMMANDS}
    anywhere = {key: value for name in _COMMANDS for key, value in sections[name]["properties"].items()}
    typer.echo(
        json_text.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "title": config.PROJECT_FILE,
                "type": "object",
                "properties": anywhere | sections,
            },
            indent=2,
        )
    )


def _template() -> str:
    from audiopatch.cli.main import options_of

    lines = [
        "# Defaults of audiopatch: an option outside of any section holds for every command that has it.",
        "# What is typed wins over AUDIOPATCH_* variables, those over this file in the folder you are in.",
    ]
    for name in _COMMANDS:
        lines += ["", f"[{name}]"]
        for spelt, param in options_of(name).items():
            lines += ["", f"# {' '.join((param.help or '').split())}", f"# {spelt} = {_toml(param)}"]
    return "\n".join(lines) + "\n"


def _toml(param: Any) -> str:
    value = _plain(param.default)
    if value is None:  # there is no such value in TOML
        return f"{param.metavar or '...'}  (nothing by default)"
    return json_text.dumps(value)


def _section(options: Mapping[str, Any]) -> dict[str, Any]:
    properties = {spelt: _kind(param) for spelt, param in options.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _kind(param: Any) -> dict[str, Any]:
    found = param.type_descriptor.annotation
    item = get_args(found)[0] if get_origin(found) in (list, tuple) else found
    kind: dict[str, Any] = {"type": {bool: "boolean", int: "integer", float: "number"}.get(item, "string")}
    if param.metavar == TIME:  # seconds, or 15m
        kind = {"type": ["number", "string"]}
    if isinstance(item, type) and issubclass(item, Enum):
        kind["enum"] = [choice.value for choice in item]
    if item is not found:
        kind = {"type": "array", "items": kind}
    return kind | {"description": " ".join((param.help or "").split())}


def _plain(value: Any) -> Any:
    """A value as TOML and JSON have it."""
    return getattr(value, "value", str(value) if isinstance(value, Path) else value)
