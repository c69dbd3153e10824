"""The workflow of ``train``: data, decoding, training or probing, evaluation, report, card."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from audiopatch.datasets import DATASETS
from audiopatch.datasets.recipe import Dataset
from audiopatch.datasets.waves import Waves
from audiopatch.documents import MaybeNaN
from audiopatch.errors import UsageError
from audiopatch.evaluation.report import FEW, FIGURES
from audiopatch.evaluation.run import evaluate_model, require_training_extra
from audiopatch.events import Doing, Measured, Note, Observer, counted
from audiopatch.inference.settings import Runtime
from audiopatch.models.card import ModelCard
from audiopatch.models.processor import processor
from audiopatch.training.config import ProbeConfig, TrainConfig, overrides, with_overrides
from audiopatch.training.data import decode, need_data, open_dataset
from audiopatch.training.initialise import sample_rate_of
from audiopatch.training.plots import plot_curves, plot_probe_map
from audiopatch.training.probe import probe
from audiopatch.training.recipes import TrainRecipe, find_recipe
from audiopatch.training.run_folder import RunFolder
from audiopatch.zoo import DEFAULT_MODEL
from audiopatch.zoo.load import find_device, load_model

_NOTHING_HELD_OUT = (
    "too few clips to hold some out for choosing: the best epoch, and the figures called valid, are of the clips that "
    "were learnt, and say nothing about other music"
)


class Stopped(Exception):
    """Somebody wanted a run to stop, by ``signal``; it is saved and can be resumed."""

    def __init__(self, number: int, words: str = "stopped and saved; go on with the same command and --resume"):
        super().__init__(words)
        self.signal = number


@dataclass
class Rows:
    """Tells an observer the rows of metrics.jsonl; remembers the signal that stopped the run."""

    observer: Observer
    stopped_by: int = signal.SIGINT

    def __call__(self, row: Mapping[str, Any]) -> None:
        """One row."""
        if row["kind"] == "stopping":
            self.stopped_by = row["signal"]
            self.observer(Note("stopping after the batch in flight; once more to leave at once"))
        else:
            self.observer(Measured(row))


@dataclass(frozen=True)
class Trained:
    """A finished run: the folder of its model, and its figures on the test split beside the published ones.

    ``chosen_on`` are the clips that its epoch and settings were chosen by: "valid", or "train" where there are too few
    to hold some out; null where nothing was chosen.
    """

    model: Path
    figures: dict[str, MaybeNaN]
    published: dict[str, float]
    chosen_on: str | None


@dataclass(frozen=True)
class TrainRun:
    """What every kind of run shares."""

    data: Path | None
    output: Path | None
    allow_missing: bool
    device: str
    devices: int
    workers: int | None
    resume: bool
    force: bool
    evaluate: bool
    observer: Observer

    @property
    def n_workers(self) -> int:
        return Runtime(workers=self.workers).n_workers

    def say(self, text: str) -> None:
        self.observer(Note(text))


def run_recipe(
    name: str,
    run: TrainRun,
    *,
    model: str | None,
    settings: Sequence[str],
    fold: str | None,
    keep_rate: float | None = None,
    follow: str | None = None,
) -> tuple[Trained, ...]:
    """Train by the recipe called ``name``, on one fold or on all (``keep_rate``, ``follow``: see ``find_recipe``)."""
    found = find_recipe(name, keep_rate=keep_rate, follow=follow)
    need_data(run.data, found.config.dataset, f"train {name}")
    if found.follows:
        run.say(f"settings of the {found.follows}, where the paper's text and its code differ")
    changes = overrides(settings)
    if model is not None:
        changes["model" if isinstance(found.config, ProbeConfig) else "model.base"] = repr(model)
    if found.note:
        run.say(f"note: {found.note}")
    config = with_overrides(found.config, changes)
    if isinstance(config, TrainConfig) and "precision" not in changes:
        config = native_precision(config, run)
    return _run_folds(replace(found, config=_resolved(config)), run, fold)


def native_precision(config: TrainConfig, run: TrainRun) -> TrainConfig:
    """fp32 where the recipe's format is only emulated; ``--set precision=bf16`` computes in it all the same."""
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
    if config.precision not in dtypes or find_device(run.device).type != "cpu":
        return config
    if processor().computes(dtypes[config.precision]):
        return config
    run.say(f"computing in fp32: this processor only emulates the recipe's {config.precision} (--set precision=...)")
    return replace(config, precision="fp32")


def run_probe(
    dataset: str, run: TrainRun, *, model: str | None, settings: Sequence[str], fold: str | None
) -> tuple[Trained, ...]:
    """Probe a model on a dataset that has no recipe for it."""
    DATASETS[dataset]  # an unknown one says so before anything else
    need_data(run.data, dataset, f"train probe {dataset}")
    config = with_overrides(ProbeConfig(dataset, model=model or "default"), overrides(settings))
    return _run_folds(TrainRecipe(f"probe-{dataset}", "an MLP on frozen features", _resolved(config)), run, fold)


def _resolved(config: TrainConfig | ProbeConfig) -> TrainConfig | ProbeConfig:
    """The name "default" stands for the model inside the package, whichever that is in this version."""
    if isinstance(config, ProbeConfig):
        return replace(config, model=DEFAULT_MODEL) if config.model == "default" else config
    chosen = config.model
    return replace(config, model=replace(chosen, base=DEFAULT_MODEL)) if chosen.base == "default" else config


def _run_folds(recipe: TrainRecipe, run: TrainRun, fold: str | None) -> tuple[Trained, ...]:
    require_training_extra()
    folder = run.output or Path("runs") / _run_name(recipe, run)
    if fold is None:
        return (_one(recipe, run, folder),)
    n_folds = _n_folds(recipe.config.dataset)
    numbers = range(1, n_folds + 1) if fold == "all" else [fold_option(recipe.config.dataset, fold)["fold"]]
    found = tuple(_one(_on_fold(recipe, number), run, folder / f"fold{number}") for number in numbers)
    if len(found) > 1 and run.evaluate:
        table = pd.DataFrame([one.figures for one in found], index=pd.Index(numbers, name="fold"))
        table.to_csv(folder / "folds.csv")
        for name in table.columns:
            mean, spread = table[name].mean(), table[name].std()
            said = f"; published {recipe.published[name]:.3f}" if name in recipe.published else ""
            run.say(f"{FIGURES[name]} over {n_folds} folds: {mean:.3f} ± {spread:.3f}{said}")
    return found


def _run_name(recipe: TrainRecipe, run: TrainRun) -> str:
    """Of a dataset that is anybody's folder, the folder's name; else the recipe's."""
    own = recipe.config.dataset in ("folder", "csv") and run.data is not None
    return run.data.expanduser().resolve().name if own and run.data is not None else recipe.name


def fold_option(dataset: str, fold: str) -> dict[str, int]:
    """``--fold N`` as an option of the dataset's recipe; a fold that does not exist is a UsageError."""
    n_folds = _n_folds(dataset)
    if not fold.isdigit() or not 1 <= int(fold) <= n_folds:
        raise UsageError(f"--fold {fold} does not exist; choose 1 to {n_folds}")
    return {"fold": int(fold)}


def _n_folds(dataset: str) -> int:
    n_folds = getattr(DATASETS.load(dataset), "n_folds", 0)
    if not n_folds:
        raise UsageError(f"{dataset} does not come in folds")
    return n_folds


def _on_fold(recipe: TrainRecipe, number: int) -> TrainRecipe:
    return replace(recipe, config=replace(recipe.config, options={**recipe.config.options, "fold": number}))


def _one(recipe: TrainRecipe, run: TrainRun, folder: Path) -> Trained:
    """One run with everything around it."""
    config = recipe.config
    work = _probe if isinstance(config, ProbeConfig) else _train
    assert run.data is not None
    before = config.model if isinstance(config, ProbeConfig) else config.model.base
    whole = open_dataset(config.dataset, run.data, config.options, allow_missing=run.allow_missing, models=[before])
    dataset, waves, chosen_on = work(recipe, run, whole, folder)
    RunFolder(folder).save_recipe(recipe)
    RunFolder(folder).save_sides(whole)
    figures = _evaluate(recipe, run, dataset, waves, folder, chosen_on)
    run.say(f"the model: {folder / 'model'}; use it: audiopatch tag ~/Music --model {folder / 'model'}")
    return Trained(folder / "model", figures, recipe.published, chosen_on)


_Worked = tuple[Dataset, Waves, str | None]  # what was decoded, and the clips that chose


def _train(recipe: TrainRecipe, run: TrainRun, dataset: Dataset, folder: Path) -> _Worked:
    from audiopatch.training.train import check, train  # needs lightning-fabric, which evaluation does without

    config = recipe.config
    assert isinstance(config, TrainConfig)
    files = RunFolder(folder)
    check(config, run.devices)  # here too, since decoding may take long
    files.check(config, resume=run.resume, force=run.force)
    dataset, waves = decode(dataset, sample_rate_of(config.model), run.n_workers, run.observer)
    accelerator = find_device(run.device).type
    rows = Rows(run.observer)
    outcome = train(
        config, dataset, waves, folder,
        accelerator=accelerator, devices=run.devices, resume=run.resume, force=run.force, report=rows,
    )  # fmt: skip
    files.list_left_out(dataset.left_out)
    plot_curves(files.rows(), folder / "curves.png")
    if not outcome.finished:
        raise Stopped(rows.stopped_by)
    return dataset, waves, "valid" if dataset.splits.get("valid") else None


def _probe(recipe: TrainRecipe, run: TrainRun, dataset: Dataset, folder: Path) -> _Worked:
    config = recipe.config
    assert isinstance(config, ProbeConfig)
    files = RunFolder(folder)
    force = run.force or not files.model.is_dir()  # one that was stopped is not worth going on with
    files.check(config, force=force)
    run.observer(Doing(f"loading {config.model}"))
    tagger = load_model(config.model, device=run.device)
    dataset, waves = decode(dataset, tagger.frontend.sample_rate, run.n_workers, run.observer)
    how = {
        "report": Rows(run.observer),
        "progress": counted(run.observer, "computing features"),
        "fitting": counted(run.observer, "fitting probes"),
    }
    try:
        best = probe(config, tagger, dataset, waves, folder, force=force, **how)
    except KeyboardInterrupt:
        raise Stopped(signal.SIGINT, "stopped; the same command goes on with the features that are there") from None
    files.list_left_out(dataset.left_out)
    grid = pd.read_csv(folder / "grid.csv")
    if len(grid.groupby(["block", "tokens"])) > 1:
        plot_probe_map(grid, folder / "map.png").to_csv(folder / "map.csv")
    n_tried = len(grid)
    if best.chosen_on == "train":
        run.say(f"note: {_NOTHING_HELD_OUT}")
    elif n_tried > 1 and len(dataset.splits.get("valid", ())) < FEW:
        run.say(f"note: the best of {n_tried} settings on few clips; expect less on new music")
    place = f"block {best.block}, {'+'.join(best.tokens)}, " if best.block else ""
    run.say(f"best: {place}epoch {best.epoch + 1} of {config.epochs}")
    return dataset, waves, best.chosen_on


def _evaluate(
    recipe: TrainRecipe, run: TrainRun, dataset: Dataset, waves: Waves, folder: Path, chosen_on: str | None
) -> dict[str, float]:
    """Evaluate on the test split, write the model's README, say our figures beside the paper's."""
    model = folder / "model"
    figures: dict[str, float] = {}
    if not dataset.splits.get("test"):
        run.say("note: too few clips to hold some out for a test, so nobody knows how good the model is")
    elif run.evaluate:
        plan = recipe.config.reduction.inference if isinstance(recipe.config, TrainConfig) else recipe.config.patchout
        facts = evaluate_model(
            str(model), dataset, folder / "evaluation", plan=plan, device=run.device, published=recipe.published,
            workers=run.n_workers, observer=run.observer, decoded=waves,
        )  # fmt: skip
        figures = {name: value["value"] for name, value in facts["figures"]["clip"].items()}
        n_test = len(dataset.items("test"))
        if n_test < FEW:
            run.say(f"note: the figures rest on {n_test} test clips and say little about other music")
        for name in dict.fromkeys([*dataset.metrics, *recipe.published]):
            said = f"; published {recipe.published[name]:.3f}" if name in recipe.published else ""
            run.say(f"{FIGURES[name]} on test: {figures[name]:.3f}{said}")
        run.say(f"the report: {folder / 'evaluation' / 'report.html'}")
    tables = {"test": figures} if figures else {}
    write_model_card(model, load_model(model, device="cpu").card, recipe, dataset, tables, chosen_on=chosen_on)
    return figures


def write_model_card(
    folder: Path,
    card: ModelCard,
    recipe: TrainRecipe,
    dataset: Dataset,
    figures: Mapping[str, Mapping[str, float]],
    *,
    chosen_on: str | None,
) -> None:
    """README.md into a native model folder. ``figures``: split -> name -> value; the paper's stand beside them."""
    sizes = ", ".join(f"{len(items)} {split}" for split, items in dataset.splits.items() if items)
    kind = "several labels per track (sigmoid scores)" if card.multilabel else "one label per track (softmax scores)"
    lines = [
        f"# {card.name}",
        "",
        f"{card.summary[:1].upper()}{card.summary[1:]}: {recipe.title}.",
        "",
        f"- **Data:** {dataset.name}: {sizes} clips; {len(dataset.left_out)} left out (see left_out.tsv of the run)",
        *([f"- **Careful:** {_NOTHING_HELD_OUT}"] if chosen_on == "train" else []),
        f"- **Labels:** {len(dataset.labels)}, {kind}: {_shortened(dataset.labels)}",
        f"- **Input:** {card.segment_s:g} s of audio at a time, front-end `{card.frontend.name}`",
        f"- **Licence:** that of its first weights{f' ({card.licence})' if card.licence else ''} and of its data",
        *([f"- **Recipe:** {recipe.paper}"] if recipe.paper else []),
        "",
        "```",
        f"audiopatch tag ~/Music --model {folder}",
        "```",
        "",
        *_table(figures, recipe.published),
        "",
        "Scores are no probabilities unless the evaluation's reliability plot says so. The model knows only the labels",
        "above, and hears everything as one or some of them.",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _shortened(labels: Sequence[str], most: int = 12) -> str:
    return ", ".join(labels[:most]) + (f" and {len(labels) - most} more" if len(labels) > most else "")


def _table(figures: Mapping[str, Mapping[str, float]], published: Mapping[str, float]) -> list[str]:
    names = list(dict.fromkeys(name for some in figures.values() for name in some))
    if not names:
        return ["It has not been evaluated."]
    heads = [*figures, *(["published"] if published else [])]
    rows = ["| figure | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name in names:
        cells = [f"{some[name]:.4f}" if name in some else "" for some in figures.values()]
        said = [f"{published[name]:.4f}" if name in published else ""] if published else []
        rows.append(f"| {name} | " + " | ".join([*cells, *said]) + " |")
    return rows
