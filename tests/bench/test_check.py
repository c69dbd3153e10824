"""A published model beside its authors' package, rehearsed: a hub that this test serves, weights that mean nothing.

transformers' AST is the package that tests have. The others are run by whoever has a network (``models check``).
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiopatch.bench.check import Check, OutputDifference, _compare, check_model
from audiopatch.documents import document
from audiopatch.errors import EnvironmentProblem, UsageError
from audiopatch.models.card import Weights
from audiopatch.zoo import CARDS
from hub_server import hub_of
from printed import printed


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(1)
    for number in range(2):
        soundfile.write(folder / f"{number}.wav", rng.normal(0, 0.1, 44_100 * 2), 44_100)
    return folder


def served(folder: Path, labels: list[str]) -> dict[str, bytes]:
    """The files of a tiny AST as its hub repository holds them."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(3)
    config = transformers.ASTConfig(
        hidden_size=64,
        num_attention_heads=1,
        num_hidden_layers=2,
        intermediate_size=256,
        max_length=128,
        id2label=dict(enumerate(labels)),
    )
    net = transformers.ASTForAudioClassification(config).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    net.save_pretrained(folder)
    extractor = transformers.ASTFeatureExtractor(max_length=128, mean=-6.8, std=5.5)
    extractor.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def card(tmp_path, monkeypatch):
    """The Speech Commands card, its weights at ``someone/tiny-ast`` of a local hub."""
    published = CARDS["ast-finetuned-speech-commands-v2"]
    head = replace(published.head, n_classes=5)
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path / "cache"))
    with hub_of("someone/tiny-ast", served(tmp_path / "ast", list("abcde"))) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield replace(published, head=head, labels="classes-5", weights=Weights(hub="someone/tiny-ast"))


@pytest.mark.slow
def test_the_published_code_and_ours_agree_on_the_same_audio(card, music):
    check = check_model(card, [str(music)], python=sys.executable)
    assert check.agrees and check.labels and check.n_clips == 2
    assert set(check.differences) == {"mel", "logits", "features"}
    assert 0 <= check.differences["logits"].relative < 5e-5
    assert "transformers" in check.environment


def test_agreement_needs_every_output_and_the_labels():
    close, far = OutputDifference(1e-3, 4e-5), OutputDifference(1e-5, 6e-5)
    for part, labels, agrees in (("logits", True, True), ("logits", None, True), ("logits", False, False)):
        assert Check("a", 1, {"mel": far, part: close}, labels, {}).agrees == agrees
    differs = Check("a", 1, {"scores": close, "features": far}, True, {})
    assert not differs.agrees and not printed("models-check", json.dumps(document(differs)))["agrees"]


def test_differences_are_over_all_clips():
    ours = {"mel_0": np.zeros((2, 5), np.float32), "logits_0": np.array([1.0, 2.0]), "logits_1": np.array([2.0, 0.0])}
    theirs = {"mel_0": np.zeros((2, 4)), "logits_0": np.array([1.0, 1.0]), "logits_1": np.array([1.0, 1.0])}
    found = _compare(ours, theirs)
    assert found == {"mel": OutputDifference(0.0, 0.0), "logits": OutputDifference(1.0, pytest.approx(3**0.5 / 2))}


def test_a_family_without_a_package_is_said():
    with pytest.raises(UsageError, match="has no package of its authors"):
        check_model(CARDS["audiomae-as2m"], ["music"])


@pytest.mark.slow
def test_what_cannot_be_checked_is_said(card, music, tmp_path):
    with pytest.raises(EnvironmentProblem, match="no-python cannot be run"):
        check_model(card, [str(music)], python=str(tmp_path / "no-python"))
    short = tmp_path / "short"
    short.mkdir()
    soundfile.write(short / "a.wav", np.zeros(4000), 16_000)
    with pytest.raises(UsageError, match="as long as one segment"):
        check_model(card, [str(short)], python=sys.executable)


@pytest.mark.slow
def test_a_package_that_fails_says_why(card, music, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'ModuleNotFoundError: no transformers here' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(EnvironmentProblem, match="no transformers here"):
        check_model(card, [str(music)], python=str(broken))
