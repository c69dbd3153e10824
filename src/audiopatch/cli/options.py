"""How commands get their options from where they are declared, those of the command line alone, and written values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from audiopatch.cli.durations import timed
from audiopatch.inference.settings import TOKENS, Analysis, Runtime
from audiopatch.option import INPUT, MACHINE, MODEL, OUTPUT, TALK, TIME, WHAT, Option, option, options_of
from audiopatch.zoo import CARDS, DEFAULT_MODEL


class Format(StrEnum):
    parquet = "parquet"
    jsonl = "jsonl"
    csv = "csv"


class FailOn(StrEnum):
    new = "new"
    any = "any"
    all = "all"
    never = "never"


class ProgressKind(StrEnum):
    auto = "auto"
    bar = "bar"
    plain = "plain"
    json = "json"
    none = "none"


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a command is pointed at."""

    inputs: list[str] | None = option(
        None, "Files, folders, globs, m3u/m3u8/txt/csv lists; here, or as s3://bucket/music.", INPUT, argument=True
    )
    files_from: str | None = option(None, "Read more inputs from a file, one per line.", INPUT, values="FILE|-")
    null: bool = option(False, "--files-from is separated by NUL, not by lines.", INPUT, "-0")
    include: list[str] | None = option(None, "Take only files that match.", INPUT, values="GLOB")
    exclude: list[str] | None = option(None, "Leave out files that match.", INPUT, values="GLOB")


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where tables go, and how a run ends."""

    output: str = option(
        "audiopatch.out",
        "Folder of the tables, or s3://bucket/tags; - writes jsonl to stdout.",
        OUTPUT,
        "-o",
        values="DIR|-",
        first=True,
    )
    format: Format = option(Format.parquet, "File format of the tables.", OUTPUT, first=True)
    watch: bool = option(
        False,
        "Then keep the tables current: take up new, changed, moved and deleted files until Ctrl-C.",
        OUTPUT,
        first=True,
    )
    dry_run: bool = option(False, "Only say what would be analysed.", OUTPUT)
    show: bool | None = option(
        None,
        "Print the tags as a table at the end.",
        OUTPUT,
        "--show/--no-show",
        shown="on a terminal, up to 20 tracks",
    )
    fail_on: FailOn = option(
        FailOn.new,
        "Exit with 3 when a file failed in this run (new), failed ever (any), or all that were tried did; or never.",
        OUTPUT,
    )
    json: bool = option(False, "Print a summary of the run as JSON on stdout.", OUTPUT, first=True)


@dataclass(frozen=True, kw_only=True)
class Talk:
    """How a run talks meanwhile."""

    progress: ProgressKind = option(ProgressKind.auto, "How to show progress on stderr.", TALK)
    quiet: bool = option(False, "Say nothing but errors.", TALK, "-q", first=True)
    verbose: bool = option(False, "Say more: every failed file, and where the time went.", TALK, "-v", first=True)


def _show_all(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        for param in ctx.command.params:
            param.hidden = False  # type: ignore[attr-defined]
        typer.echo(ctx.get_help())
        raise typer.Exit


_HelpAll = Annotated[
    bool, typer.Option("--help-all", is_eager=True, callback=_show_all, help="Show every option and exit.")
]


def with_options(*, without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Lets a command take dataclasses: their fields become its options, but for those in ``without``."""

    def spread(command: Callable[..., None]) -> Callable[..., None]:
        parts: dict[str, tuple[type, list[str]]] = {}
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            holder = parameter.annotation
            if is_dataclass(holder) and isinstance(holder, type):
                names = [name for name in options_of(holder) if name not in without]
                parts[parameter.name] = holder, names
                parameters += [_parameter(holder, name) for name in names]
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        parameters.append(
            inspect.Parameter("help_all", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_HelpAll)
        )

        @wraps(command)
        def call(*, help_all: bool, **values: Any) -> None:
            for part, (holder, names) in parts.items():
                values[part] = holder(**{name: values.pop(name) for name in names})
            command(**values)

        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        del call.__wrapped__  # type: ignore[attr-defined]
        return call

    return spread


def default_of(holder: type, name: str) -> Any:
    """What holds where nobody says otherwise."""
    return next(entry.default for entry in fields(holder) if entry.name == name and entry.default is not MISSING)


def _parameter(holder: type, name: str) -> inspect.Parameter:
    kind = _annotated(holder, name, hidden=not options_of(holder)[name].first)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default_of(holder, name), annotation=kind)


def _annotated(holder: type, name: str, *, hidden: bool = False) -> Any:
    """The type of a parameter that is an option of ``holder``."""
    about, kind = options_of(holder)[name], get_type_hints(holder)[name]
    shared: dict[str, Any] = {"help": about.help, "rich_help_panel": about.panel}
    if about.argument:
        return Annotated[kind, typer.Argument(show_default=False, metavar=about.values, **shared)]
    spelt = _spellings(name, about)
    shared |= {"show_default": about.shown or True, "hidden": hidden}
    if about.values == TIME:
        return Annotated[kind, timed(*spelt, least_s=about.least, **shared)]
    return Annotated[
        kind,
        typer.Option(
            *spelt,
            metavar=about.values,
            min=about.least,
            max=about.most,
            autocompletion=_COMPLETED.get(name),
            **shared,
        ),
    ]


def complete_models() -> list[str]:
    """Names of models for the shell."""
    return list(CARDS)


def complete_labels() -> list[str]:
    """Labels of the default model for the shell."""
    from audiopatch.zoo.labels import load_labels, split_label

    return [split_label(name).leaf for name in load_labels(CARDS[DEFAULT_MODEL].labels)]


def complete_commands() -> list[str]:
    """Names of commands for the shell."""
    from audiopatch.cli.main import COMMANDS

    return list(COMMANDS)


def complete_recipes() -> list[str]:
    """Names of recipes for the shell."""
    from audiopatch.training.recipes import recipes

    return list(recipes())


def complete_datasets() -> list[str]:
    """Names of datasets for the shell."""
    from audiopatch.datasets import DATASETS

    return list(DATASETS)


def one_of(*values: str) -> Callable[[], list[str]]:
    """A few words for the shell."""
    return lambda: list(values)


complete_plans: Callable[[], list[str]] = one_of(
    "F3T2", "F3T5", "topk:0.7", "structured:F3T30", "random:0.5", "adaptive:F3T30", "tome:20"
)
_COMPLETED = {
    "model": complete_models,
    "patchout": complete_plans,
    "pool": one_of("mean", "max", "median", "noisy-or"),
    "engine": one_of("torch", "openvino", "auto"),
    "device": one_of("auto", "cpu", "cuda", "all"),
    "dtype": one_of("auto", "float32", "bfloat16", "float16", "int8"),
    "vectors": one_of("float16", "float32"),
    "runner": one_of("local", "ray"),
}


def _spellings(name: str, about: Option) -> Sequence[str]:
    if any("/" in flag for flag in about.flags):  # --this/--no-this
        return about.flags
    return (f"--{name.replace('_', '-')}", *about.flags)


Inputs = _annotated(Sources, "inputs")
Include = _annotated(Sources, "include")
Exclude = _annotated(Sources, "exclude")
Model = _annotated(Analysis, "model")
Patchout = _annotated(Analysis, "patchout")
Pool = _annotated(Analysis, "pool")
Overlap = _annotated(Analysis, "overlap")
Segments = _annotated(Analysis, "segments")
Seed = _annotated(Analysis, "seed")
Engine = _annotated(Runtime, "engine")
Dtype = _annotated(Runtime, "dtype")
Workers = _annotated(Runtime, "workers")
Threads = _annotated(Runtime, "threads")
Quiet = _annotated(Talk, "quiet")
Device = Annotated[
    str,
    typer.Option(
        "--device", help="auto, cpu, cuda or cuda:N; one that is not there is an error.", rich_help_panel=MACHINE
    ),
]
ALL_TOKENS = ",".join(TOKENS)
Blocks = Annotated[
    str | None,
    typer.Option(
        "--block",
        metavar="N[,N]",
        help="Take embeddings after these transformer blocks (from 1) instead of the pooled features.",
        rich_help_panel=WHAT,
    ),
]
Tokens = Annotated[
    str, typer.Option("--tokens", help="Which tokens of a block, in this order: cls, dist, avg.", rich_help_panel=WHAT)
]
Tables = Annotated[
    str, typer.Option("--in", metavar="DIR", help="Folder of the tables of tag or embed.", rich_help_panel=INPUT)
]
RunModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Where the model of the tables is, for files not in them, if it came from a file or folder.",
        show_default="by its name",
        rich_help_panel=MODEL,
    ),
]
JsonResult = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.", rich_help_panel=OUTPUT)]


DATA, RUN = "Data", "Run"
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Where the dataset lies.", rich_help_panel=DATA, show_default=False),
]
Data = Annotated[Path | None, typer.Argument(help="Where the dataset lies (or --data-dir).", show_default=False)]
Fold = Annotated[
    str | None,
    typer.Option("--fold", metavar="N|all", help="The fold to test on, for datasets in folds.", rich_help_panel=DATA),
]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Go on without clips that are not there.", rich_help_panel=DATA)
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change a setting, as optimizer.lr=1e-4.", rich_help_panel=RUN),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="DIR", help="Folder of the run.", show_default="runs/NAME", rich_help_panel=RUN
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where a stopped run was.", rich_help_panel=RUN)]
Force = Annotated[
    bool, typer.Option("--force", help="Begin anew where the folder holds a run already.", rich_help_panel=RUN)
]
