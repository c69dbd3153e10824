"""Every recipe trains and is evaluated on the tiny twin of its dataset, with a tiny network in place of its own."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources

import pytest

from audiopatch.errors import UsageError
from audiopatch.evaluation.evaluate import evaluate
from audiopatch.events import silent
from audiopatch.models.config import TransformerConfig
from audiopatch.models.processor import Processor
from audiopatch.reducers.plan import parse_plan
from audiopatch.training import experiment
from audiopatch.training.config import ProbeConfig, Sampling
from audiopatch.training.experiment import TrainRun
from audiopatch.training.probe import probe
from audiopatch.training.recipes import find_recipe, recipes
from audiopatch.training.train import train
from audiopatch.zoo import CARDS, load_model

# what stands for a full-size plan on a grid of 9 × 2 patches in two blocks
SMALL_PLAN = {
    "structured": "structured:F2T0",
    "random": "random:0.5",
    "adaptive": "adaptive:F2T0@1,2",
    "topk": "topk:0.7@1",
}


def tiny_plan(text):
    return text if text == "none" else SMALL_PLAN[text.partition(":")[0]]


def shrink(config):
    """The recipe with a network of two blocks and two steps of two clips; everything else as it is."""
    if isinstance(config, ProbeConfig):
        return replace(
            config, model="tiny-random", blocks=config.blocks and (1,), epochs=2, batch_size=2, n_hidden=8,
            lrs=config.lrs[:1], weight_decays=config.weight_decays[:1], dropouts=config.dropouts[:1],
        )  # fmt: skip
    hybrid = config.model.n_conformers or config.model.channel_attention
    return replace(
        config,
        epochs=2,
        precision="fp32",
        model=replace(
            config.model, base="tiny-random", weights="base", frontend_options={}, patch_stride=0,
            segment_s=1.0, n_conformers=min(1, config.model.n_conformers), channel_attention=bool(hybrid),
        ),
        reduction=replace(
            config.reduction, train=tiny_plan(config.reduction.train), inference=tiny_plan(config.reduction.inference),
            before=tiny_plan(config.reduction.before),
            start_epoch=int(config.reduction.before != "none"), ramp_epochs=1,
        ),
        augment=replace(config.augment, mask_frames=(1, 4) if config.augment.mask_frames[0] else (0, 0)),
        sampling=replace(config.sampling, batch_size=2, micro_batch=0, epoch_clips=2),
        averaging=replace(config.averaging, start_epoch=0 if config.averaging.start_epoch >= 0 else -1),
    )  # fmt: skip


# recipes that differ only in what a tiny twin cannot have train once
DISTINCT = {repr(shrink(recipe.config)): name for name, recipe in recipes().items()}


@pytest.mark.parametrize("name", DISTINCT.values())
def test_recipe_trains_and_is_evaluated(name, open_mini, tmp_path):
    recipe = find_recipe(name)
    dataset, waves = open_mini(recipe.config.dataset)
    config = shrink(recipe.config)
    if isinstance(config, ProbeConfig):
        probe(config, load_model("tiny-random", device="cpu"), dataset, waves, tmp_path / "run")
        plan = "none"
    else:
        assert train(config, dataset, waves, tmp_path / "run", accelerator="cpu").finished
        plan = config.reduction.inference
    tagger = load_model(tmp_path / "run" / "model", device="cpu")
    found = evaluate(tagger, dataset, waves, plan=parse_plan(plan))
    assert found.scores.shape == (len(dataset.items("test")), len(dataset.labels))
    assert (found.scores >= 0).all() and (found.scores <= 1).all()


@pytest.mark.parametrize("name", recipes())
def test_recipe_names_what_exists(name):
    config = find_recipe(name).config
    if isinstance(config, ProbeConfig):
        assert config.model in (*CARDS, "default") and parse_plan(config.patchout) is not None
        return
    base = config.model.base
    assert base in (*CARDS, "default")
    for text in (config.reduction.train, config.reduction.inference):
        plan = parse_plan(text)
        if plan and base in CARDS:
            network = CARDS[base].backbone
            assert isinstance(network, TransformerConfig) and max(plan) <= network.depth
    assert config.model.weights in (*CARDS, "base", "random") or config.model.weights.endswith(".pth")
    assert isinstance(config.sampling, Sampling) and config.sampling.batch_size > 0


def test_an_unknown_recipe_suggests_one():
    with pytest.raises(UsageError, match="did you mean 'openmic'"):
        find_recipe("opnmic")


def test_published_figures_use_our_names():
    for recipe in recipes().values():
        assert set(recipe.published) <= {"accuracy", "map_macro", "roc_auc_macro"}
        assert all(0.05 < figure.value < 1 and figure.where for figure in recipe.figures)


def test_figures_and_recipes_belong_together():
    text = (resources.files("audiopatch.training") / "recipes/published.csv").read_text(encoding="utf-8")
    named = {line.partition(",")[0] for line in text.splitlines()[1:]}
    assert named <= recipes().keys()
    without = {name for name, recipe in recipes().items() if recipe.paper and not recipe.published}
    assert without == {"maest-30s-ts", "mtt-map"}  # no figure in the paper's tables; one for each cell of a map
    assert len(recipes()["mtt-map"].figures) == 48


def test_a_keep_rate_changes_plans_and_figure():
    usual, half = find_recipe("esc50-topk"), find_recipe("esc50-topk", keep_rate=0.5)
    assert usual.config.reduction.inference == "topk:0.7/cls@4,7,10"
    assert half.config.reduction.train == half.config.reduction.inference == "topk:0.5/cls@4,7,10"
    assert usual.published != half.published and set(half.published) == {"accuracy"}
    with pytest.raises(UsageError, match="prunes nothing"):
        find_recipe("esc50-unpruned", keep_rate=0.5)


def test_text_and_code_are_two_readings():
    code, paper = find_recipe("maest-5s"), find_recipe("maest-5s", follow="paper")
    assert (code.follows, code.config.reduction.train, code.config.optimizer.lr) == ("code", "structured:F0T30", 2e-5)
    assert (paper.follows, paper.config.reduction.train, paper.config.optimizer.lr) == (
        "paper",
        "structured:F3T15",
        1e-4,
    )
    with pytest.raises(UsageError, match="one reading"):
        find_recipe("esc50-passt-b", follow="paper")
    with pytest.raises(UsageError, match="choose paper or code"):
        find_recipe("maest-5s", follow="blog")


@pytest.mark.parametrize(("has_bfloat16", "precision"), [(True, "bf16"), (False, "fp32")])
def test_a_recipe_is_not_computed_in_an_emulated_format(has_bfloat16, precision, monkeypatch):
    kind = Processor(isa="any", bfloat16=has_bfloat16, int8=False, amx=False)
    monkeypatch.setattr(experiment, "processor", lambda: kind)
    config = find_recipe("esc50-topk").config
    run = TrainRun(None, None, False, "cpu", 1, None, False, False, True, silent)
    assert experiment.native_precision(config, run).precision == precision
    assert experiment.native_precision(find_recipe("passt-s").config, run).precision == "fp32"  # fp16 never is native
