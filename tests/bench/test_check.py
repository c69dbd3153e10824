"""A published model beside its authors' package, rehearsed: a hub that this test serves, weights that mean nothing.

transformers' AST is the package that tests have. The others need environments of several GB, from package registries:
``make rehearse-check-models``.
"""

import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save as as_safetensors

from audiopatch.bench.check import Check, OutputDifference, _compare, check_model
from audiopatch.documents import document
from audiopatch.errors import EnvironmentProblem, UsageError
from audiopatch.models.card import ModelCard, Weights
from audiopatch.models.tagger import Tagger
from audiopatch.zoo import CARDS
from audiopatch.zoo.ast import ast_card
from audiopatch.zoo.ced import ced_card
from audiopatch.zoo.dasheng import dasheng_card
from audiopatch.zoo.eat import eat_card
from audiopatch.zoo.efficientat import efficientat_card
from audiopatch.zoo.labels import load_labels
from audiopatch.zoo.maest import maest_card, maest_hub_card
from audiopatch.zoo.passt import passt_card
from hub_server import hub_of
from printed import printed
from published import State, ced_state, eat_state, efficientat_state, hub_state, passt_state

ROOT = Path(__file__).parents[2]


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


SIZES = {"dim": 64, "depth": 2}
AST_SIZES = {"hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 2, "intermediate_size": 256}


@dataclass(frozen=True)
class Small:
    """A family's published model at a tiny size: its card, and the files of its repository."""

    card: Callable[..., ModelCard]
    files: Callable[[], dict[str, bytes]]


def torch_file(state: State) -> dict[str, bytes]:
    stream = io.BytesIO()
    torch.save(state, stream)
    return {"weights.pt": stream.getvalue()}


def hub_files(state: State, config: dict, preprocessor: dict | None = None) -> dict[str, bytes]:
    """A repository as transformers reads it, with the code that its ``auto_map`` names."""
    return {
        "model.safetensors": as_safetensors(state, metadata={"format": "pt"}),
        "config.json": json.dumps(config).encode(),
        "preprocessor_config.json": json.dumps(preprocessor or {}).encode(),
        "hub_code.py": Path(__file__).with_name("hub_code.py").read_bytes(),
    }


def small_efficientat(*, dynamic: bool) -> dict[str, bytes]:
    card = efficientat_card("small", width=0.1, n_classes=527, dynamic=dynamic)
    tagger = Tagger(card, load_labels("audioset")).eval()
    for value in tagger.parameters():
        if value.ndim > 1:  # large enough that something of the input is left at the end
            torch.nn.init.normal_(value, std=1.4 / value[0].numel() ** 0.5)
    return torch_file(efficientat_state(tagger))


def small_maest_on_the_hub() -> dict[str, bytes]:
    mel = {"num_mel_bins": 96, "max_length": 626, "layer_norm_eps": 1e-6}
    names = {"id2label": dict(enumerate(load_labels("discogs400")))}
    code = {"AutoFeatureExtractor": "hub_code.MAESTFeatureExtractor"}
    extractor = {"feature_extractor_type": "MAESTFeatureExtractor", "max_length": 626, "auto_map": code}
    config = {"model_type": "audio-spectrogram-transformer", **AST_SIZES, **mel, **names}
    return hub_files(hub_state(9 * 62, 400), config, extractor)


def small_ast() -> dict[str, bytes]:
    names = {"id2label": dict(enumerate(load_labels("audioset")))}
    extractor = {"feature_extractor_type": "ASTFeatureExtractor", "max_length": 1024}
    return hub_files(
        hub_state(1212, 527), {"model_type": "audio-spectrogram-transformer", **AST_SIZES, **names}, extractor
    )


def small_ced() -> dict[str, bytes]:
    state = {
        key if key.startswith("outputlayer") else f"encoder.{key.replace('init_bn.1.', 'init_bn.')}": value
        for key, value in ced_state(63, 40).items()
        if not key.startswith("front_end")
    }
    code = {"AutoConfig": "hub_code.Config", "AutoModelForAudioClassification": "hub_code.CedForAudioClassification"}
    config = {"model_type": "ced", "embed_dim": 64, "depth": 2, "n_classes": 40, "n_cols": 63, "auto_map": code}
    extractor = {"AutoFeatureExtractor": "hub_code.CedFeatureExtractor"}
    return hub_files(state, config, {"feature_extractor_type": "CedFeatureExtractor", "auto_map": extractor})


def small_eat() -> dict[str, bytes]:
    code = {"AutoConfig": "hub_code.Config", "AutoModel": "hub_code.EatModel"}
    config = {"model_type": "eat", "embed_dim": 64, "depth": 2, "n_classes": 527, "n_cols": 64, "auto_map": code}
    return hub_files(eat_state(64, 527), config)


SMALL = {
    "ast-finetuned-audioset-10-10-0.4593": Small(
        lambda name, weights: ast_card(
            name, stride=(10, 10), n_frames=1024, n_classes=527, eps=1e-12, head_eps=1e-12, weights=weights, **SIZES
        ),
        small_ast,
    ),
    "discogs-maest-10s-pw-129e": Small(
        lambda name, weights: maest_card(name, cols=62, n_classes=400, weights=weights, **SIZES),
        lambda: torch_file(passt_state(9, 62, 400)),
    ),
    "discogs-maest-10s-pw-129e-hub": Small(
        lambda name, weights: maest_hub_card(name, n_frames=626, n_classes=400, hub=weights.hub),
        small_maest_on_the_hub,
    ),
    "passt_s_swa_p16_128_ap476": Small(
        lambda name, weights: passt_card(name, grid=(12, 99), n_classes=527, weights=weights, **SIZES),
        lambda: torch_file(passt_state(12, 99, 527)),
    ),
    "dasheng-base-audioset": Small(
        lambda name, weights: dasheng_card(name, n_classes=527, weights=weights, **SIZES),
        lambda: torch_file(ced_state(252, 527, dasheng=True)),
    ),
    "mn10_as": Small(
        lambda name, weights: efficientat_card(name, width=0.1, n_classes=527, weights=weights),
        lambda: small_efficientat(dynamic=False),
    ),
    "dymn10_as": Small(
        lambda name, weights: efficientat_card(name, width=0.1, n_classes=527, dynamic=True, weights=weights),
        lambda: small_efficientat(dynamic=True),
    ),
    "ced-tiny": Small(lambda name, weights: ced_card(name, n_classes=40, weights=weights, **SIZES), small_ced),
    "eat-base-as2m": Small(lambda name, weights: eat_card(name, cols=64, weights=weights, **SIZES), small_eat),
}


@pytest.fixture(scope="module")
def cache() -> Path:
    """A cache that keeps its environments from run to run, and nothing else."""
    if not os.environ.get("AUDIOPATCH_REHEARSE"):
        pytest.skip("makes environments of several GB; run: make rehearse-check-models")
    folder = ROOT / "build" / "rehearsal"
    for place in folder.glob("*/"):
        if place.name != "references":
            shutil.rmtree(place)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL, "musicnn-msd", "musicnn-mtt"])
def test_a_rehearsal_of_make_check_models(cache, monkeypatch, name):
    """The script of the Makefile's target: it downloads, makes the family's environment, and writes the page.

    MusiCNN needs no hub: its package brings the published weights.
    """
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from check_models import main

    monkeypatch.setenv("AUDIOPATCH_CACHE", str(cache))
    monkeypatch.setenv("HF_HOME", str(cache / "hub" / "transformers"))
    torch.manual_seed(3)
    page = cache / f"{name}.md"
    files = SMALL[name].files() if name in SMALL else {}
    repository = f"someone/{name}"
    with hub_of(repository, files) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        if name in SMALL:
            url = f"{address}/{repository}/resolve/main/weights.pt"
            weights = Weights(url=url, filename="weights.pt") if "weights.pt" in files else Weights(hub=repository)
            monkeypatch.setitem(CARDS, name, SMALL[name].card(name, weights))
        main(str(page), [name])
    row = page.read_text().splitlines()[-1]
    if "cannot be fetched from https://github.com" in row:
        pytest.skip("EfficientAT's code is a repository, and there is no network to it")
    assert row.startswith(f"| `{name}` | ") and row.endswith("| agrees |"), row
