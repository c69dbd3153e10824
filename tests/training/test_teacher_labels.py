"""A teacher's labels: said once, kept in the run folder, learned by the DIST head; and what cannot be taught."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from audiopatch.errors import UsageError
from audiopatch.models.heads import SeparatedHeads
from audiopatch.training.config import ModelChoice, Teacher
from audiopatch.training.initialise import build_tagger
from audiopatch.training.train import teacher_labels, train
from audiopatch.zoo import load_model, native


@pytest.fixture
def teacher(tmp_path, monkeypatch):
    """A model that knows the labels of the mini ESC-10 among others, and listens at 32 kHz."""
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path / "cache"))
    choice = ModelChoice(base="tiny-random", weights="random", frontend="passt", segment_s=1.0)
    labels = ("frog", "rooster", "dog")
    native.save(build_tagger(choice, labels, name="t", multilabel=True, seed=3).eval(), tmp_path / "teacher")
    return str(tmp_path / "teacher")


def test_the_dist_head_learns_what_the_teacher_says(tiny_config, open_mini, tmp_path, teacher):
    dataset, waves = open_mini("esc10")
    config = replace(
        tiny_config, model=replace(tiny_config.model, head="separated"), teacher=Teacher(teacher, threshold=0.999)
    )

    def interrupt(row):
        if row["kind"] == "step" and row["step"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    assert train(config, dataset, waves, tmp_path / "whole", accelerator="cpu").finished
    assert not train(config, dataset, waves, tmp_path / "parts", accelerator="cpu", report=interrupt).finished
    (tmp_path / "teacher").rename(tmp_path / "gone")  # its answers are in the run folder
    assert train(config, dataset, waves, tmp_path / "parts", accelerator="cpu", resume=True).finished
    whole, parts = (load_model(str(tmp_path / name / "model"), device="cpu") for name in ("whole", "parts"))
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))
    assert isinstance(whole.head, SeparatedHeads)
    table = pd.read_parquet(tmp_path / "whole" / "teacher.parquet")
    assert table.path.tolist() == [str(item.path) for item in dataset.items("train")]
    assert all(len(names) == 1 and set(names) <= set(dataset.labels) for names in table.labels)  # the best one


def test_labels_are_scores_above_the_threshold(open_mini, tmp_path, teacher):
    dataset, waves = open_mini("esc10")
    taught = teacher_labels(Teacher(teacher, 0.0), dataset, waves, tmp_path / "all.parquet", device="cpu")
    assert taught.shape == (len(dataset.items("train")), 2) and np.all(taught == 1)
    with pytest.raises(UsageError, match="is about other clips"):
        other = replace(dataset, splits={**dataset.splits, "train": dataset.items("train")[1:]})
        teacher_labels(Teacher(teacher, 0.0), other, waves, tmp_path / "all.parquet", device="cpu")


def test_what_cannot_teach_is_said(tiny_config, open_mini, tmp_path, teacher):
    dataset, waves = open_mini("esc10")
    with pytest.raises(UsageError, match=r"add --set model\.head=separated"):
        train(replace(tiny_config, teacher=Teacher(teacher)), dataset, waves, tmp_path / "run", accelerator="cpu")
    with pytest.raises(UsageError, match="does not know 1 labels, such as 'cat'"):
        teacher_labels(
            Teacher(teacher), replace(dataset, labels=("dog", "cat")), waves, tmp_path / "x.parquet", device="cpu"
        )
