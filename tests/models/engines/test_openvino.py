"""OpenVINO stands in for the torch backbone, result for result."""

import logging
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from audiopatch.cli.main import find_command
from audiopatch.errors import UsageError
from audiopatch.models.engines.openvino import _relative_error
from audiopatch.models.engines.traced import code_of, identity
from audiopatch.reducers.plan import parse_plan
from audiopatch.zoo import load_model
from printed import printed

pytest.importorskip("openvino")

N_FRAMES = 625  # of one segment of tiny-random


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    """Conversion takes a second or two; the tests share what they can."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _use_cache(shared_cache, monkeypatch):
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(shared_cache))


@pytest.fixture
def mel():
    return torch.randn(3, 96, N_FRAMES, generator=torch.Generator().manual_seed(0))


def with_openvino(dtype: str):
    return load_model("random/tiny-random", device="cpu", dtype=dtype, engine="openvino")


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value - expected).norm() / expected.norm())


@torch.inference_mode()
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("plan", ["none", "F3T2"])
def test_it_gives_what_torch_gives(plan, dtype, tolerance, mel):
    expected = load_model("random/tiny-random")(mel, parse_plan(plan), taps=(1,))
    prediction = with_openvino(dtype)(mel, parse_plan(plan), taps=(1,))
    assert relative_error(prediction.logits, expected.logits) < tolerance
    assert relative_error(prediction.features, expected.features) < tolerance
    assert relative_error(prediction.stacks[1], expected.stacks[1]) < tolerance


def test_a_signal_after_models_have_gone_is_only_a_signal():
    code = """
import gc, os, signal, sys, torch
from audiopatch.zoo import load_model
taggers = []
for _ in range(3):
    taggers.append(load_model("random/tiny-random", device="cpu", dtype="float32", engine="openvino"))
    with torch.inference_mode():
        taggers[-1](torch.zeros(1, 96, 625))
while taggers:
    del taggers[0]
    gc.collect()
signal.signal(signal.SIGINT, lambda *_: sys.exit(42))
os.kill(os.getpid(), signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 42, done.stderr


@torch.inference_mode()
def test_early_exit_and_batches_of_any_size(mel):
    tagger, expected = with_openvino("float32"), load_model("random/tiny-random").stacks(mel, (1,))
    together = tagger.stacks(mel, (1,))[1]
    alone = torch.cat([tagger.stacks(clip[None], (1,))[1] for clip in mel])
    assert torch.equal(together, alone)
    assert relative_error(together, expected[1]) < 1e-5


@torch.inference_mode()
def test_a_program_is_made_once_per_plan(tmp_path, monkeypatch, mel):
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path))
    with_openvino("bfloat16")(mel)
    (made,) = tmp_path.rglob("program.xml")
    before = made.stat().st_mtime_ns
    with_openvino("bfloat16")(mel)
    assert made.stat().st_mtime_ns == before
    with_openvino("bfloat16")(mel, parse_plan("F3T2"))
    assert len(list(tmp_path.rglob("program.xml"))) == 2


@torch.inference_mode()
def test_a_damaged_program_is_made_again(tmp_path, monkeypatch, mel, caplog):
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path))
    expected = with_openvino("bfloat16")(mel).logits
    (weights,) = tmp_path.rglob("program.bin")
    assert torch.equal(with_openvino("bfloat16")(mel).logits, expected)
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert torch.equal(with_openvino("bfloat16")(mel).logits, expected)
    assert "damaged" in caplog.text
    assert weights.read_bytes() == whole
    assert len(list(weights.parent.iterdir())) == 2  # no drafts beside it


@torch.inference_mode()
def test_where_nothing_can_be_kept_it_runs_all_the_same(tmp_path, monkeypatch, mel, caplog):
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path / "cache"))
    error = relative_error(with_openvino("float32")(mel).logits, load_model("random/tiny-random")(mel).logits)
    assert error < 1e-5
    assert "the next run will compile again" in caplog.text


def test_the_configuration_counts_not_the_weights_alone():
    tagger = load_model("random/tiny-random")
    before = identity(tagger.backbone)
    tagger.backbone.config = replace(tagger.backbone.config, pool="patch")
    assert identity(tagger.backbone) != before


def test_so_does_the_code_of_own_reducers(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    own = tmp_path / "quiet_reducer.py"
    own.write_text(
        "from dataclasses import dataclass\n"
        "from audiopatch.reducers.reducer import Reducer\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Reducer):\n"
        "    def __call__(self, tokens, signals):\n"
        "        return tokens\n"
    )
    plan = parse_plan("quiet_reducer:Mine@1")
    before = code_of(plan)
    own.write_text(own.read_text() + "# changed\n")
    assert code_of(plan) != before
    assert code_of(parse_plan("F3T2+topk:0.7@1")) == ""


@pytest.mark.parametrize("outputs", [(float("nan"), 1.0), (1.0, float("nan"))])
def test_a_program_that_gives_nan_is_no_match(outputs):
    arrays = [np.full((1, 2), value, np.float32) for value in outputs]
    assert not _relative_error(arrays, [torch.ones(1, 2)] * 2) <= 1e-3


@torch.inference_mode()
def test_shorter_segments_are_left_to_torch_and_it_says_so(mel, caplog):
    short = mel[..., :-60]
    with caplog.at_level(logging.WARNING):
        prediction = with_openvino("float32")(short)
    assert relative_error(prediction.logits, load_model("random/tiny-random")(short).logits) < 1e-5
    assert "run on torch" in caplog.text


@torch.inference_mode()
def test_int8_is_calibrated_first(mel):
    if find_spec("nncf") is None:  # not imported here, for it calls an analytics service
        pytest.skip("nncf is not installed")
    tagger = with_openvino("int8")
    with pytest.raises(UsageError, match="--int8 FOLDER"):
        tagger(mel)
    tagger.backbone.calibrate(mel)
    error = relative_error(tagger(mel).logits, load_model("random/tiny-random")(mel).logits)
    assert 0 < error < 0.2
    assert relative_error(with_openvino("int8")(mel).logits, tagger(mel).logits) == 0


@torch.inference_mode()
def test_export_makes_what_tag_and_embed_ask_for_after_a_block(mel, tone, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("audiopatch.models.engines.openvino.quantise", lambda model, mel: model)
    tagger = with_openvino("int8")
    with pytest.raises(UsageError, match="--patchout PLAN --block 1 --int8 FOLDER"):
        tagger.stacks(mel, (1,))
    tone(tmp_path / "a.wav", seconds=11)
    words = ["random/tiny-random", "--block", "1", "--int8", str(tmp_path), "--json"]
    find_command("export").main(words, standalone_mode=False)
    assert printed("export", capsys.readouterr().out)["int8"]
    assert torch.isfinite(tagger.stacks(mel, (1,))[1]).all()
    assert torch.isfinite(tagger(mel, taps=(1,)).logits).all()


def test_chance_is_not_baked_in(mel):
    with pytest.raises(UsageError, match=r"random:0\.5 draws by chance"):
        with_openvino("int8").backbone.calibrate(mel, parse_plan("random:0.5"))


def test_other_dtypes_are_refused():
    with pytest.raises(UsageError, match="float16"):
        with_openvino("float16")
