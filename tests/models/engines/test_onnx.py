"""An exported file gives the Tagger's own scores in another runtime."""

import json

import numpy as np
import pytest
import torch

from audiopatch.errors import UsageError
from audiopatch.models.engines.onnx import export_onnx
from audiopatch.reducers.plan import parse_plan
from audiopatch.zoo import load_model


def test_onnx_runtime_gives_the_same_scores_for_any_batch(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    tagger, plan = load_model("random/tiny-random", device="cpu"), parse_plan("F3T2")
    export_onnx(tagger, tmp_path / "tiny.onnx", plan, taps=(1,))
    session = runtime.InferenceSession(tmp_path / "tiny.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        mel = torch.randn(batch, 96, 625)
        with torch.inference_mode():
            expected = tagger(mel, plan, taps=(1,))
        scores, features, stack = session.run(["scores", "features", "stack1"], {"mel": mel.numpy()})
        np.testing.assert_allclose(scores, tagger.scores(expected.logits), atol=1e-5)
        np.testing.assert_allclose(features, expected.features, atol=1e-4)
        np.testing.assert_allclose(stack, expected.stacks[1], atol=1e-4)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["labels"]) == list(tagger.labels)
    assert metadata["patchout"] == "F3T2"


def test_only_float32_is_exported(tmp_path):
    with pytest.raises(UsageError, match="float32"):
        export_onnx(load_model("random/tiny-random", device="cpu", dtype="bfloat16"), tmp_path / "no.onnx")


def test_chance_is_not_baked_in(tmp_path):
    with pytest.raises(UsageError, match="draws by chance"):
        export_onnx(load_model("random/tiny-random", device="cpu"), tmp_path / "no.onnx", parse_plan("F3T2+random:0.5"))
