"""The torch engine keeps the results while it chooses faster ways to them."""

import pytest
import torch
import torch.nn.functional as F

from audiopatch.errors import UsageError
from audiopatch.models.engines.eager import fast_float32, unmix
from audiopatch.models.processor import Processor
from audiopatch.models.transformer import attend
from audiopatch.reducers.plan import parse_plan
from audiopatch.zoo import load_model


def random_qkv(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """(3, B, H, L, d), strided as the attention layer hands them over."""
    qkv = torch.randn(2, 37, 3, 4, 64, generator=torch.Generator().manual_seed(0))
    return qkv.to(dtype).permute(2, 0, 3, 1, 4)


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize("isa", ["AVX2", "AVX512"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_one_head_at_a_time_equals_the_fused_kernel(isa, dtype, tolerance, monkeypatch):
    kind = Processor(isa=isa, bfloat16=True, int8=False, amx=False)
    monkeypatch.setattr("audiopatch.models.transformer.processor", lambda: kind)
    expected = F.scaled_dot_product_attention(*random_qkv())
    with torch.no_grad():
        assert relative_error(attend(*random_qkv(dtype)), expected) < tolerance


def test_gradients_flow_through_attention():
    q, k, v = (part.clone().requires_grad_() for part in random_qkv())
    attend(q, k, v).sum().backward()
    assert q.grad is not None and v.grad is not None and v.grad.abs().sum() > 0


def test_fast_float32_is_still_float32():
    before = torch.get_float32_matmul_precision()
    a, b = torch.randn(300, 768), torch.randn(768, 400)
    with fast_float32(), fast_float32():
        assert relative_error(a @ b, (a.double() @ b.double()).float()) < 1e-5
    assert torch.get_float32_matmul_precision() == before


@torch.inference_mode()
@pytest.mark.parametrize("plan", ["none", "F3T2"])
def test_bfloat16_stays_close_and_stores_its_weights_once(plan):
    exact, fast = load_model("random/tiny-random"), load_model("random/tiny-random", device="cpu", dtype="bfloat16")
    assert fast.backbone.blocks[0].mlp.fc1.weight.dtype == torch.bfloat16
    assert fast.backbone.norm.weight.dtype == torch.float32
    mel = torch.randn(2, 96, 625)
    prediction = fast(mel, parse_plan(plan), taps=(1,))
    expected = exact(mel, parse_plan(plan), taps=(1,))
    assert prediction.logits.dtype == torch.float32
    assert relative_error(prediction.logits, expected.logits) < 2e-2
    assert relative_error(prediction.stacks[1], expected.stacks[1]) < 2e-2


def test_unknown_choices_are_refused():
    with pytest.raises(UsageError, match="unknown engine 'tensorflow'"):
        load_model("random/tiny-random", engine="tensorflow")
    with pytest.raises(UsageError, match="unknown dtype 'float8'"):
        load_model("random/tiny-random", dtype="float8")
    with pytest.raises(UsageError, match="cannot compute in 'int8'"):
        load_model("random/tiny-random", dtype="int8")


@pytest.mark.parametrize("plan", ["none", "F3T2", "topk:0.7@2", "tome:8@1,2", "F3T2+adaptive:F2T9@2"])
def test_all_of_a_network_in_bfloat16_is_near_the_mixed_one(plan):
    """What a GPU does, on any machine; merged tokens are wider in between."""
    mixed, all_of_it = (load_model("random/tiny-random", device="cpu", dtype="bfloat16") for _ in range(2))
    exact = load_model("random/tiny-random", device="cpu", dtype="float32")
    unmix(all_of_it)
    mel = exact.frontend(0.1 * torch.randn(2, 160_000, generator=torch.Generator().manual_seed(0)))
    with torch.inference_mode():
        wanted, usual, found = (net(mel, parse_plan(plan), (1,)) for net in (exact, mixed, all_of_it))
    assert found.logits.dtype == found.stacks[1].dtype == torch.float32
    if "topk" not in plan:  # which may choose another token for a rounding
        assert relative_error(found.logits, wanted.logits) < 2e-2
        assert relative_error(found.stacks[1], wanted.stacks[1]) < 2e-2
        assert relative_error(usual.logits, wanted.logits) < 2e-2
