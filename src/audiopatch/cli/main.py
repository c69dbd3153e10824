"""The command line: every command in sight, each imported only when it is called."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from audiopatch.catalog import unknown_name
from audiopatch.cli import config, console
from audiopatch.errors import UsageError

COMMANDS = {
    "tag": ("tag:tag", "Tag tracks: the best labels of each, with scores."),
    "embed": ("tag:embed", "Embed tracks: one vector each, the mean over its segments."),
    "show": (
        "show:show",
        "Show what was found: the library at a glance, the tags of one track, the best tracks of a label.",
    ),
    "labels": ("library:labels", "List the labels of a model or of a run, by what they say about a track."),
    "similar": ("library:similar", "Find the tracks that sound most like one, with distances and the tags they share."),
    "playlist": (
        "library:playlist",
        "Make a playlist: like some tracks and unlike others, on the way from one to another, or by tags.",
    ),
    "duplicates": ("library:duplicates", "List near-identical recordings, each group with its best file first."),
    "report": ("library:report", "Make a page of a library: search, filter, a map, the nearest tracks, playlists."),
    "adapt": ("adapt:adapt", "Learn your own genres (or moods, ...) from the tags in your files; no audio is decoded."),
    "train": ("train:app", "Train a model: your own labels, or a paper's experiment by its recipe."),
    "evaluate": (
        "evaluate:evaluate",
        "Evaluate a model on a labelled dataset: figures with intervals, tables, pictures, one page.",
    ),
    "inspect": (
        "inspect:inspect",
        "Show what patchout and pruning keep: a page for one track, the analyses of a study for many.",
    ),
    "bench": ("bench:bench", "Measure models, patchouts and engines against each other, in one run."),
    "estimate": ("estimate:estimate", "Find out how long a library takes, and get the command that tags it in time."),
    "export": ("export:export", "Export a model with a patchout baked in."),
    "shrink": (
        "shrink:shrink",
        "Make a transformer smaller: without the attention heads and blocks that your music needs least.",
    ),
    "write": ("write:write", "Write labels into the files' own tags."),
    "undo": ("undo:undo", "Take a write back: its files have the bytes they had, unless somebody changed them since."),
    "compact": ("library:compact", "Merge small parts, so that every reader opens the tables faster."),
    "config": ("settings_file:app", "Make, show and find the configuration files."),
    "help": ("topics:topic", "Read about plans, tables, exit codes, configuration and the environment."),
    "models": ("models:app", "List, describe, compare, download and verify models."),
    "doctor": ("doctor:doctor", "See what this machine can do; exits with 6 when something is broken."),
}
"""Name -> its function (or Typer application) below ``audiopatch.cli``, and what the list of commands says of it, so
that the list imports none; a test holds this to the commands' own help. Modules stay light: heavy imports go into the
functions."""

_COLOURS = {"auto": "", "always": "FORCE_COLOR", "never": "NO_COLOR"}


@cache
def find_command(name: str) -> Any:
    """Import one command."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    made = getattr(import_module(f"audiopatch.cli.{module}"), attribute)
    if not isinstance(made, typer.Typer):  # a function: a command without others below it
        function, made = (
            made,
            typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False),
        )
        made.command()(function)
    command = typer.main.get_command(made)
    command.name = name
    config.bind_environment(command)
    return command


def options_of(name: str) -> dict[str, Any]:
    """The options of a command that configuration files may set."""
    return config.own_options(find_command(name))


def all_options_of(name: str) -> dict[str, Any]:
    """The options of a command and of those below it, which the environment reaches."""
    return config.options(find_command(name))


class Commands(TyperGroup):
    """Looks commands up in ``COMMANDS`` and turns their errors into words."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    _listing = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if self._listing and cmd_name in COMMANDS:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1])
        return find_command(cmd_name) if cmd_name in COMMANDS else None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if not ctx.resilient_parsing and args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise UsageError(unknown_name("command", args[0], COMMANDS))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with console.errors_to_words():
            return super().invoke(ctx)


app: typer.Typer = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass(frozen=True)
class Version:
    """The versions of audiopatch and of the Python that runs it."""

    audiopatch: str
    python: str


def _print_version(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        from audiopatch import __version__

        if ctx.params.get("json"):
            import platform

            console.print_json(Version(__version__, platform.python_version()))
        else:
            typer.echo(f"audiopatch {__version__}")
        raise typer.Exit


def _colour(wanted: str) -> str:
    """Rich reads the environment."""
    if wanted not in _COLOURS:
        raise typer.BadParameter(f"'{wanted}' is not one of {', '.join(_COLOURS)}")
    if wanted != "auto":
        os.environ.pop("NO_COLOR" if wanted == "always" else "FORCE_COLOR", None)
        os.environ[_COLOURS[wanted]] = "1"
    return wanted


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of malloc.h
_KEPT_BYTES = 1 << 30


@app.callback()
def audiopatch(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version.", callback=_print_version)
    ] = False,
    json: Annotated[bool, typer.Option("--json", is_eager=True, help="With --version: print JSON.")] = False,
    color: Annotated[
        str, typer.Option("--color", metavar="auto|always|never", callback=_colour, help="Colours in tables and bars.")
    ] = "auto",
) -> None:
    """Tag whole music libraries with patchout spectrogram transformers.

    [bold]audiopatch tag ~/Music[/bold]  tag a library, resume, or update it
    [bold]audiopatch show[/bold]         what was found: genres, moods, instruments; a track; a label
    [bold]audiopatch doctor[/bold]       what this machine can decode and compute

    More to read: [bold]audiopatch help[/bold]. Configuration and cache: [bold]audiopatch config path[/bold].
    """
    # Threads of torch that wait for each other shall sleep, not spin. It costs nothing on an idle machine, and on a
    # busy one a small model was ten times slower without it. Read when torch is imported, hence here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _keep_memory()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # or a download also asks which agents there are
    with console.errors_to_words():
        if (name := ctx.invoked_subcommand) in COMMANDS:
            config.check_environment(name, all_options_of, COMMANDS)
            ctx.default_map = {name: config.read_defaults(name, options_of, COMMANDS)}


def _keep_memory() -> None:
    """Let glibc keep what a network frees for its next segment.

    Fetched from the system anew each time, its pages take a tenth of the CPU time of a whole run (audiopatch-music, two
    Zen 4 cores). In one arena: those that each thread has besides hold 64 MB, and what fills one is given back at once.
    Only a program may decide that, not a library in somebody's process.
    """
    if sys.platform != "linux":
        return
    import ctypes

    with suppress(AttributeError):  # musl has no such call
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_ARENA_MAX, 1)


def main() -> NoReturn:
    """Entry point of the ``audiopatch`` script; ends the process."""
    console.prepare_streams()
    config.find_home()
    sys.argv[1:] = config.expand_homes(sys.argv[1:])
    try:
        app(prog_name="audiopatch")
        code = 0
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        code = ended.code or 0
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End the process with all that ends properly, but without taking the interpreter apart.

    A thread inside a library (Arrow's readers) that lets go of Python's memory meanwhile would abort the process, or
    hold it for ever, after all work is done.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads as the interpreter does
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # who read it has gone
            code = code or 120  # as the interpreter does
    os._exit(code)


if __name__ == "__main__":
    main()
