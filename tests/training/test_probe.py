"""Probes: features are the model's own stacks, the saved model computes what the probe did, the grid is complete."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from audiopatch.errors import UsageError
from audiopatch.inference.clips import clip_rows
from audiopatch.inference.settings import Analysis
from audiopatch.reducers.plan import NO_REDUCTION
from audiopatch.training import probe as probing
from audiopatch.training.config import ProbeConfig
from audiopatch.training.plots import plot_probe_map
from audiopatch.training.probe import choices, extract, probe
from audiopatch.zoo import load_model

QUICK = ProbeConfig(
    "csv", epochs=12, batch_size=4, lrs=(1e-2,), dropouts=(0.0,), n_hidden=16, tokens=("cls", "cls+avg")
)


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny-random", device="cpu")


def test_the_saved_model_answers_as_the_probe_did(tiny, open_mini, tmp_path):
    dataset, waves = open_mini("csv")
    best = probe(QUICK, tiny, dataset, waves, tmp_path / "run")
    saved = load_model(tmp_path / "run" / "model", device="cpu")
    assert saved.card.backbone.depth == best.block and saved.card.backbone.stack == best.tokens
    assert saved.labels == dataset.labels
    scores = clip_rows(saved, waves.clips(dataset.items("valid")), Analysis(model="saved")).scores
    right = (scores.argmax(axis=1) == [dataset.labels.index(item.labels[0]) for item in dataset.items("valid")]).mean()
    assert right == best.figures["accuracy"] == 1.0
    grid = pd.read_csv(tmp_path / "run" / "grid.csv")
    assert len(grid) == 2 * 2 and set(grid.tokens) == {"cls", "cls+avg"}  # 2 blocks × 2 token choices
    wave = torch.from_numpy(waves.read(dataset.items("test")[0].path))[None]
    stack = tiny.stacks(tiny.frontend(wave), (best.block,))[best.block]
    index = [("cls", "dist", "avg").index(token) for token in best.tokens]
    torch.testing.assert_close(saved(saved.frontend(wave)).features, stack[:, index].flatten(1))


def test_equal_figures_do_not_favour_the_first_cell(tiny, open_mini, tmp_path):
    dataset, waves = open_mini("csv")  # two validation clips: many cells get both right
    best = probe(replace(QUICK, tokens=("dist", "cls", "avg")), tiny, dataset, waves, tmp_path / "run")
    grid = pd.read_csv(tmp_path / "run" / "grid.csv")
    tied = grid[grid.valid_accuracy == grid.valid_accuracy.max()]
    assert len(tied) > 1 and best.value[0] == tied.valid_accuracy.max()
    assert best.value[1] == pytest.approx(tied.valid_log_score.max())  # the surest of them, not the first


def test_one_pass_gives_every_block(tiny, open_mini):
    dataset, waves = open_mini("csv")
    items = dataset.items("train")
    found = extract(tiny, waves, items, (1, 2), plan=NO_REDUCTION, overlap=0.5)
    for block in (1, 2):
        wave = torch.from_numpy(waves.read(items[1].path))[None]
        want = tiny.stacks(tiny.frontend(wave), (block,))[block]
        np.testing.assert_allclose(found.of(block, ("dist", "cls"))[1], want[0, [1, 0]].flatten(), atol=1e-5)


def test_features_are_computed_once_whatever_interrupts(open_mini, monkeypatch):
    tagger = load_model("audiopatch-music", device="cpu")
    dataset, waves = open_mini("csv", sample_rate=tagger.frontend.sample_rate)
    train, valid = dataset.items("train"), dataset.items("valid")
    how = {"plan": NO_REDUCTION, "overlap": 0.5}
    whole = extract(tagger, waves, (*train, *valid), (1,), **how)
    monkeypatch.setattr(probing, "_AT_ONCE", 1)
    for file in waves.folder.glob("features-*"):
        file.unlink()

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(tagger, waves, train, (1,), **how, progress=stop)
    asked, read = [], type(waves).read
    monkeypatch.setattr(type(waves), "read", lambda self, path: asked.append(path) or read(self, path))
    again = extract(tagger, waves, (*valid, *train), (1,), **how)
    assert set(asked) == {item.path for item in (*valid, *train[1:])}  # in another order; one was there
    found = np.roll(again.stacks, -len(valid), axis=0)
    np.testing.assert_allclose(found, whole.stacks, atol=1e-5, rtol=1e-4)  # in other batches, hence other kernels


def test_the_default_model_is_probed_on_its_own_features_or_on_tokens_when_told(open_mini, tmp_path):
    tagger = load_model("audiopatch-music", device="cpu")
    dataset, waves = open_mini("csv", sample_rate=tagger.frontend.sample_rate)
    for blocks, expected in (((), (0, ("pooled",))), ((1,), (1, ("cls",)))):
        config = replace(QUICK, model="audiopatch-music", blocks=blocks, tokens=("cls",), epochs=3)
        best = probe(config, tagger, dataset, waves, tmp_path / f"run{len(blocks)}")
        assert (best.block, best.tokens) == expected
        saved = load_model(tmp_path / f"run{len(blocks)}" / "model", device="cpu")
        scores = clip_rows(saved, waves.clips(dataset.items("valid")), Analysis(model="saved")).scores
        right = [dataset.labels.index(item.labels[0]) for item in dataset.items("valid")]
        assert (scores.argmax(axis=1) == right).mean() == best.figures["accuracy"]
        said = np.log(scores[range(len(right)), right]).mean()  # what it answers is what was measured
        assert said == pytest.approx(best.value[1], rel=0.02, abs=1e-4)


def test_a_dataset_without_validation_lends_some(tiny, open_mini, tmp_path):
    dataset, waves = open_mini("esc10")
    best = probe(replace(QUICK, dataset="esc10"), tiny, dataset, waves, tmp_path / "run")
    assert 0 <= best.figures["accuracy"] <= 1


def test_a_convolutional_network_has_one_cell(open_mini, tmp_path):
    mn = load_model("random/mn01_as", device="cpu")
    dataset, waves = open_mini("csv", sample_rate=32000)
    best = probe(replace(QUICK, epochs=3), mn, dataset, waves, tmp_path / "run")
    assert (best.block, best.tokens) == (0, ("pooled",))
    assert load_model(tmp_path / "run" / "model", device="cpu").labels == dataset.labels


def test_cells_that_cannot_be(tiny):
    assert len(choices(tiny.card, (), ("cls", "dist+avg"))) == 4
    with pytest.raises(UsageError, match="block 3 does not exist"):
        choices(tiny.card, (3,), ("cls",))
    with pytest.raises(UsageError, match="unknown token 'clss'"):
        choices(tiny.card, (1,), ("clss",))


def test_the_map_shows_the_best_setting_of_every_cell(tmp_path):
    rows = [(block, tokens, lr, block / 10 + lr) for block in (1, 2) for tokens in ("cls", "avg") for lr in (0.1, 0.2)]
    grid = pd.DataFrame(rows, columns=["block", "tokens", "lr", "valid_map_macro"])
    table = plot_probe_map(grid, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 5000
    assert table.loc["avg", 2] == pytest.approx(0.4) and table.shape == (2, 2)
