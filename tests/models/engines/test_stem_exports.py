"""A network with a convolutional stem and tail leaves the package as whole as any other."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from audiopatch.models.engines.onnx import export_onnx
from audiopatch.models.engines.openvino import OpenVinoBackbone
from audiopatch.models.student import stem_student
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import parse_plan
from audiopatch.zoo import load_model


@pytest.fixture(scope="module")
def student() -> Tagger:
    """One second of mn04 with a block inside that does something."""
    teacher = load_model("mn04_as", device="cpu")
    teacher.card = replace(teacher.card, segment_s=1.0)
    made = stem_student(teacher, width=64, n_blocks=2, context=2, heads={"more": ("happy", "sad")}, n_hidden=8).eval()
    torch.manual_seed(0)
    for block in made.backbone.blocks:
        torch.nn.init.normal_(block.mlp.fc2.weight, std=0.05)
        torch.nn.init.normal_(block.attn.qkv.weight, std=0.2)
    torch.nn.init.normal_(made.backbone.stem.to_map.weight, std=0.05)
    return made.requires_grad_(False)


@pytest.fixture
def mel(student) -> torch.Tensor:
    return student.frontend(0.1 * torch.randn(2, 32000, generator=torch.Generator().manual_seed(1)))


@torch.inference_mode()
@pytest.mark.slow  # compiling the stem takes half a minute; test_openvino.py has the quick part
@pytest.mark.parametrize("plan", ["F1T3+topk:0.7@1", "none", "F0T5", "adaptive:F2T2@1"])
def test_openvino_gives_what_torch_gives(student, mel, plan, tmp_path, monkeypatch, caplog):
    pytest.importorskip("openvino")
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path))
    wanted = student.backbone(mel, parse_plan(plan), (1,))
    with caplog.at_level(logging.WARNING):
        found = OpenVinoBackbone(student.backbone, "float32", n_frames=mel.shape[2])(mel, parse_plan(plan), (1,))
    assert "runs on torch" not in caplog.text
    assert float((found.pooled - wanted.pooled).norm() / wanted.pooled.norm()) < 1e-4
    torch.testing.assert_close(found.stacks[1], wanted.stacks[1], atol=1e-3, rtol=1e-3)


@pytest.mark.slow  # half a minute for torch.onnx
def test_onnx_runtime_gives_the_same_scores(student, mel, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    plan = parse_plan("F1T3+topk:0.7@1")
    export_onnx(student, tmp_path / "stem.onnx", plan, taps=(1,))
    session = runtime.InferenceSession(tmp_path / "stem.onnx", providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        wanted = student(mel, plan, (1,))
    scores, features, stack = session.run(["scores", "features", "stack1"], {"mel": mel.numpy()})
    np.testing.assert_allclose(scores, student.scores(wanted.logits), atol=1e-4)
    np.testing.assert_allclose(features, wanted.features, atol=1e-3)
    np.testing.assert_allclose(stack, wanted.stacks[1], atol=1e-3)
