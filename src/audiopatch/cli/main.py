"""The command line: every command in sight, each imported only when it is called."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from audiopatch.cli import config, console

COMMANDS = {
    "tag": "audiopatch.cli.tag",
    "embed": "audiopatch.cli.embed",
    "show": "audiopatch.cli.show",
    "labels": "audiopatch.cli.labels",
    "similar": "audiopatch.cli.similar",
    "playlist": "audiopatch.cli.playlist",
    "duplicates": "audiopatch.cli.duplicates",
    "report": "audiopatch.cli.report",
    "train": "audiopatch.cli.train",
    "evaluate": "audiopatch.cli.evaluate",
    "inspect": "audiopatch.cli.inspect",
    "bench": "audiopatch.cli.bench",
    "estimate": "audiopatch.cli.estimate",
    "export": "audiopatch.cli.export",
    "write": "audiopatch.cli.write",
    "undo": "audiopatch.cli.undo",
    "compact": "audiopatch.cli.compact",
    "models": "audiopatch.cli.models",
    "doctor": "audiopatch.cli.doctor",
}
"""Name -> module; each has ``app``, a Typer application. Modules stay light: heavy imports go into the functions."""


@cache
def find_command(name: str) -> Any:
    """Import one command."""
    command = typer.main.get_command(import_module(COMMANDS[name]).app)
    command.name = name
    config.bind_environment(command)
    return command


class Commands(TyperGroup):
    """Looks commands up in ``COMMANDS`` and turns their errors into words."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return find_command(cmd_name) if cmd_name in COMMANDS else None

    def invoke(self, ctx: Any) -> Any:
        with console.errors_to_words():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from audiopatch import __version__

        typer.echo(f"audiopatch {__version__}")
        raise typer.Exit


@app.callback()
def audiopatch(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Tag whole music libraries with patchout spectrogram transformers.

    [bold]audiopatch tag ~/Music[/bold]               tag a library, resume, or update it
    [bold]audiopatch embed ~/Music -o vectors[/bold]  one vector per track
    [bold]audiopatch doctor[/bold]                    what this machine can decode and compute
    """
    # Threads of torch that wait for each other shall sleep, not spin. It costs nothing on an idle machine, and on a
    # busy one a small model was ten times slower without it. Read when torch is imported, hence here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with console.errors_to_words():
        if (name := ctx.invoked_subcommand) in COMMANDS:
            options_of = lambda command: config.option_names(find_command(command))  # noqa: E731
            ctx.default_map = {name: config.read_defaults(name, options_of, COMMANDS)}


def main() -> None:
    """Entry point of the ``audiopatch`` script."""
    console.prepare_streams()
    app(prog_name="audiopatch")


if __name__ == "__main__":
    sys.exit(main())
