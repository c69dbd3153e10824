"""``train distill`` at toy size: from music files and a teacher to a model folder that tags."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from audiopatch.cli.main import app
from audiopatch.distill.config import DistillConfig
from audiopatch.distill.student import new_student
from audiopatch.models.card import ModelCard
from audiopatch.models.config import FrontendConfig, HeadConfig, MobileNetConfig, TransformerConfig
from audiopatch.training.plots import plot_distillation
from audiopatch.zoo import native
from audiopatch.zoo.load import load_model, random_tagger
from printed import printed

LABELS = tuple(f"sound {number}" for number in range(10))
TEACHER = ModelCard(
    "tiny-cnn", "efficientat", FrontendConfig("passt"), MobileNetConfig(0.1),
    HeadConfig(n_classes=10, kind="mlp", n_hidden=16), labels="mine", segment_s=1.0,
)  # fmt: skip
STUDENT = ModelCard(
    "tiny", "audiopatch", FrontendConfig("maest", n_frames=125),
    TransformerConfig(grid=(9, 12), n_mels=96, dim=64, depth=1, pool="both"),
    HeadConfig(n_classes=4), labels="classes-4", segment_s=2.0,
)  # fmt: skip


def run(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Music of three albums, a teacher with labels of its own, and the card of a student."""
    rng = np.random.default_rng(0)
    for name in ("a/1", "a/2", "b/1"):
        (tmp_path / "music" / name).parent.mkdir(parents=True, exist_ok=True)
        wave = 0.1 * rng.standard_normal((22_050 * 21, 2)).astype(np.float32)
        soundfile.write(tmp_path / "music" / f"{name}.wav", wave, 22_050)
    tune = np.concatenate([np.sin(np.arange(11_025) * rng.uniform(0.05, 0.8)) for _ in range(42)])
    (tmp_path / "music/c").mkdir()
    soundfile.write(tmp_path / "music/c/1.wav", 0.5 * tune, 22_050)
    soundfile.write(tmp_path / "music/b/copy.flac", 0.1 * tune[10_000:], 22_050)
    (tmp_path / "music/b/broken.mp3").write_bytes(b"no music")
    native.save(random_tagger(TEACHER, LABELS), tmp_path / "teacher")
    (tmp_path / "card.json").write_text(STUDENT.to_json())
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_music_to_a_model_that_tags(folder):
    options = "--teacher teacher --student card.json --held-out c --segments 16 --device cpu -o mine"
    small = ("batch_size=4", "n_calibration=2", "n_calibration_clips=24", "log_every=2", "n_evaluations=2")
    words = options.split() + [word for setting in small for word in ("--set", setting)]
    done = run("train", "distill", "music", *words, "--json")
    assert done.exit_code == 0, done.output
    assert printed("train-distill", done.stdout)["model"] == "mine/model"
    assert "GB in mine" in done.output and "2 of 6 tracks left out" in done.output
    assert "copies of held-out music that are left out of training: 1 (of c/1.wav)" in done.output
    tagger = load_model(folder / "mine/model", device="cpu")
    assert tagger.labels == LABELS and tagger.card.name == "mine"
    assert "top-1 agreement at F3T2 (with its teacher on held-out music)" in tagger.card.scores
    assert "| F4T10 |" in (folder / "mine/model/README.md").read_text()
    assert (folder / "mine/curves.png").stat().st_size > 10_000
    rows = [printed("metrics", line) for line in (folder / "mine/metrics.jsonl").read_text().splitlines()]
    assert {row["kind"] for row in rows} == {"step", "held-out"}
    assert "broken.mp3" in (folder / "mine/left_out.tsv").read_text()
    assert run("tag", "music/a", "--model", "mine/model", "-o", "tags").exit_code == 0
    again = run("train", "distill", "music", *words)
    assert again.exit_code != 0 and "--resume" in again.output


@pytest.mark.parametrize(("student", "goes_on"), [("old", True), ("card.json", False), ("random/tiny-random", False)])
def test_a_student_goes_on_from_its_weights_if_it_has_any(folder, student, goes_on):
    before = random_tagger(replace(STUDENT, labels="mine", head=HeadConfig(n_classes=2)), LABELS[:2], seed=3)
    native.save(before, folder / "old")
    config = DistillConfig(max_segments=1)
    learner = new_student(student, [load_model(folder / "teacher", device="cpu")], config, name="new")
    assert learner.card.name == "new"
    assert learner.labels == (LABELS[:2] if goes_on else LABELS)
    assert (learner.weights_sha256 != "random") == goes_on
    if goes_on:
        assert torch.equal(learner.head[1].weight, before.head[1].weight)
        assert torch.equal(learner.backbone.blocks[0].attn.qkv.weight, before.backbone.blocks[0].attn.qkv.weight)


def test_a_teacher_without_a_time_line_is_drawn_too(tmp_path):
    rows = [{"kind": "step", "segments": n, "logits": 1 / n, "ranking": 1 / n, "features": 1 / n} for n in (1, 2)]
    plot_distillation(rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5_000


def test_both_ends_at_once_are_refused(folder):
    done = run("train", "distill", "music", "--segments", "9", "--finish-in", "1h")
    assert done.exit_code == 2 and "give one of them" in done.output
