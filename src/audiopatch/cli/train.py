"""``audiopatch train``: recipes of the papers and your own labels, through one loop."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from audiopatch.cli import options as o
from audiopatch.cli.console import print_json, rich_console, say, stop_on_signals
from audiopatch.cli.durations import timed
from audiopatch.cli.options import ProgressKind
from audiopatch.cli.progress import busy, showing
from audiopatch.events import Doing, Measured, Note, Observer, counted
from audiopatch.option import TIME_FORMS

if TYPE_CHECKING:
    from audiopatch.training.recipes import TrainRecipe

_SHORT = {"map_macro": "mAP", "roc_auc_macro": "ROC-AUC", "accuracy": "accuracy"}


@dataclass(frozen=True)
class Distilled:
    """The folder of the model that was learnt."""

    model: Path


class Recipes(TyperGroup):
    """Sub-commands by name; any other first word is a recipe."""

    otherwise = "recipe"

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            return self.otherwise, self.commands[self.otherwise], args
        return super().resolve_command(ctx, args)


app: typer.Typer = typer.Typer(
    cls=Recipes,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
)

NoEvaluate = Annotated[
    bool, typer.Option("--no-evaluate", help="Do not evaluate on the test split at the end.", rich_help_panel=o.RUN)
]
ProbeModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="The model to start from or to probe.",
        autocompletion=o.complete_models,
        show_default="the recipe's",
        rich_help_panel=o.MODEL,
    ),
]


@app.callback()
def train(
    ctx: typer.Context,
    show_list: Annotated[bool, typer.Option("--list", help="Every recipe with its published result.")] = False,
    json: Annotated[bool, typer.Option("--json", help="With --list: print JSON.")] = False,
) -> None:
    """Train a model: your own labels, or a paper's experiment by its recipe.

    [bold]audiopatch train folder ~/my-genres[/bold]  a sub-folder per label; minutes on a CPU
    [bold]audiopatch train gtzan ~/gtzan[/bold]       a paper's row, beside its result
    [bold]audiopatch train --list[/bold]              every recipe, its result and its command
    """
    if show_list:
        _print_recipes(as_json=json)
    elif ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@app.command()
def recipe(
    name: Annotated[
        str, typer.Argument(help="A recipe from 'audiopatch train --list'.", autocompletion=o.complete_recipes)
    ],
    data: o.Data = None,
    data_dir: o.DataDir = None,
    fold: o.Fold = None,
    allow_missing: o.AllowMissing = False,
    model: ProbeModel = None,
    keep_rate: Annotated[
        float | None,
        typer.Option(
            "--keep-rate",
            min=0.05,
            max=1.0,
            help="Of a pruning recipe: the share of tokens each stage keeps.",
            show_default="the recipe's",
            rich_help_panel=o.RUN,
        ),
    ] = None,
    follow: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="paper|code",
            help="Which to follow where a paper's text and its code differ.",
            show_default="as 'train --list --json' says",
            autocompletion=o.one_of("paper", "code"),
            rich_help_panel=o.RUN,
        ),
    ] = None,
    settings: o.Settings = None,
    output: o.RunFolder = None,
    resume: o.Resume = False,
    force: o.Force = False,
    no_evaluate: NoEvaluate = False,
    device: o.Device = "auto",
    devices: Annotated[
        int, typer.Option("--devices", min=1, help="Processes, one per GPU.", rich_help_panel=o.MACHINE)
    ] = 1,
    workers: o.Workers = None,
    json: o.JsonResult = False,
    quiet: o.Quiet = False,
) -> None:
    """Train by a recipe (the word [bold]recipe[/bold] may be left out).

    With [bold]folder[/bold] the sub-folders are the labels; an album below one is never split between train and test.

    [bold]audiopatch train folder ~/my-genres -o mine[/bold]  then: tag -m mine/model
    [bold]audiopatch train esc50 ~/ESC-50 --fold all[/bold]       all five folds and their mean
    [bold]audiopatch train openmic ~/openmic --set optimizer.lr=2e-5[/bold]
    """
    with _training(quiet=quiet, devices=devices) as observer:
        from audiopatch.training.experiment import TrainRun, run_recipe

        run = TrainRun(
            data or data_dir, output, allow_missing, device, devices, workers, resume, force, not no_evaluate, observer
        )
        found = run_recipe(
            name, run, model=model, settings=settings or [], fold=fold, keep_rate=keep_rate, follow=follow
        )
    if json:
        print_json(found, "runs")


@app.command()
def probe(
    dataset: Annotated[
        str, typer.Argument(help="A dataset; see 'audiopatch train --list'.", autocompletion=o.complete_datasets)
    ],
    data: o.Data = None,
    data_dir: o.DataDir = None,
    model: ProbeModel = None,
    blocks: Annotated[
        str, typer.Option("--blocks", metavar="N[,N]|all", help="Blocks to try, from 1.", rich_help_panel=o.MODEL)
    ] = "all",
    tokens: Annotated[
        str,
        typer.Option("--tokens", help="Tokens to try, several joined by +.", rich_help_panel=o.MODEL),
    ] = "cls,dist,avg,cls+dist+avg",
    patchout: o.Patchout = None,
    fold: o.Fold = None,
    allow_missing: o.AllowMissing = False,
    settings: o.Settings = None,
    output: o.RunFolder = None,
    force: o.Force = False,
    no_evaluate: NoEvaluate = False,
    device: o.Device = "auto",
    workers: o.Workers = None,
    json: o.JsonResult = False,
    quiet: o.Quiet = False,
) -> None:
    """Probe a frozen model: a small classifier on every block × tokens, and the map of which is best.

    [bold]audiopatch train probe mtt ~/data/mtt --model discogs-maest-30s-pw-129e[/bold]
    [bold]audiopatch train probe folder ~/my-genres --blocks 1,2 --tokens cls+avg[/bold]
    [bold]audiopatch train probe esc10 ~/ESC-10 --fold all --set lrs=[1e-3,1e-4][/bold]
    """
    chosen = [f"blocks=[{'' if blocks == 'all' else blocks}]", f"tokens=[{', '.join(map(repr, tokens.split(',')))}]"]
    chosen += [f"patchout={patchout!r}"] if patchout else []
    with _training(quiet=quiet) as observer:
        from audiopatch.training.experiment import TrainRun, run_probe

        run = TrainRun(
            data or data_dir, output, allow_missing, device, 1, workers, False, force, not no_evaluate, observer
        )
        found = run_probe(dataset, run, model=model, settings=[*chosen, *(settings or [])], fold=fold)
    if json:
        print_json(found, "runs")


@app.command()
def distill(
    inputs: o.Inputs = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            "--teacher",
            metavar="MODEL",
            help="Whose answers are learnt (repeat; the first one's features, too).",
            show_default="mn04_as",
            autocompletion=o.complete_models,
            rich_help_panel=o.MODEL,
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            "--student",
            metavar="MODEL|card.json",
            help="Goes on learning from its weights; random/MODEL or a card.json starts anew with its architecture.",
            show_default="the first teacher with transformer blocks put in",
            autocompletion=o.complete_models,
            rich_help_panel=o.MODEL,
        ),
    ] = None,
    segments: Annotated[
        int | None, typer.Option("--segments", min=1, help="Learn from this many crops.", rich_help_panel=o.RUN)
    ] = None,
    finish_in_s: Annotated[
        float | None,
        timed(
            "--finish-in",
            help=f"Or: learn for so long in all ({TIME_FORMS}).",
            show_default="8h",
            rich_help_panel=o.RUN,
        ),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            "--held-out",
            metavar="FOLDER",
            help="Only measure on these folders; copies elsewhere are left out (repeat).",
            show_default="one album of ten",
            rich_help_panel=o.DATA,
        ),
    ] = None,
    include: o.Include = None,
    exclude: o.Exclude = None,
    settings: o.Settings = None,
    output: o.RunFolder = None,
    resume: o.Resume = False,
    force: o.Force = False,
    device: o.Device = "auto",
    json: o.JsonResult = False,
    quiet: o.Quiet = False,
) -> None:
    """Distil a large model into a small fast one on your own music, which needs no labels.

    [bold]audiopatch train distill ~/Music -o mine[/bold]   then: audiopatch tag --model mine/model
    [bold]audiopatch train distill ~/Music --teacher mn04_as --teacher musicnn-msd --finish-in 2d --device cuda[/bold]
    """
    with busy("loading"):
        from audiopatch.audio.inputs import Inputs
        from audiopatch.distill.config import DistillConfig
        from audiopatch.distill.repair import refuse_repair
        from audiopatch.distill.run import Watch, distill_to_folder
        from audiopatch.errors import UsageError
        from audiopatch.training.config import overrides

    if segments is not None and finish_in_s is not None:
        raise UsageError("--segments and --finish-in both end the training; give one of them")
    if segments is not None:
        config = DistillConfig(max_segments=segments)
    else:
        config = DistillConfig(max_s=8 * 3600.0 if finish_in_s is None else finish_in_s)
    folder = output or Path("runs/distilled")
    refuse_repair(student, folder)
    tell = (lambda text: None) if quiet else say
    with stop_on_signals() as stop, showing(quiet=quiet) as observer:
        finished = distill_to_folder(
            Inputs(inputs or [], include=include or [], exclude=exclude or []),
            folder,
            teachers=teacher or ["mn04_as"],
            student=student,
            held_out=held_out or [],
            config=config,
            settings=overrides(settings or []),
            device=device,
            resume=resume,
            force=force,
            stop=stop.is_set,
            watch=Watch(
                note=lambda text: observer(Note(text)),
                prepared=counted(observer, "decoding"),
                row=lambda row: observer(Measured(row)),
            ),
        )
    if not finished:
        tell("stopped and saved; go on with the same command and --resume")
        raise typer.Exit(stop.exit_code)
    if json:
        print_json(Distilled(folder / "model"))
    tell(f"the model and its report: {folder / 'model'}; use it: audiopatch tag ~/Music --model {folder / 'model'}")


@contextmanager
def _training(*, quiet: bool, devices: int = 1) -> Iterator[Observer]:
    """Whoever shows a training run; one that was stopped ends with the exit code of the signal."""
    kind = ProgressKind.auto if devices == 1 else ProgressKind.plain  # several processes cannot share a bar
    with showing(kind, quiet=quiet) as observer:
        observer(Doing("reading the data"))
        from audiopatch.training.experiment import Stopped

        try:
            yield observer
        except Stopped as stopped:
            observer(Note(str(stopped)))
            raise typer.Exit(128 + stopped.signal) from None


def _print_recipes(*, as_json: bool) -> None:
    """Recipe, experiment and published result, one table per paper, on stdout; the command stands below."""
    from audiopatch.training.recipes import recipes

    if as_json:
        print_json([found.listed for found in recipes().values()], "recipes")
        return
    from rich.table import Table

    console = rich_console(stderr=False, width=None if sys.stdout.isatty() else 120)
    for paper, found in groupby(recipes().values(), key=lambda found: found.paper):
        rows = list(found)
        named = all(row.name.startswith(row.config.dataset) for row in rows)  # 80 columns have no room to repeat it
        grid = Table(title=paper or "Your own labels and others, on the default model", box=None, title_justify="left")
        grid.add_column("recipe", no_wrap=True, style="bold")
        if not named:
            grid.add_column("dataset", no_wrap=True)
        grid.add_column("experiment")
        grid.add_column("published", no_wrap=True)
        for row in rows:
            grid.add_row(row.name, *([] if named else [row.config.dataset]), row.title, _published(row))
        console.print(grid)
        console.print()
    console.print("Each runs as: audiopatch train RECIPE --data-dir DIR (folds: --fold all)")
    console.print(
        "pruning: --keep-rate 0.9 to 0.4 are rows of their own in the paper; --json has every figure and its source"
    )


def _published(found: TrainRecipe) -> str:
    return ", ".join(f"{_SHORT[name]} {value:.4g}" for name, value in found.published.items())
