"""Medians, spreads and fair turns."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiopatch.bench import sweep
from audiopatch.bench.measure import CLOCKS, Timing, pareto_front, promised_flops, time_runs
from audiopatch.models.processor import Processor


def test_median_and_spread_by_hand():
    timing = Timing.of([1.0, 2.0, 3.0, 4.0, 100.0])
    assert timing == Timing(best_s=1.0, median_s=3.0, spread=(52.0 - 1.5) / 3.0, n=5)
    assert Timing.of([2.0]) == Timing(2.0, 2.0, 0.0, 1)


def test_runs_take_turns():
    order = []
    timings = time_runs([lambda: order.append("a"), lambda: order.append("b")], repeats=3)
    assert order == ["a", "b"] * 3
    assert [timing.n for timing in timings] == [3, 3]


def test_a_spent_budget_still_leaves_one_figure(monkeypatch):
    seconds = itertools.count()
    monkeypatch.setitem(CLOCKS, "wall", lambda: float(next(seconds)))
    (timing,) = time_runs([lambda: None], repeats=50, budget_s=0.0)
    assert timing == Timing(1.0, 1.0, 0.0, 1)


def test_what_is_stopped_keeps_what_was_timed():
    done = []
    timings = time_runs([lambda: done.append(1)] * 3, repeats=5, stop=lambda: len(done) == 2)
    assert [timing.n if timing else None for timing in timings] == [1, 1, None]


@pytest.mark.parametrize(("native", "expected"), [(True, ["float32", "bfloat16"]), (False, ["float32"])])
def test_no_product_is_timed_in_a_format_that_is_only_emulated(monkeypatch, native, expected):
    made = Processor(isa="AVX2", bfloat16=native, int8=False, amx=False)
    monkeypatch.setattr(sweep, "processor", lambda: made)
    assert list(sweep.products({"bfloat16", "float32", "int8"}, torch.device("cpu"))) == expected


POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20)


@given(POINTS)
def test_the_pareto_front_is_what_nothing_beats(points):
    front = pareto_front(points, speed=lambda p: p[0], quality=lambda p: p[1])

    def beaten(point):
        return any(other != point and other[0] >= point[0] and other[1] >= point[1] for other in points)

    assert sorted(front) == sorted({point for point in points if not beaten(point)})
    assert front == sorted(front, reverse=True)


@pytest.mark.parametrize(
    ("name", "promised"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_mfu_is_a_share_of_what_this_very_board_is_promised(name, promised, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert promised_flops(torch.device("cuda")) == promised
    assert promised_flops(torch.device("cpu")) is None


def test_cpu_seconds_do_not_count_waiting():
    import time

    wall, cpu = (time_runs([lambda: time.sleep(0.02)], repeats=2, clock=clock)[0].median_s for clock in ("wall", "cpu"))
    assert wall == pytest.approx(0.02, rel=2) and cpu < 0.01
