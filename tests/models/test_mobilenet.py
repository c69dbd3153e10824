"""A convolution with its norm folded in gives what the three layers give, whatever happens to them."""

import copy
import pickle

import pytest
import torch
from torch import nn

from audiopatch.models import linear
from audiopatch.models.mobilenet import ConvNormAct


def layer(act: nn.Module | None = None, *, kernel: int = 3, **options) -> ConvNormAct:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, kernel, padding=kernel // 2, bias=False, **options)
    made = ConvNormAct(conv, nn.BatchNorm2d(16, eps=1e-3))
    if act:
        made.append(act)
    for name in ("weight", "bias", "running_mean"):
        nn.init.normal_(getattr(made[1], name))
    return made.eval()


def plainly(made: ConvNormAct, x: torch.Tensor) -> torch.Tensor:
    for part in made:
        x = part(x)
    return x


@pytest.mark.parametrize("act", [None, nn.ReLU(), nn.Hardswish()])
@pytest.mark.parametrize(
    "options", [{}, {"stride": 2}, {"groups": 8}, {"kernel": 1}, {"kernel": 1, "stride": 2}, {"kernel": 1, "groups": 8}]
)
def test_folded_equals_plain(act, options):
    made = layer(act, **options)
    with torch.inference_mode():
        for x in (torch.randn(2, 8, 9, 14), torch.randn(1, 8, 5, 3).to(memory_format=torch.channels_last)):
            torch.testing.assert_close(made(x), plainly(made, x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3])
@torch.no_grad()
def test_changed_weights_and_statistics_are_folded_again(kernel):
    made, x = layer(nn.ReLU(), kernel=kernel), torch.randn(2, 8, 9, 14)
    state = {key: value.clone() for key, value in layer(kernel=kernel).state_dict().items()}
    for change in (
        lambda: made[0].weight.mul_(2),
        lambda: made[1].bias.add_(1),
        lambda: made.load_state_dict(state),
        lambda: made.train()(x + 3),  # statistics alone
        lambda: setattr(made[1].weight, "data", torch.randn(16)),
    ):
        made.eval()(x)
        change()
        made.eval()
        torch.testing.assert_close(made(x), plainly(made, x), atol=1e-5, rtol=1e-5)


def test_training_uses_the_batch_and_reaches_every_part():
    made, x = layer(nn.Hardswish()).train(), torch.randn(2, 8, 9, 14)
    out = made(x)
    torch.testing.assert_close(out, plainly(copy.deepcopy(made), x))
    out.square().sum().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())


@pytest.mark.parametrize("kernel", [1, 3])
def test_it_is_copied_and_pickled_after_use(monkeypatch, kernel):
    made, x = layer(nn.ReLU(), kernel=kernel), torch.randn(1, 8, 5, 5)
    with torch.inference_mode():
        wanted = made(x)
        for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
            torch.testing.assert_close(again(x), wanted)
        monkeypatch.setattr(linear, "_packable_dtypes", tuple)  # a processor without these kernels
        torch.testing.assert_close(made(x), wanted, atol=1e-5, rtol=1e-5)
