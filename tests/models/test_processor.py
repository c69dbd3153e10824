"""What the processor computes natively is asked in one place, and nobody chooses an emulated format by itself."""

import logging

import pytest
import torch

from audiopatch.models import engines, processor
from audiopatch.models.processor import Processor, best_float
from audiopatch.zoo import load_model

OLD = Processor(isa="AVX2", bfloat16=False, int8=False, amx=False)
NEW = Processor(isa="AVX512", bfloat16=True, int8=True, amx=False)


def this_machine_is(monkeypatch, kind: Processor) -> None:
    monkeypatch.setattr(processor, "processor", lambda: kind)


def test_what_it_says_is_what_a_product_shows():
    if processor.processor().bfloat16:
        assert processor._times_float32(torch.bfloat16) <= processor._NATIVE
    assert processor.processor().computes(torch.float32) and not processor.processor().computes(torch.float16)


@pytest.mark.parametrize(("kind", "dtype"), [(OLD, torch.float32), (NEW, torch.bfloat16)])
def test_auto_is_never_emulated(monkeypatch, kind, dtype):
    this_machine_is(monkeypatch, kind)
    assert best_float(torch.device("cpu")) == dtype
    assert best_float(torch.device("cuda")) == torch.bfloat16
    named = {engine.partition(":")[2] for engine in engines.available_engines("cpu")}
    assert named <= {"float32", str(dtype).removeprefix("torch.")}


def test_an_emulated_format_works_by_name_and_says_what_it_costs(monkeypatch, caplog):
    this_machine_is(monkeypatch, OLD)
    with caplog.at_level(logging.WARNING):
        tagger = load_model("random/tiny-random", device="cpu", dtype="bfloat16")
    assert "only emulates bfloat16" in caplog.text and "times float32's time" in caplog.text
    with torch.inference_mode():
        assert tagger(torch.randn(1, 96, 625)).logits.isfinite().all()


@pytest.mark.parametrize(
    ("model", "installed", "engine"),
    [("mn04_as", True, "openvino"), ("mn04_as", False, "torch"), ("random/tiny-random", True, "torch")],
)
def test_the_fastest_that_is_exact(model, installed, engine, monkeypatch):
    if installed:
        pytest.importorskip("openvino")
    monkeypatch.setattr(engines, "find_spec", lambda name: installed)
    tagger = load_model(model, device="cpu", engine="auto")
    assert (tagger.engine, tagger.dtype) == (engine, torch.float32)
