"""Hub repositories, fetched by huggingface_hub from a server started by the test (``HF_ENDPOINT``)."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save

from audiopatch.errors import UsageError, WeightsError
from audiopatch.models.card import Weights
from audiopatch.zoo import CARDS, fetch, load_model
from hub_server import hub_of


@pytest.fixture
def hub(states, tmp_path, monkeypatch):
    """A hub with one repository, ``someone/tiny-ast``; gives the list of requests it has seen."""
    config = {"model_type": "audio-spectrogram-transformer", "hidden_size": 64, "num_attention_heads": 1,
              "num_hidden_layers": 2, "intermediate_size": 256, "max_length": 128}  # fmt: skip
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": save(states.hub(144, 35))}
    files["anything.py"] = b"raise SystemExit('code from the hub ran')"
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path / "cache"))
    with hub_of("someone/tiny-ast", files) as (address, seen):
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield seen


def test_a_repository_is_fetched_once_and_without_its_code(hub):
    tagger = load_model("hf://someone/tiny-ast", device="cpu")
    assert tagger(tagger.frontend(torch.zeros(1, 16000))).logits.shape == (1, 35)
    fetched = {line.rpartition("/")[2] for line in hub if line.startswith("GET /someone")}
    assert fetched == {"config.json", "model.safetensors"}
    hub.clear()
    again = load_model("hf://someone/tiny-ast", device="cpu", offline=True)
    assert again.weights_sha256 == tagger.weights_sha256
    assert load_model("hf://someone/tiny-ast", device="cpu").card == again.card
    assert hub == []  # once cached, no network call


def test_offline_and_unknown_repositories_are_said(hub):
    with pytest.raises(WeightsError, match="offline"):
        load_model("hf://someone/tiny-ast", device="cpu", offline=True)
    assert hub == []
    with pytest.raises(WeightsError, match="cannot be fetched"):
        load_model("hf://someone/else", device="cpu")
    with pytest.raises(UsageError, match="hf://owner/name"):
        load_model("hf://a/b/c", device="cpu")


@pytest.mark.slow  # huggingface_hub tries for 20 s
def test_an_unreachable_hub_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="cannot be reached"):
        fetch.hub_folder("someone/tiny-ast")


def test_a_card_on_the_hub_is_cached_and_verified(hub):
    card = replace(CARDS["tiny-random"], name="on-hub", weights=Weights(hub="someone/tiny-ast"))
    assert fetch.cached(card) is None and fetch.verify(card) == "missing"
    folder = fetch.download(card)
    assert fetch.cached(card) == folder and fetch.verify(card) == "ok"
    weights = (folder / "model.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert fetch.verify(card) == "corrupt"
