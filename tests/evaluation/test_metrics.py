"""Metrics: hand-worked cases, the undefined ones, and agreement with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from audiopatch.evaluation import bootstrap, metrics


def test_average_precision_worked_by_hand():
    # ranks: + - + -  ->  AP = (1/1 + 2/3) / 2
    truth = np.array([[1], [0], [1], [0]])
    scores = np.array([[0.9], [0.8], [0.7], [0.1]])
    assert metrics.average_precision(truth, scores).value == pytest.approx((1 + 2 / 3) / 2)


def test_a_class_without_positives_does_not_count_and_is_named():
    truth = np.array([[1, 0, 1], [0, 0, 1]])
    scores = np.array([[0.9, 0.2, 0.5], [0.1, 0.3, 0.5]])
    ap, auc = metrics.average_precision(truth, scores), metrics.roc_auc(truth, scores)
    assert (ap.value, ap.n_classes, ap.left_out) == (1.0, 2, [1])
    assert (auc.value, auc.n_classes, auc.left_out) == (1.0, 1, [1, 2])
    nothing = metrics.roc_auc(np.zeros((2, 1)), scores[:, :1])
    assert np.isnan(nothing.value) and nothing.n_classes == 0


def test_unknown_answers_are_left_out_of_every_figure():
    truth = np.array([[1], [0], [0]])
    scores = np.array([[0.5], [0.9], [0.1]])
    known = np.array([[True], [False], [True]])  # the one that would hurt is unknown
    assert metrics.average_precision(truth, scores, known).value == 1.0
    assert metrics.roc_auc(truth, scores, known).value == 1.0
    assert metrics.f1(truth, scores >= 0.5, known).micro == 1.0
    assert metrics.calibration(truth, scores, known).count.sum() == 2


def test_f1_by_hand():
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]])
    predicted = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 0]], dtype=bool)
    got = metrics.f1(truth, predicted)
    np.testing.assert_allclose(got.per_class, [2 / 3, 4 / 5, np.nan], rtol=1e-12)
    assert got.macro == pytest.approx((2 / 3 + 4 / 5) / 2)  # the third class has no say
    assert got.micro == pytest.approx(2 * 3 / (3 + 4 + 1))


def test_accuracy_and_confusion():
    truth = np.eye(3)[[0, 0, 1, 2]]
    scores = np.eye(3)[[0, 1, 1, 2]]
    assert metrics.accuracy(truth, scores) == 0.75
    assert metrics.confusion(truth, scores).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert np.isnan(metrics.accuracy(truth[:0], scores[:0]))


def test_calibration_by_hand():
    scores = np.array([[0.9], [0.9], [0.9], [0.9], [0.1], [0.1]])
    truth = np.array([[1], [1], [1], [0], [0], [0]])
    got = metrics.calibration(truth, scores, n_bins=10)
    assert got.ece == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)
    perfect = metrics.calibration(np.array([[1], [0]]), np.array([[1.0], [0.0]]))
    assert perfect.ece == 0.0


def test_best_threshold_separates_and_lies_between():
    truth = np.array([[1, 0], [1, 0], [0, 0], [0, 0]])
    scores = np.array([[0.4, 0.1], [0.3, 0.2], [0.1, 0.3], [0.05, 0.4]])
    assert metrics.best_thresholds(truth, scores).tolist() == pytest.approx([0.2, 0.5])


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_expected_thresholds_are_the_best_there_are(seed):
    rng = np.random.default_rng(seed)
    chances, scores = rng.random((9, 3)) ** 3, rng.integers(1, 6, (9, 3)) / 6
    thresholds, f1 = metrics.expected_thresholds(chances, scores)
    for c in range(3):
        accepted = [scores[:, c] >= cut for cut in np.unique(scores[:, c])]
        possible = [2 * chances[yes, c].sum() / (chances[:, c].sum() + yes.sum()) for yes in accepted]
        yes = scores[:, c] >= thresholds[c]
        assert f1[c] == pytest.approx(max(possible))
        assert f1[c] == pytest.approx(2 * chances[yes, c].sum() / (chances[:, c].sum() + yes.sum()))


def test_decisions():
    scores = np.array([[0.6, 0.5, 0.1], [0.2, 0.3, 0.25]])
    assert metrics.decisions(scores, multilabel=False).tolist() == [[True, False, False], [False, True, False]]
    assert metrics.decisions(scores, multilabel=True).sum() == 2
    assert metrics.decisions(scores, multilabel=True, thresholds=np.array([0.9, 0.1, 0.2])).sum() == 3


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_agreement_with_scikit_learn(seed, ties):
    rng = np.random.default_rng(seed)
    truth = rng.random((40, 4)) < 0.3
    truth[0], truth[1] = True, False
    scores = rng.random((40, 4)).round(1 if ties else 8)
    assert metrics.average_precision(truth, scores).value == pytest.approx(sk.average_precision_score(truth, scores))
    assert metrics.roc_auc(truth, scores).value == pytest.approx(sk.roc_auc_score(truth, scores))
    predicted = scores >= 0.5
    got = metrics.f1(truth, predicted)
    assert got.micro == pytest.approx(sk.f1_score(truth, predicted, average="micro", zero_division=0))
    assert got.macro == pytest.approx(sk.f1_score(truth, predicted, average="macro", zero_division=0))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_weighted_figures_agree_with_scikit_learn(seed, ties):
    rng = np.random.default_rng(seed)
    truth = rng.random((30, 3)) < 0.4
    truth[0], truth[1] = True, False
    scores = rng.random((30, 3)).round(1 if ties else 8)
    weights = rng.integers(0, 3, size=30).astype(float)
    weights[:2] = 1
    got = bootstrap.weighted_map(truth, scores)(weights)
    assert got == pytest.approx(sk.average_precision_score(truth, scores, sample_weight=weights))
    got = bootstrap.weighted_roc_auc(truth, scores)(weights)
    assert got == pytest.approx(sk.roc_auc_score(truth, scores, sample_weight=weights))
    got = bootstrap.weighted_accuracy(np.eye(3)[truth.argmax(1)], scores)(weights)
    want = sk.accuracy_score(truth.argmax(1), scores.argmax(1), sample_weight=weights)
    assert got == pytest.approx(want)


def test_interval_holds_the_value_and_narrows_with_more_clips():
    rng = np.random.default_rng(0)
    truth = np.eye(2)[rng.integers(2, size=400)]
    scores = np.where(rng.random((400, 1)) < 0.8, truth, 1 - truth)
    few = bootstrap.interval(bootstrap.weighted_accuracy(truth[:40], scores[:40]), 40)
    many = bootstrap.interval(bootstrap.weighted_accuracy(truth, scores), 400)
    assert few.low < few.value < few.high and many.high - many.low < few.high - few.low
    expected = 2 * 1.96 * np.sqrt(many.value * (1 - many.value) / 400)
    assert many.high - many.low == pytest.approx(expected, rel=0.2)


def test_resampling_whole_tracks_widens_the_interval():
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(20) < 0.5, 10)  # ten clips per track succeed or fail together
    truth = np.eye(2)[np.zeros(200, dtype=int)]
    scores = np.where(right[:, None], truth, 1 - truth)
    figure = bootstrap.weighted_accuracy(truth, scores)
    clips = bootstrap.interval(figure, 200)
    tracks = bootstrap.interval(figure, 200, groups=np.repeat(np.arange(20), 10))
    assert tracks.high - tracks.low > 2 * (clips.high - clips.low)


def test_paired_bootstrap_sees_what_two_intervals_would_not():
    rng = np.random.default_rng(1)
    truth = np.eye(2)[rng.integers(2, size=200)]
    wrong_a = rng.random(200) < 0.3
    wrong_b = wrong_a & (rng.random(200) < 0.7)  # b makes a subset of a's errors
    a, b = (np.where(wrong[:, None], 1 - truth, truth) for wrong in (wrong_a, wrong_b))
    figure_a, figure_b = bootstrap.weighted_accuracy(truth, a), bootstrap.weighted_accuracy(truth, b)
    got = bootstrap.paired(figure_a, figure_b, 200)
    assert got.value > 0 and got.low > 0 and got.p_value < 0.01
    same = bootstrap.paired(figure_a, figure_a, 200)
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_resamples_without_a_figure_do_not_count():
    truth, scores = np.array([[1.0], [0.0], [0.0]]), np.array([[0.9], [0.8], [0.1]])
    better = bootstrap.weighted_roc_auc(truth, scores)  # NaN in the many resamples that lack one of the outcomes
    found = bootstrap.paired(better, better, 3)
    assert (found.low, found.high, found.p_value) == (0, 0, 1)
    none = bootstrap.weighted_roc_auc(np.ones((3, 1)), scores)
    assert np.isnan(bootstrap.interval(none, 3).low)
    assert np.isnan(bootstrap.paired(none, none, 3).p_value)
