import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from audiopatch.audio.cut import Cutter, Picker, segment_starts
from audiopatch.types import CutSpec

specs = st.builds(
    CutSpec,
    sample_rate=st.just(100),
    segment_s=st.integers(1, 60).map(lambda n: n / 100),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9]),
    n_segments=st.none() | st.integers(1, 7),
)


def streamed(cutter, n_samples, sizes):
    wave = np.arange(n_samples, dtype=np.float32)
    cuts, at = [], 0
    for size in [*sizes, n_samples]:
        cuts += cutter.feed(wave[at : at + size])
        at += size
    return [*cuts, *cutter.finish()]


@given(n_samples=st.integers(0, 500), spec=specs, sizes=st.lists(st.integers(0, 200), max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_chunking_equals_the_offline_cut(n_samples, spec, sizes):
    starts = segment_starts(n_samples, spec)
    cutter = Cutter(spec) if spec.n_segments is None else Picker(starts, spec.segment_samples)
    cuts = streamed(cutter, n_samples, sizes)
    assert [start for start, _ in cuts] == starts
    for start, wave in cuts:
        end = min(start + spec.segment_samples, n_samples)
        np.testing.assert_array_equal(wave, np.arange(start, end))


@given(n_samples=st.integers(1, 5000), spec=specs)
@settings(max_examples=300, deadline=None)
def test_segments_lie_in_the_track_in_order(n_samples, spec):
    starts = segment_starts(n_samples, spec)
    assert starts == sorted(starts)
    assert starts[0] >= 0 and max(0, starts[-1]) < n_samples
    assert all(start + spec.segment_samples <= n_samples for start in starts) or starts == [0]
    if spec.n_segments is not None:
        assert len(starts) <= spec.n_segments
        return
    assert len(set(starts)) == len(starts)
    covered = np.zeros(n_samples, bool)
    for start in starts:
        covered[start : start + spec.segment_samples] = True
    assert covered.all()


def test_known_cuts():
    spec = CutSpec(sample_rate=10, segment_s=1.0)
    assert segment_starts(0, spec) == []
    assert segment_starts(7, spec) == [0]
    assert segment_starts(10, spec) == [0]
    assert segment_starts(11, spec) == [0, 1]
    assert segment_starts(20, spec) == [0, 5, 10]
    assert segment_starts(23, spec) == [0, 5, 10, 13]
    one = CutSpec(sample_rate=10, segment_s=1.0, n_segments=1)
    assert segment_starts(110, one) == [50]  # the centre
    three = CutSpec(sample_rate=10, segment_s=1.0, n_segments=3)
    assert segment_starts(70, three) == [10, 30, 50]


def test_a_cutter_holds_no_more_than_two_segments():
    cutter = Cutter(CutSpec(sample_rate=100, segment_s=1.0))
    for _ in range(1000):
        list(cutter.feed(np.zeros(777, np.float32)))
    assert cutter._buffer.size == 200 and cutter.n_samples == 777_000
