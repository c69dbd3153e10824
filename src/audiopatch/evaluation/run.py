"""The workflow of ``evaluate``: score a split, write the report, keep the thresholds in the model's card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from audiopatch.datasets.recipe import Dataset
from audiopatch.datasets.waves import Waves, decode_waves, with_audio
from audiopatch.errors import UsageError, missing_extra
from audiopatch.evaluation import metrics
from audiopatch.evaluation.evaluate import Evaluation, compare, evaluate
from audiopatch.evaluation.report import EvaluationReport
from audiopatch.events import Doing, Observer, counted, silent
from audiopatch.inference.extract import find_plan
from audiopatch.inference.settings import check_overlap
from audiopatch.models.tagger import Tagger
from audiopatch.models.thresholds import Thresholds
from audiopatch.storage.place import cache_folder
from audiopatch.zoo import native
from audiopatch.zoo.load import load_model


def require_training_extra() -> None:
    """Training and evaluation need packages that tagging does not."""
    if any(find_spec(name) is None for name in ("sklearn", "matplotlib", "lightning_fabric")):
        raise missing_extra("this command", "train")


def evaluate_model(
    model: str,
    dataset: Dataset,
    folder: Path,
    *,
    split: str = "test",
    plan: str | None = None,
    pool: str = "mean",
    overlap: float = 0.5,
    device: str = "auto",
    workers: int = 2,
    batch_size: int | None = None,
    against: str | None = None,
    published: Mapping[str, float] | None = None,
    save_thresholds: bool = True,
    n_resamples: int = 1000,
    decoded: Waves | None = None,
    observer: Observer = silent,
) -> dict[str, Any]:
    """Evaluate ``model`` (and ``against``, to compare with) on a split and write everything into ``folder``.

    ``decoded`` holds the clips where they have been decoded at the model's rate already.
    """
    check_overlap(overlap)
    work: dict[str, Any] = {"workers": workers, "decoded": decoded, "observer": observer}
    observer(Doing(f"loading {model}"))
    tagger = load_model(model, device=device)
    how = {"plan": find_plan(tagger, plan), "pool": pool, "overlap": overlap, "batch_size": batch_size}
    found, whole = _score(tagger, dataset, split, how, **work)
    source, thresholds = _thresholds(tagger, whole, split, found, how, **work)
    about = {
        "model": model, "weights_sha256": tagger.weights_sha256, "dataset": dataset.name, "split": split,
        "plan": str(how["plan"]), "pool": pool, "overlap": overlap, "thresholds_from": source, "compared_to": against,
    }  # fmt: skip
    compared = {}
    if against is not None:
        model_b = load_model(against, device=device)
        other, _ = _score(model_b, dataset, split, how | {"plan": find_plan(model_b, plan)}, **work)
        compared = compare(other, found, n_resamples=n_resamples)
    observer(Doing("drawing the report"))
    title = f"{tagger.card.name} on {dataset.name} ({split})"
    gaps = [*(gap for gap in whole.left_out if gap.split == split), *found.left_out]
    report = EvaluationReport(title, about, found, thresholds, gaps, published or {}, compared, n_resamples)
    facts = report.write(folder)
    if save_thresholds and native.matches(Path(model)):
        _remember(Path(model), tagger, facts, thresholds, dataset, split)
    return facts


def _score(
    tagger: Tagger,
    dataset: Dataset,
    split: str,
    how: Mapping[str, Any],
    *,
    workers: int,
    observer: Observer,
    decoded: Waves | None = None,
) -> tuple[Evaluation, Dataset]:
    """A split's evaluation, and the dataset without what could not be decoded of that split."""
    paths = [item.path for item in dataset.items(split)]
    if not paths:
        raise UsageError(f"{dataset.name} has no clips in its split '{split}'")
    waves = decoded
    if waves is None or waves.sample_rate != tagger.frontend.sample_rate:
        report = counted(observer, "decoding")
        waves = decode_waves(paths, tagger.frontend.sample_rate, cache_folder(), workers=workers, report=report)
    only = replace(dataset, splits={split: dataset.items(split)})
    whole = with_audio(only, waves)
    scored = evaluate(tagger, whole, waves, split=split, report=counted(observer, f"scoring {split}"), **how)
    return scored, replace(whole, splits={**dataset.splits, split: whole.items(split)})


def _thresholds(
    tagger: Tagger, dataset: Dataset, split: str, found: Evaluation, how: Mapping[str, Any], **work: Any
) -> tuple[str, np.ndarray]:
    """Per-label thresholds from the validation split; where there is none, from the split evaluated, which is said."""
    if split != "valid" and dataset.splits.get("valid"):
        found, _ = _score(tagger, dataset, "valid", how, **work)
        split = "valid"
    return split, metrics.best_thresholds(found.truth, found.scores, found.known)


def _remember(
    folder: Path, tagger: Tagger, facts: Mapping[str, Any], thresholds: np.ndarray, dataset: Dataset, split: str
) -> None:
    """Figures and thresholds into the card of a native model."""
    figures = facts["figures"]["clip"]
    scores = {f"{name}, {dataset.name} {split}, {facts['plan']}": figures[name]["value"] for name in dataset.metrics}
    finite = {name: value for name, value in scores.items() if np.isfinite(value)}
    measured = Thresholds(
        dict(zip(dataset.labels, map(float, thresholds), strict=True)), facts["plan"], facts["pool"], facts["overlap"],
        dataset.name, facts["thresholds_from"], f"{datetime.now(UTC):%Y-%m-%d}",
    )  # fmt: skip
    card = replace(tagger.card, scores={**tagger.card.scores, **finite}).with_thresholds(measured)
    native.save_card(card, folder)
