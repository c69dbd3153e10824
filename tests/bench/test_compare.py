"""Models side by side."""

import pytest

from audiopatch.bench.compare import compare_models
from audiopatch.errors import UsageError


def test_two_models_are_counted_measured_and_told_apart():
    tiny, mn = compare_models(["tiny-random", "mn01_as"], repeats=1)
    assert (tiny.n_labels, mn.n_labels, mn.sample_rate, mn.segment_s) == (400, 527, 32000, 10.0)
    assert mn.scores and mn.page and mn.licence == "MIT"
    assert tiny.real_time > 0 and mn.real_time > 0
    assert tiny.real_time_thinned > tiny.real_time and mn.real_time_thinned is None
    assert (mn.n_params, round(mn.macs / 1e6)) == (123_783, 18)


def test_speed_may_be_left_out_and_names_must_be_known():
    assert compare_models(["tiny-random"], measure=False)[0].real_time is None
    with pytest.raises(UsageError, match="did you mean"):
        compare_models(["tiny-randm"])
