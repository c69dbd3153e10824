"""The loop's parts: schedules, order, augmentation, losses, configuration."""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiopatch.errors import UsageError
from audiopatch.models.config import HeadConfig
from audiopatch.training.clips import Clips, epoch_order, in_epoch, mask_mel, mix_share
from audiopatch.training.config import (
    Augment,
    LearningRate,
    Optimizer,
    ProbeConfig,
    Sampling,
    TrainConfig,
    from_values,
    to_toml,
    with_overrides,
)
from audiopatch.training.initialise import build_tagger
from audiopatch.training.optimizer import LOSSES, build_optimizer, lr_share
from audiopatch.training.recipes import recipes


def test_passts_schedule():
    schedule = LearningRate("exponential", 5, "linear", 50, 50, 0.01)
    assert lr_share(schedule, 0) == pytest.approx(math.exp(-5))
    assert lr_share(schedule, 2.5) == pytest.approx(math.exp(-5 * 0.25))
    assert [lr_share(schedule, epoch) for epoch in (5, 30, 50)] == [1, 1, 1]
    assert lr_share(schedule, 75) == pytest.approx(0.505)
    assert lr_share(schedule, 100) == lr_share(schedule, 129) == pytest.approx(0.01)


def test_asts_schedule_and_cosine():
    steps = LearningRate(decay="steps", decay_start=5, factor=0.85)
    assert [lr_share(steps, epoch) for epoch in (0, 4.9, 5, 6.5)] == pytest.approx([1, 1, 0.85, 0.85**2])
    slow = LearningRate(decay="steps", decay_start=10, factor=0.5, step_epochs=5)
    assert [lr_share(slow, epoch) for epoch in (9, 10, 14, 15)] == pytest.approx([1, 0.5, 0.5, 0.25])
    cosine = LearningRate("linear", 4, "cosine", 4, 56, 0.1)
    assert [lr_share(cosine, epoch) for epoch in (1, 4, 32, 60)] == pytest.approx([0.25, 1, 0.55, 0.1])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 5), st.booleans())
def test_an_epoch_fills_its_batches_and_repeats_nothing(n, batch_size, epoch, balanced):
    truth = np.eye(3, dtype=np.float32)[np.arange(n) % 3]
    config = Sampling(batch_size=batch_size, balanced=balanced)
    order = epoch_order(truth, config, seed=1, epoch=epoch)
    assert len(order) % batch_size == 0 and len(order) > 0
    if n >= batch_size:
        assert len(set(order)) == len(order)
    assert np.array_equal(order, epoch_order(truth, config, seed=1, epoch=epoch))


def test_balancing_draws_rare_labels_more_often():
    truth = np.zeros((1000, 2), np.float32)
    truth[:950, 0], truth[950:, 1] = 1, 1
    config = Sampling(batch_size=1, epoch_clips=100, balanced=True, balance_offset=0)
    rare = np.mean([(epoch_order(truth, config, seed=0, epoch=epoch) >= 950).sum() for epoch in range(50)])
    assert 30 < rare < 50  # half at first, less as the fifty run out; 5 without balancing


def test_masks_have_the_groups_and_widths_asked_for():
    mel = torch.ones(4, 96, 300)
    rngs = [np.random.default_rng(seed) for seed in range(4)]
    hidden = mask_mel(mel, Augment(mask_frames=(20, 8), mask_bands=(5, 8)), rngs) == 0
    frames, bands = hidden.all(dim=1).sum(dim=1), hidden.all(dim=2).sum(dim=1)
    assert (frames > 8).all() and (frames <= 160).all() and (bands >= 8).all() and (bands <= 40).all()
    assert not torch.equal(hidden[0], hidden[1])  # clips differ
    assert mask_mel(mel, Augment(), rngs) is mel


def test_masks_may_end_after_some_epochs():
    config = Augment(roll_s=1.0, mask_frames=(1, 8), mask_bands=(1, 4), mask_epochs=2)
    assert [in_epoch(config, epoch).mask_frames for epoch in range(4)] == [(1, 8), (1, 8), (0, 0), (0, 0)]
    assert in_epoch(config, 2).mask_bands == (0, 0) and in_epoch(config, 2).roll_s == 1.0
    assert in_epoch(Augment(mask_frames=(1, 8)), 99).mask_frames == (1, 8)


def test_the_first_clip_of_a_mix_leads():
    shares = [mix_share(0.5, 0.3, np.random.default_rng(seed)) for seed in range(400)]
    assert min(shares) >= 0.5 and 0.4 < np.mean(np.array(shares) == 1) < 0.65


def test_losses_by_hand():
    logits, target = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]])
    want = (math.log(2) + math.log(1 + math.exp(2))) / 2
    assert LOSSES["bce"](logits, target, torch.ones(1, 2)).item() == pytest.approx(want)
    masked = LOSSES["bce"](logits, target, torch.tensor([[1.0, 0.0]]))
    assert masked.item() == pytest.approx(math.log(2) / 2)
    mixed = LOSSES["cross_entropy"](logits, torch.tensor([[0.75, 0.25]]), torch.ones(1, 2)).item()
    assert mixed == pytest.approx(0.75 * math.log(1 + math.exp(2)) + 0.25 * math.log(1 + math.exp(-2)))


def test_only_matrices_decay(tiny_config):
    tagger = build_tagger(tiny_config.model, ("a", "b"), name="t", multilabel=False, seed=0)
    spared, decayed = build_optimizer(tagger, Optimizer(weight_decay=0.1)).param_groups
    assert decayed["weight_decay"] == 0.1 and spared["weight_decay"] == 0
    names = {id(parameter): name for name, parameter in tagger.named_parameters()}
    assert {names[id(p)].rpartition(".")[2] for p in decayed["params"]} == {"weight"}
    assert any("time_new_pos_embed" in names[id(p)] for p in spared["params"])
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def test_learning_rates_fall_with_depth(tiny_config):
    tagger = build_tagger(tiny_config.model, ("a", "b"), name="t", multilabel=False, seed=0)
    names = {id(parameter): name for name, parameter in tagger.named_parameters()}
    groups = build_optimizer(tagger, Optimizer(layer_decay=0.5)).param_groups
    scale = {names[id(parameter)]: group["lr_scale"] for group in groups for parameter in group["params"]}
    assert len(scale) == len(names)
    # AudioMAE's rule for two blocks: what makes tokens 0.5³, then 0.5², 0.5, and all above the blocks in full
    assert scale["backbone.patch_embed.proj.weight"] == scale["backbone.cls_token"] == 0.125
    assert scale["backbone.time_new_pos_embed"] == 0.125
    assert scale["backbone.blocks.0.attn.qkv.weight"] == 0.25 and scale["backbone.blocks.1.mlp.fc2.bias"] == 0.5
    assert scale["backbone.norm.weight"] == scale["head.1.weight"] == 1.0


def test_mixup_on_both_levels_mixes_answers_as_it_mixes_sound(open_mini):
    dataset, waves = open_mini("esc10")
    both = Augment(mixup_chance=1.0, wave_mixup_chance=1.0)
    clips = Clips.of(
        dataset.items("train"), waves, dataset.labels, segment_samples=4000, augment=both, seed=0,
        teacher=np.eye(2, dtype=np.float32)[[1] * len(dataset.items("train"))],
    )  # fmt: skip
    order = np.arange(len(clips.items))
    batch = clips.batch(order, range(4), 0)
    assert batch.other is not None and batch.other.shape == batch.wave.shape == (4, 4000)
    torch.testing.assert_close(batch.target.sum(dim=1), torch.ones(4))
    assert batch.teacher is not None and torch.equal(batch.teacher, torch.tensor([[0.0, 1.0]] * 4))
    again = clips.batch(order, range(2, 4), 0)  # a clip's draws do not depend on its batch
    assert torch.equal(again.wave, batch.wave[2:]) and torch.equal(again.target, batch.target[2:])
    plain = Clips.of(dataset.items("train"), waves, dataset.labels, segment_samples=4000, augment=Augment(), seed=0)
    alone = plain.batch(order, range(4), 0)
    assert alone.other is None and not torch.equal(alone.wave, batch.wave)
    assert torch.equal(alone.target, torch.from_numpy(clips.truth[:4]))


@pytest.mark.parametrize("name", recipes())
def test_configurations_round_trip_as_toml(name):
    config = recipes()[name].config
    assert from_values(type(config), tomllib.loads(to_toml(asdict(config)))) == config


def test_settings_by_name():
    config = TrainConfig("esc10")
    changed = with_overrides(config, {"optimizer.lr": "3e-4", "epochs": "3", "options.fold": "2", "loss": "bce"})
    assert changed == replace(config, optimizer=Optimizer(lr=3e-4), epochs=3, options={"fold": 2}, loss="bce")
    assert with_overrides(ProbeConfig("x"), {"lrs": "[1e-3, 1e-4]"}).lrs == (1e-3, 1e-4)
    with pytest.raises(UsageError, match=r"did you mean 'optimizer\.lr'"):
        with_overrides(config, {"optimizer.lrr": "1"})
    with pytest.raises(UsageError, match="'epochs' cannot be 'many'; it is of type int"):
        with_overrides(config, {"epochs": "many"})
    with pytest.raises(UsageError, match=r"unknown setting 'model\.bse'"):
        from_values(TrainConfig, {"dataset": "esc10", "model": {"bse": "x"}})
    with pytest.raises(UsageError, match="'dataset' is missing"):
        from_values(TrainConfig, {})


def test_the_probe_head_is_maests():
    from audiopatch.models.heads import build_head

    layers = [type(layer).__name__ for layer in build_head(HeadConfig(50, "probe", n_hidden=512, dropout=0.5), 2304)]
    assert layers == ["Linear", "ReLU", "Dropout", "Linear"]
