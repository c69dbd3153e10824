"""The loop: it learns, resumes bit by bit, stops when asked, and two processes take one process's steps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from audiopatch.errors import OutputMismatchError, UsageError
from audiopatch.training.config import Augment, Averaging, LearningRate, ModelChoice, Optimizer, Reduction, Sampling
from audiopatch.training.train import train
from audiopatch.zoo import load_model

MINI = Path(__file__).parents[1] / "mini"
EVERYTHING = {
    "augment": Augment(
        gain_db=6.0, roll_s=0.1, mask_frames=(2, 4), mask_bands=(1, 8), mixup_chance=0.7, mask_random_width=True
    ),
    "averaging": Averaging(start_epoch=1),
    "learning_rate": LearningRate("exponential", 1.0, "linear", 1.0, 2.0, 0.1),
    "reduction": Reduction(train="structured:F2T1", ramp_epochs=1),
}


def log(folder, kind):
    return [row for row in map(json.loads, (folder / "metrics.jsonl").open()) if row["kind"] == kind]


def weights(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)["tagger"]


def test_a_run_leaves_a_model_that_loads_and_a_log(tiny_config, open_mini, tmp_path):
    dataset, waves = open_mini("csv")
    config = replace(tiny_config, dataset="csv", averaging=Averaging(start_epoch=1))
    outcome = train(config, dataset, waves, tmp_path / "run", accelerator="cpu")
    assert outcome.finished and outcome.best_epoch in (0, 1)
    tagger = load_model(tmp_path / "run" / "model", device="cpu")
    assert tagger.labels == dataset.labels and not tagger.card.multilabel and tagger.card.segment_s == 1.0
    assert len(log(tmp_path / "run", "step")) == 2 and len(log(tmp_path / "run", "epoch")) == 2
    assert {"model", "last", "swa", "config.toml", "environment.json"} <= {p.name for p in (tmp_path / "run").iterdir()}
    last, swa = (load_model(tmp_path / "run" / name, device="cpu").state_dict() for name in ("last", "swa"))
    for key, value in weights(tmp_path / "run").items():
        assert torch.equal(last[key], value)  # one epoch averaged: SWA is the last
        assert torch.equal(swa[key], value)


def test_tensorboard_gets_the_same_figures(tiny_config, open_mini, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    dataset, waves = open_mini("csv")
    train(replace(tiny_config, dataset="csv"), dataset, waves, tmp_path, accelerator="cpu")
    found = events.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [(event.step, pytest.approx(event.value)) for event in found.Scalars("step/loss")]
    assert [(row["step"], row["loss"]) for row in log(tmp_path, "step")] == losses
    assert len(found.Scalars("epoch/valid_accuracy")) == 2


@pytest.mark.parametrize(("stop_after", "precision"), [(1, "fp32"), (3, "fp32"), (4, "fp16")])
def test_a_resumed_run_is_bit_equal(tiny_config, open_mini, tmp_path, stop_after, precision):
    dataset, waves = open_mini("esc10")
    config = replace(tiny_config, epochs=3, precision=precision, **EVERYTHING)
    train(config, dataset, waves, tmp_path / "whole", accelerator="cpu")

    def interrupt(row):
        if row["kind"] == "step" and row["step"] == stop_after:
            os.kill(os.getpid(), signal.SIGINT)

    outcome = train(config, dataset, waves, tmp_path / "parts", accelerator="cpu", report=interrupt)
    assert not outcome.finished and len(log(tmp_path / "parts", "step")) == stop_after
    assert train(config, dataset, waves, tmp_path / "parts", accelerator="cpu", resume=True).finished
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert log(tmp_path / "whole", "step") == log(tmp_path / "parts", "step")
    swa = (load_model(tmp_path / name / "swa", device="cpu").state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(a, b) for a, b in zip(*(state.values() for state in swa), strict=True))


def test_a_run_that_died_before_its_first_checkpoint_leaves_nothing_in_the_log(tiny_config, open_mini, tmp_path):
    dataset, waves = open_mini("esc10")
    config = replace(tiny_config, epochs=1)

    def die(row):
        raise MemoryError

    with pytest.raises(MemoryError):
        train(config, dataset, waves, tmp_path, accelerator="cpu", report=die)
    assert len(log(tmp_path, "step")) == 1
    assert train(config, dataset, waves, tmp_path, accelerator="cpu", resume=True).finished
    assert [row["step"] for row in log(tmp_path, "step")] == [1, 2]


def test_a_batch_in_parts_is_the_same_step(tiny_config, open_mini, tmp_path):
    dataset, waves = open_mini("esc10")
    config = replace(tiny_config, sampling=Sampling(batch_size=4), **EVERYTHING)
    train(config, dataset, waves, tmp_path / "one", accelerator="cpu")
    in_parts = replace(config, sampling=Sampling(batch_size=4, micro_batch=2))
    train(in_parts, dataset, waves, tmp_path / "parts", accelerator="cpu")
    losses = [[row["loss"] for row in log(tmp_path / name, "step")] for name in ("one", "parts")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_fp16_goes_on_with_the_scale_it_had_found(tiny_config, open_mini, tmp_path):
    dataset, waves = open_mini("esc10")
    config = replace(tiny_config, precision="fp16", epochs=1)
    train(config, dataset, waves, tmp_path, accelerator="cpu")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["scaler"]["scale"] == 2.0**15  # 65536 at first, too much for the first step
    # a scale that overflows: the next step must be skipped and the scale halved, as in the run that found it
    state["scaler"]["scale"] = 1e38
    state["progress"] |= {"epoch": 0, "batch": 1, "step": 1}
    torch.save(state, tmp_path / "checkpoint.pt")
    train(config, dataset, waves, tmp_path, accelerator="cpu", resume=True)
    after = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert after["scaler"]["scale"] == pytest.approx(5e37) and after["scaler"]["_growth_tracker"] == 0
    assert all(torch.equal(after["tagger"][key], value) for key, value in state["tagger"].items())


def wait_for_group_to_end(group, deadline):
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise TimeoutError("processes of the run are still there")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_two_processes_stop_at_one_step_and_go_on_exactly(tmp_path, number, code):
    def command(name, *more):
        changes = ("epochs=12", "model.segment_s=1.0", "sampling.batch_size=2", "averaging.start_epoch=3")
        settings = [part for change in changes for part in ("--set", change)]
        start = [sys.executable, "-m", "audiopatch", "train", "csv-finetune", str(MINI / "csv"), "--no-evaluate"]
        options = ["--model", "tiny-random", "--device", "cpu", "--devices", "2", "-o", str(tmp_path / name)]
        environment = {**os.environ, "AUDIOPATCH_CACHE": str(tmp_path / "cache")}
        return subprocess.Popen([*start, *options, *settings, *more], env=environment, start_new_session=True)

    assert command("whole").wait(300) == 0
    stopped, deadline = command("parts"), time.monotonic() + 300
    while not (tmp_path / "parts" / "checkpoint.pt").is_file():
        assert stopped.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    if number == signal.SIGKILL:
        stopped.kill()  # the first process alone; the others must not go on for ever
    else:
        os.killpg(stopped.pid, number)  # as a terminal or a scheduler does it: to all of them
    assert stopped.wait(300) == code
    wait_for_group_to_end(stopped.pid, deadline)
    assert 1 <= len(log(tmp_path / "parts", "step")) < 12
    assert command("parts", "--resume").wait(300) == 0
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert log(tmp_path / "whole", "step") == log(tmp_path / "parts", "step")


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tiny_config, open_mini, tmp_path):
    dataset, waves = open_mini("csv")
    config = replace(tiny_config, dataset="csv", epochs=4, **EVERYTHING)
    for n in (1, 2):
        train(config, dataset, waves, tmp_path / str(n), accelerator="cpu", devices=n)
    one, two = ([row["loss"] for row in log(tmp_path / name, "step")] for name in "12")
    assert one == pytest.approx(two, rel=1e-3)
    one, two = ([row["valid_map_macro"] for row in log(tmp_path / name, "epoch")] for name in "12")
    assert one == pytest.approx(two)


def test_another_run_in_the_same_folder_is_refused(tiny_config, open_mini, tmp_path):
    dataset, waves = open_mini("esc10")
    config = replace(tiny_config, epochs=1)
    train(config, dataset, waves, tmp_path, accelerator="cpu")
    with pytest.raises(OutputMismatchError, match="--resume"):
        train(config, dataset, waves, tmp_path, accelerator="cpu")
    with pytest.raises(OutputMismatchError, match="other settings"):
        train(replace(config, seed=1), dataset, waves, tmp_path, accelerator="cpu", resume=True)
    other = replace(dataset, splits={**dataset.splits, "train": dataset.items("train")[1:]})
    with pytest.raises(OutputMismatchError, match="other clips"):
        train(config, other, waves, tmp_path, accelerator="cpu", resume=True)
    (tmp_path / "notes.txt").write_text("mine")
    assert train(replace(config, seed=1), other, waves, tmp_path, accelerator="cpu", force=True).finished
    assert len(log(tmp_path, "epoch")) == 1 and (tmp_path / "notes.txt").is_file()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"precision": "int3"}, "unknown precision 'int3'; choose fp32, bf16, fp16"),
        ({"loss": "hinge"}, "unknown loss"),
        ({"sampling": Sampling(batch_size=5, micro_batch=2)}, "cannot be shared"),
        ({"learning_rate": LearningRate(decay="fast")}, "decay 'fast'"),
        ({"optimizer": Optimizer(name="sgdw")}, "unknown optimizer"),
        ({"model": ModelChoice(base="tiny-randm")}, "tiny-randm"),
        ({"reduction": Reduction(train="topkk:0.7")}, "did you mean 'topk'"),
    ],
)
def test_what_cannot_work_is_said_at_the_door(tiny_config, open_mini, tmp_path, change, words):
    dataset, waves = open_mini("esc10")
    with pytest.raises(UsageError, match=words):
        train(replace(tiny_config, **change), dataset, waves, tmp_path, accelerator="cpu")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_computes_low_and_keeps_fp32_weights(tiny_config, open_mini, tmp_path, precision):
    dataset, waves = open_mini("esc10")
    config = replace(tiny_config, precision=precision, epochs=1)
    train(config, dataset, waves, tmp_path / "low", accelerator="auto")
    train(replace(config, precision="fp32"), dataset, waves, tmp_path / "full", accelerator="auto")
    low, full = (log(tmp_path / name, "step")[0]["loss"] for name in ("low", "full"))
    assert low != full and low == pytest.approx(full, rel=0.02)
    assert all(value.dtype == torch.float32 for value in weights(tmp_path / "low").values())


def test_frozen_blocks_stay_as_they_were(tiny_config, open_mini, tmp_path):
    dataset, waves = open_mini("esc10")
    config = replace(tiny_config, epochs=1, model=replace(tiny_config.model, n_frozen_blocks=1))
    train(config, dataset, waves, tmp_path, accelerator="cpu")
    before, after = load_model("tiny-random", device="cpu").state_dict(), weights(tmp_path)
    assert torch.equal(before["backbone.blocks.0.mlp.fc1.weight"], after["backbone.blocks.0.mlp.fc1.weight"])
    assert not torch.equal(before["backbone.blocks.1.mlp.fc1.weight"], after["backbone.blocks.1.mlp.fc1.weight"])
