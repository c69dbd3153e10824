"""The packed layer gives what the plain one gives, whatever happens to its weights."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F

from audiopatch.models import linear
from audiopatch.models.linear import Linear
from audiopatch.models.processor import Processor


def plainly(layer: Linear, x: torch.Tensor, gelu: bool) -> torch.Tensor:
    out = F.linear(x, layer.weight, layer.bias)
    return F.gelu(out) if gelu else out


@pytest.fixture(params=["AVX512", "AVX2", "plain"], autouse=True)
def path(request, monkeypatch):
    """Every test holds on all ways to multiply, also on processors that would take another one."""
    if request.param == "plain":
        monkeypatch.setattr(linear, "_packable_dtypes", tuple)
    else:  # the GELU in the product, or after it
        made = Processor(isa=request.param, bfloat16=False, int8=False, amx=False)
        monkeypatch.setattr(linear, "processor", lambda: made)


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_packed_equals_plain(dtype, tolerance, gelu):
    layer = Linear(48, 96).to(dtype)
    x = torch.randn(3, 37, 48).to(dtype)
    expected = plainly(layer, x, gelu)
    with torch.inference_mode():
        got = layer(x, gelu=gelu)
    assert got.dtype == dtype
    assert (got - expected).float().norm() < tolerance * expected.float().norm()


@torch.no_grad()
def test_changed_weights_are_packed_again():
    layer, x = Linear(8, 4), torch.randn(5, 8)
    for change in (
        lambda: layer.weight.mul_(2),
        lambda: layer.load_state_dict({"weight": torch.randn(4, 8), "bias": torch.zeros(4)}),
        lambda: setattr(layer.weight, "data", torch.randn(4, 8)),
        lambda: layer.to(torch.bfloat16),
    ):
        layer(x)
        change()
        expected = plainly(layer, x.to(layer.weight.dtype), False)
        torch.testing.assert_close(layer(x), expected, rtol=1e-2, atol=1e-2 if expected.dtype != x.dtype else 1e-6)


def test_training_between_two_inferences_shows():
    layer, x = Linear(8, 4), torch.randn(5, 8)
    with torch.inference_mode():
        before = layer(x)
    layer(x, gelu=True).square().sum().backward()
    torch.optim.SGD(layer.parameters(), lr=0.5).step()
    with torch.inference_mode():
        assert not torch.allclose(layer(x), before)
        torch.testing.assert_close(layer(x), plainly(layer, x, False))


def test_autocast_decides_for_float32_weights():
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert Linear(8, 4)(torch.randn(2, 8)).dtype == torch.bfloat16


def test_a_layer_in_use_can_be_copied_and_saved():
    layer, x = Linear(8, 4), torch.randn(5, 8)
    with torch.inference_mode():
        expected = layer(x)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            torch.testing.assert_close(other(x), expected)
    assert set(layer.state_dict()) == {"weight", "bias"}
