"""Plans over epochs, against EViT's formula worked by hand."""

import math

import pytest

from audiopatch.reducers.plan import parse_plan
from audiopatch.training.loop import plans_by_epoch


def test_keep_rate_falls_by_half_a_cosine():
    plans = plans_by_epoch(parse_plan("topk:0.5@4,7"), 8, start_epoch=2, ramp_epochs=4)
    rates = [plan[4].keep_rate for plan in plans]
    expected = [1, 1, 1, *(0.5 + 0.5 * (math.cos(math.pi * done / 4) + 1) / 2 for done in (1, 2, 3)), 0.5, 0.5]
    assert rates == pytest.approx(expected)
    assert all(plan[7] == plan[4] for plan in plans)


def test_sizes_of_patchout_grow_and_fixed_ones_stay():
    plans = plans_by_epoch(parse_plan("F1T2+structured:F4T40+random:U100"), 3, start_epoch=0, ramp_epochs=2)
    assert [str(plan) for plan in plans] == [
        "F1T2+structured+random",
        "F1T2+structured:F2T20+random:U50",
        "F1T2+structured:F4T40+random:U100",
    ]


def test_another_plan_may_act_until_pruning_starts():
    before, plan = parse_plan("structured:F3T20/per_clip"), parse_plan("topk:0.5@4")
    plans = plans_by_epoch(plan, 5, start_epoch=2, ramp_epochs=2, before=before)
    assert plans[:2] == [before, before] and plans[4] == plan
    assert [found[4].keep_rate for found in plans[2:]] == pytest.approx([1.0, 0.75, 0.5])
    assert plans_by_epoch(plan, 1, start_epoch=2, before=before) == [before]


def test_without_a_ramp_the_plan_starts_at_once():
    plan = parse_plan("adaptive:F3T120@4,7,10")
    assert plans_by_epoch(plan, 2) == [plan, plan]
    assert plans_by_epoch(plan, 3, start_epoch=2)[1][4].drop_t == 0
    assert str(plans_by_epoch(plan, 3, start_epoch=2)[2]) == str(plan)
