"""Evaluation: what it counts, what it writes, and that two models are compared on the same clips."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audiopatch.datasets import DATASETS
from audiopatch.datasets.recipe import Item
from audiopatch.datasets.waves import decode_waves
from audiopatch.errors import UsageError
from audiopatch.evaluation import metrics
from audiopatch.evaluation.evaluate import Evaluation, compare, evaluate, figures
from audiopatch.evaluation.report import EvaluationReport
from audiopatch.training.config import ModelChoice
from audiopatch.training.initialise import build_tagger

MINI = Path(__file__).parents[1] / "mini"


def made(n=60, classes=4, *, multilabel=False, right=0.7, seed=0, clips_per_track=1):
    rng = np.random.default_rng(seed)
    labels = tuple(f"label {index}" for index in range(classes))
    answer = rng.integers(classes, size=n // clips_per_track).repeat(clips_per_track)
    truth = np.eye(classes, dtype=np.float32)[answer]
    scores = rng.random((n, classes)).astype(np.float32)
    scores[np.arange(n), answer] += right
    items = tuple(
        Item(Path(f"{row}.wav"), (labels[answer[row]],), track=f"track {row // clips_per_track}") for row in range(n)
    )
    return Evaluation(labels, multilabel, items, truth, np.ones(truth.shape, bool), scores / scores.max())


@pytest.fixture(scope="module")
def esc(tmp_path_factory):
    dataset = DATASETS.load("esc10").read(MINI / "esc50")
    paths = [item.path for items in dataset.splits.values() for item in items]
    waves = decode_waves(paths, 16000, tmp_path_factory.mktemp("cache"))
    tagger = build_tagger(ModelChoice(), dataset.labels, name="t", multilabel=False, seed=0).eval()
    return tagger, dataset, waves


def test_scores_are_the_models_in_the_order_of_the_dataset(esc):
    tagger, dataset, waves = esc
    found = evaluate(tagger, dataset, waves)
    assert [item.path for item in found.items] == [item.path for item in dataset.items("test")]
    np.testing.assert_allclose(found.scores.sum(axis=1), 1, atol=1e-5)
    swapped = build_tagger(ModelChoice(), dataset.labels[::-1], name="t", multilabel=False, seed=0).eval()
    np.testing.assert_allclose(evaluate(swapped, dataset, waves).scores, found.scores[:, ::-1], atol=1e-6)
    with pytest.raises(UsageError, match="does not know 1 of the 3 labels of esc50, such as 'frog'"):
        evaluate(tagger, DATASETS.load("esc50").read(MINI / "esc50"), waves)


def test_tracks_are_the_mean_of_their_clips():
    clips = made(clips_per_track=3)
    tracks = clips.by_track()
    assert len(tracks.items) == 20 and made().by_track().items == made().items
    row = [item.track for item in tracks.items].index("track 7")
    np.testing.assert_allclose(tracks.scores[row], clips.scores[21:24].mean(axis=0), rtol=1e-6)
    assert tracks.truth[row].tolist() == clips.truth[21].tolist()
    assert metrics.accuracy(tracks.truth, tracks.scores) >= metrics.accuracy(clips.truth, clips.scores)


def test_figures_come_with_intervals_that_hold_them():
    for multilabel in (False, True):
        found = figures(made(multilabel=multilabel), n_resamples=100)
        assert ("accuracy" in found) is not multilabel
        for name in ("map_macro", "roc_auc_macro"):
            assert found[name].low <= found[name].value <= found[name].high
        assert np.isnan(found["f1_macro"].low)


def test_a_better_model_is_told_from_a_worse_one():
    difference = compare(made(right=0.2), made(right=0.9), n_resamples=200)
    assert difference["accuracy"].low > 0 and difference["accuracy"].p_value < 0.05
    assert compare(made(), made(), n_resamples=50)["map_macro"].value == 0


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_report_is_complete(tmp_path, multilabel):
    evaluation = made(multilabel=multilabel)
    silent = (
        replace(evaluation, truth=evaluation.truth * np.array([1, 1, 1, 0], np.float32)) if multilabel else evaluation
    )
    thresholds = metrics.best_thresholds(silent.truth, silent.scores)
    other = compare(made(right=0.1, multilabel=multilabel), silent, n_resamples=50)
    about = {"model": "<m>", "dataset": "d", "split": "test", "compared_to": "other"}
    report = EvaluationReport("a & b", about, silent, thresholds, (), {"map_macro": 0.5}, other, n_resamples=50)
    facts = report.write(tmp_path)
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["figures"]["clip"]["map_macro"]["value"] == facts["figures"]["clip"]["map_macro"]["value"]
    assert written["classes_without_both_outcomes"] == (["label 3"] if multilabel else [])
    assert written["figures"]["clip"]["f1_macro"]["low"] is None  # JSON has no NaN
    classes = pd.read_parquet(tmp_path / "classes.parquet")
    assert classes.support.sum() == silent.truth.sum() and list(classes.label) == list(silent.labels)
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    np.testing.assert_allclose(np.stack(scores.scores), silent.scores, rtol=0, atol=1e-6)
    page = (tmp_path / "report.html").read_text()
    assert "a &amp; b" in page and "&lt;m&gt;" in page and "published" in page and "Against other" in page
    pictures = {"classes.png", "reliability.png"} | (set() if multilabel else {"confusion.png"})
    assert {path.name for path in tmp_path.glob("*.png")} == pictures and page.count("data:image/png") == len(pictures)
