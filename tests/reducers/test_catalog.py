"""What every reducer of the catalog promises, on the geometry of every family."""

import pytest
import torch

from audiopatch.reducers import REDUCERS
from audiopatch.reducers.plan import parse_plan

PLANS = {
    "fixed": ["F3T2", "F2T2R3", "fixed:F2T0/rows=3/cols=1,4-6"],
    "structured": ["structured:F2T5", "structured:F2T5/per_clip"],
    "random": ["random:0.4", "random:U30", "random:0.7@2,3"],
    "adaptive": ["adaptive:F3T5@1,2,4"],
    "topk": [
        "topk:0.7@2,3,4",
        "topk:0.5/token@1",
        "topk:0.6/intensity@0",
        "topk:0.6/variation@3",
        "topk:0.5/fuse@2,3",
    ],
    "tome": ["tome:20@1,2,3"],
}
ALL = [plan for plans in PLANS.values() for plan in plans] + ["structured:F1T3+random:U20+topk:0.7@2"]
KEEP_ALL = ["F0T1", "structured", "random:1", "adaptive@1,2", "topk:1@1,2", "topk:1/token/fuse@3", "tome:0@2"]
SEEDS = torch.tensor([11, -22, 33])


def test_every_reducer_is_tried_here():
    assert set(PLANS) == set(REDUCERS)
    assert {parse_plan(plan)[max(parse_plan(plan))].__class__ for plan in ALL} >= {*map(REDUCERS.load, REDUCERS)}


@pytest.mark.parametrize("text", ALL)
def test_places_shapes_and_layout(text, backbone, mel):
    with torch.no_grad():
        tokens = backbone(mel, parse_plan(text), seeds=SEEDS).tokens
        whole = backbone.embed(mel)
    assert tokens.x.shape == (3, tokens.prefix + tokens.n_patches, backbone.config.dim)
    assert tokens.prefix == backbone.config.prefix
    assert 0 < tokens.n_patches < whole.n_patches
    assert (tokens.cell.diff(dim=1) > 0).all()
    assert tokens.cell.min() >= 0 and tokens.cell.max() < whole.n_patches
    if tokens.layout is not None:
        rows, cols = tokens.layout
        places = tokens.cell.view(3, rows, cols)
        assert (places // whole.full[1] == places[:, :, :1] // whole.full[1]).all()
        assert (places % whole.full[1] == places[:, :1] % whole.full[1]).all()


@pytest.mark.parametrize("text", ["random:0.4", "topk:0.7@2", "tome:20@1"])
def test_ragged_tokens_explain_why_they_are_no_rectangle(text, backbone, mel):
    tokens = backbone(mel, parse_plan(text), seeds=SEEDS).tokens
    with pytest.raises(Exception, match="put the structured reducer first"):
        tokens.as_grid()


@pytest.mark.parametrize("text", ALL)
def test_a_clip_does_not_depend_on_its_batch(text, backbone, mel):
    plan = parse_plan(text)
    with torch.no_grad():
        batch = backbone(mel, plan, seeds=SEEDS)
        for clip in range(3):
            alone = backbone(mel[clip, None], plan, seeds=SEEDS[clip, None])
            assert torch.equal(alone.tokens.cell[0], batch.tokens.cell[clip])
            torch.testing.assert_close(alone.pooled[0], batch.pooled[clip], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("text", KEEP_ALL)
def test_keeping_everything_changes_nothing(text, backbone, mel):
    with torch.no_grad():
        reduced = backbone(mel, parse_plan(text), taps=[3], seeds=SEEDS)
        whole = backbone(mel, taps=[3])
    assert reduced.tokens.layout == whole.tokens.layout
    assert torch.equal(reduced.tokens.x, whole.tokens.x)
    assert torch.equal(reduced.stacks[3], whole.stacks[3])


@pytest.mark.parametrize("backbone", ["maest", "stem"], indirect=True)
@pytest.mark.parametrize("text", ALL)
def test_equal_seeds_give_equal_results(text, backbone, mel):
    plan, mel, seeds = parse_plan(text), mel[:1], SEEDS[:1]
    with torch.no_grad():
        assert torch.equal(backbone(mel, plan, seeds=seeds).pooled, backbone(mel, plan, seeds=seeds).pooled)


@pytest.mark.parametrize("backbone", ["maest", "stem"], indirect=True)
@pytest.mark.parametrize("text", ALL)
def test_bfloat16_keeps_as_many_tokens(text, backbone, mel):
    plan, mel, seeds = parse_plan(text), mel[:1], SEEDS[:1]  # one clip: many processors only emulate the format
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            low = backbone(mel, plan, seeds=seeds)
        assert low.tokens.x.isfinite().all()
        assert low.tokens.n_patches == backbone(mel, plan, seeds=seeds).tokens.n_patches


@pytest.mark.parametrize("text", ALL)
def test_a_training_step_reaches_every_block(text, backbone, mel):
    backbone.train().zero_grad()
    backbone(mel[:1], parse_plan(text)).pooled.square().sum().backward()
    backbone.eval()
    for part in (getattr(backbone, "stem", None) or backbone.patch_embed, *backbone.blocks):
        gradients = [parameter.grad for parameter in part.parameters()]
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert any(gradient.abs().max() > 0 for gradient in gradients)
