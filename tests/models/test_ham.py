"""HAM-AST starts as the AST it grows from, says why it needs a rectangle, and its parts can learn."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from audiopatch.errors import UsageError
from audiopatch.models.card import ModelCard
from audiopatch.models.config import FrontendConfig, HamConfig, HeadConfig, TransformerConfig
from audiopatch.models.ham import HybridTransformer
from audiopatch.models.heads import SeparatedHeads, build_head
from audiopatch.models.transformer import SpectrogramTransformer
from audiopatch.reducers.plan import parse_plan

SMALL = TransformerConfig(grid=(3, 6), n_mels=48, dim=128, depth=2, patch_stride=(16, 16), positions="full")
PLAIN = {entry.name: getattr(SMALL, entry.name) for entry in fields(SMALL)} | {"kind": "ham"}


@pytest.fixture
def pair():
    """An AST with random weights, and a HAM-AST with the same ones."""
    torch.manual_seed(0)
    ast = SpectrogramTransformer(SMALL)
    for parameter in ast.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ham = HybridTransformer(HamConfig(**PLAIN, n_conformers=3, conv_kernel=5))
    result = ham.load_state_dict(ast.state_dict(), strict=False)
    assert not result.unexpected_keys
    assert all(key.startswith(("conformers.", "channels.")) for key in result.missing_keys)
    return ast.eval(), ham.eval()


def test_at_step_0_it_is_the_ast(pair):
    ast, ham = pair
    mel = torch.randn(2, 48, 96)
    torch.testing.assert_close(ham(mel).pooled, ast(mel).pooled, atol=2e-5, rtol=2e-5)
    plan = parse_plan("structured:F1T2@0")
    seeds = torch.tensor([1, 2])
    torch.testing.assert_close(
        ham(mel, plan, seeds=seeds).pooled, ast(mel, plan, seeds=seeds).pooled, atol=2e-5, rtol=2e-5
    )


def test_every_new_part_gets_a_gradient_and_moves_the_output(pair):
    _, ham = pair
    mel = torch.randn(2, 48, 96)
    before = ham(mel).pooled.detach()
    optimizer = torch.optim.SGD(ham.parameters(), lr=0.1)
    for _ in range(3):  # the first step leaves the zeros, the next ones reach what lies behind them
        optimizer.zero_grad()
        ham.train()(mel).pooled.square().sum().backward()
        optimizer.step()
    still = {name for name, parameter in ham.named_parameters() if parameter.grad is None or not parameter.grad.any()}
    assert not {name for name in still if name.startswith(("conformers", "channels"))}
    assert not torch.allclose(ham.eval()(mel).pooled, before, atol=1e-3)


def test_convolution_does_not_wrap_from_one_band_to_the_next(pair):
    _, ham = pair
    conv = ham.conformers[0].conv
    torch.nn.init.normal_(conv.out.weight)
    tokens = ham.embed(torch.zeros(1, 48, 96))
    x = torch.randn_like(tokens.x)
    changed = x.clone()
    changed[:, 2 + 5] += 1  # the last column of row 0
    difference = conv(tokens.with_x(changed)).x - conv(tokens.with_x(x)).x
    moved = difference.abs().amax(dim=-1)[0].nonzero().flatten().tolist()
    assert moved == [0, 1, 2 + 3, 2 + 4, 2 + 5]  # CLS, DIST; two columns back with a kernel of 5, none in the next row


def test_a_ragged_reducer_is_explained(pair):
    _, ham = pair
    with pytest.raises(UsageError, match="whole rows and columns"):
        ham(torch.randn(1, 48, 96), parse_plan("topk:0.5@1"))


def test_its_card_round_trips():
    card = ModelCard("ham", "ast", FrontendConfig("ast", 96), HamConfig(**PLAIN), HeadConfig(10), "own", 1.0)
    assert ModelCard.from_json(card.to_json()) == card


def test_separated_heads_answer_together():
    torch.manual_seed(0)
    head = build_head(HeadConfig(n_classes=4, kind="separated"), 64)
    assert isinstance(head, SeparatedHeads)
    features = torch.randn(3, 64)
    cls, dist = head.both(features)
    torch.testing.assert_close(head(features), (cls + dist) / 2)
    other = features.clone()
    other[:, 32:] = torch.randn(3, 32)
    torch.testing.assert_close(head.both(other)[0], cls)  # CLS's head never sees DIST


@pytest.mark.parametrize("stack", [("cls",), ("avg", "cls"), ("cls", "dist", "avg")])
def test_stacked_features_are_the_named_tokens(stack):
    torch.manual_seed(0)
    config = TransformerConfig(**{**PLAIN, "kind": "transformer", "pool": "stack", "stack": stack, "final_norm": False})
    backbone = SpectrogramTransformer(config).eval()
    found = backbone(torch.randn(2, 48, 96), taps=(2,))
    index = {"cls": 0, "dist": 1, "avg": 2}
    want = torch.cat([found.stacks[2][:, index[token]] for token in stack], dim=1)
    torch.testing.assert_close(found.pooled, want)
    assert found.pooled.shape[1] == config.n_features == 128 * len(stack)
