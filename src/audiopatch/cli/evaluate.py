"""``audiopatch evaluate``: how good a model is on labelled clips, with intervals, pictures and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audiopatch.cli import options as o
from audiopatch.cli.console import say
from audiopatch.cli.progress import showing
from audiopatch.errors import UsageError
from audiopatch.events import Doing
from audiopatch.inference.settings import Analysis, Runtime


def evaluate(
    dataset: Annotated[
        str, typer.Argument(help="A dataset; see 'audiopatch train --list'.", autocompletion=o.complete_datasets)
    ],
    data: o.Data = None,
    data_dir: o.DataDir = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="A name or a model folder.", rich_help_panel=o.MODEL, autocompletion=o.complete_models
        ),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", metavar="A B", help="Two models instead: B minus A.", rich_help_panel=o.MODEL),
    ] = None,
    patchout: o.Patchout = None,
    split: Annotated[
        str, typer.Option("--split", help="train, valid or test.", autocompletion=o.one_of("train", "valid", "test"))
    ] = "test",
    fold: Annotated[str | None, typer.Option("--fold", metavar="N", help="The fold to test on.")] = None,
    allow_missing: o.AllowMissing = False,
    pool: o.Pool = Analysis.pool,
    overlap: o.Overlap = Analysis.overlap,
    resamples: Annotated[int, typer.Option("--resamples", min=20, help="Bootstrap resamples.")] = 1000,
    save_thresholds: Annotated[
        bool, typer.Option("--save/--no-save", help="Keep figures and per-label thresholds in the model's card.")
    ] = True,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", show_default="evaluation/DATASET-MODEL")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print evaluation.json on stdout.")] = False,
    device: o.Device = "auto",
    workers: o.Workers = None,
    quiet: o.Quiet = False,
) -> None:
    """Evaluate a model on a labelled dataset: figures with intervals, tables, pictures, one page.

    [bold]audiopatch evaluate folder ~/my-genres --model runs/mine/model[/bold]
    [bold]audiopatch evaluate esc50 ~/ESC-50 --fold 1 --model M --patchout F3T2[/bold]
    [bold]audiopatch evaluate gtzan ~/gtzan --compare A B[/bold]  paired bootstrap: B better?
    """
    against, chosen = compare or (None, model)  # a model set in the environment or a configuration file gives way
    if chosen is None:
        raise UsageError("say which model: --model M, or --compare A B")
    folder = output or Path("evaluation") / f"{dataset}-{_short_name(chosen)}"
    with showing(quiet=quiet) as observer:
        observer(Doing("reading the data"))
        from audiopatch.evaluation.report import FIGURES, of_few
        from audiopatch.evaluation.run import evaluate_model, require_training_extra
        from audiopatch.training.data import need_data, open_dataset
        from audiopatch.training.experiment import fold_option
        from audiopatch.training.run_folder import RunFolder

        require_training_extra()
        options = fold_option(dataset, fold) if fold else {}
        root = need_data(data or data_dir, dataset, f"evaluate {dataset}")
        published = RunFolder(Path(chosen).parent).published(dataset) if split == "test" else {}
        models = [chosen] if against is None else [chosen, against]
        labelled = open_dataset(dataset, root, options, allow_missing=allow_missing, models=models)
        facts = evaluate_model(
            chosen, labelled, folder,
            split=split, plan=patchout, pool=pool, overlap=overlap, device=device,
            workers=Runtime(workers=workers).n_workers, against=against, published=published,
            save_thresholds=save_thresholds, n_resamples=resamples, observer=observer,
        )  # fmt: skip
    if json:
        typer.echo((folder / "evaluation.json").read_text(encoding="utf-8"), nl=False)
    if not quiet:
        if caution := of_few(facts["n_clips"]):
            say(f"note: {caution[0].lower()}{caution[1:]}")
        for name, found in facts["figures"]["clip"].items():
            low_high = f" ({found['low']:.3f} … {found['high']:.3f})" if found["low"] == found["low"] else ""
            said = f"; published {published[name]:.3f}" if name in published else ""
            say(f"{FIGURES[name]}: {found['value']:.3f}{low_high}{said}")
        for name, found in facts["compared"].items():
            difference = f"{found['value']:+.3f} ({found['low']:+.3f} … {found['high']:+.3f})"
            say(f"{FIGURES[name]}, {chosen} minus {against}: {difference}")
        say(f"report: {folder / 'report.html'}")


def _short_name(model: str) -> str:
    """A run's name for its folder ``model``, else the last part."""
    path = Path(model)
    return path.parent.name if path.name == "model" else path.name
