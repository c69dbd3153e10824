from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiopatch.errors import UsageError
from audiopatch.inference.extract import Outputs
from audiopatch.inference.settings import POOLS, Analysis, find_pool
from audiopatch.inference.stages import Batcher, Collector, TrackEnd
from audiopatch.types import Decoded, Failed, Segment, Track, TrackRow

SCORES = np.array([[0.2, 0.8], [0.4, 0.0], [0.9, 0.1]], np.float32)


def _track(number: int = 0) -> Track:
    return Track(f"/{number}", "/", f"{number:016x}", 10, 10)


def _segment(index: int, track: Track | None = None) -> Segment:
    return Segment(track or _track(), index, 5.0 * index, 5.0 * index + 10, np.zeros(4, np.float32))


def _ended(n_segments: int, track: Track | None = None) -> TrackEnd:
    return TrackEnd(Decoded(track or _track(), n_segments, 20.0, 16_000, 1, "wav", ""), n_segments)


def _collector(**options) -> Collector:
    return Collector(Analysis(model="x", embeddings=True, **options))


def _outputs(*rows: int) -> Outputs:
    return Outputs(SCORES[list(rows)], SCORES[list(rows)] * 10)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("end_first", [True, False])
def test_a_track_is_pooled_once_its_end_and_all_segments_are_there(order, end_first):
    collector = _collector(timeline=True)
    rows = collector.ended(_ended(3)) if end_first else []
    for index in order:
        rows += collector.inferred([_segment(index)], _outputs(index))
    if not end_first:
        assert rows == []
        rows += collector.ended(_ended(3))
    (row,) = rows
    assert isinstance(row, TrackRow)
    np.testing.assert_allclose(row.scores, [0.5, 0.3], atol=1e-6)
    np.testing.assert_allclose(row.scores_max, [0.9, 0.8], rtol=1e-6)
    np.testing.assert_allclose(row.embedding, [5, 3], atol=1e-5)
    assert [cut.index for cut in row.segments] == [0, 1, 2]


def test_a_batch_may_hold_several_tracks():
    collector = _collector()
    tracks = [_track(1), _track(2)]
    assert collector.ended(_ended(1, tracks[0])) == []
    rows = collector.inferred([_segment(0, tracks[1]), _segment(0, tracks[0])], _outputs(0, 1))
    rows += collector.ended(_ended(1, tracks[1]))
    assert [row.track for row in rows] == tracks


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_no_number_fails_its_track_only(value):
    collector = _collector()
    bad = Outputs(np.array([[value, 0.1], [0.1, 0.1]], np.float32), None)
    collector.ended(_ended(1, _track(1)))
    rows = collector.inferred([_segment(0, _track(1)), _segment(0, _track(2))], bad) + collector.ended(
        _ended(1, _track(2))
    )
    assert isinstance(rows[0], Failed) and (rows[0].code, rows[0].stage) == ("E_NAN", "infer")
    assert isinstance(rows[1], TrackRow)


def test_an_embedding_beyond_float16_is_told():
    outputs = Outputs(None, np.array([[1e6]], np.float32))
    for vectors, kind in (("float16", Failed), ("float32", TrackRow)):
        collector = _collector(vectors=vectors)
        collector.ended(_ended(1))
        assert isinstance(collector.inferred([_segment(0)], outputs)[0], kind)


def test_a_track_whose_decoding_fails_late_fails_once():
    collector = _collector()
    assert collector.inferred([_segment(0)], _outputs(0)) == []
    failed = Failed(_track(), "E_WORKER_CRASH", "decode", "died")
    assert collector.ended(TrackEnd(failed, 2)) == []
    assert collector.inferred([_segment(1)], _outputs(1)) == [failed]


def test_a_track_without_a_segment_is_empty():
    (row,) = _collector().ended(_ended(0))
    assert isinstance(row, Failed) and row.code == "E_EMPTY"


def test_segments_that_cannot_be_inferred_fail_their_track():
    collector = _collector()
    collector.ended(_ended(2))
    rows = collector.refused([_segment(0), _segment(1)], "E_OOM", "too big")
    assert [row.code for row in rows if isinstance(row, Failed)] == ["E_OOM"]


def test_pools():
    assert {name: pool(SCORES).round(3).tolist() for name, pool in POOLS.items()} == {
        "mean": pytest.approx([0.5, 0.3]),
        "max": pytest.approx([0.9, 0.8]),
        "median": pytest.approx([0.4, 0.1]),
        "noisy-or": pytest.approx([0.952, 0.82], abs=1e-3),
    }
    with pytest.raises(UsageError, match="did you mean 'mean'"):
        find_pool("meen")


@given(lengths=st.lists(st.integers(1, 6), max_size=60), batch_size=st.integers(1, 5), waiting=st.integers(0, 10))
def test_every_segment_leaves_once_in_batches_of_equal_length(lengths, batch_size, waiting):
    batcher = Batcher(batch_size, max_waiting=waiting)
    segments = [Segment(_track(), index, 0.0, 1.0, np.zeros(n, np.float32)) for index, n in enumerate(lengths)]
    batches, inside = [], 0
    for segment in segments:
        inside += 1
        if batch := batcher.add(segment):
            batches.append(batch)
            inside -= len(batch)
        assert inside <= max(waiting, batch_size)
    batches += batcher.rest()
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert all(len({len(segment.wave) for segment in batch}) == 1 for batch in batches)
    assert sorted(segment.index for batch in batches for segment in batch) == list(range(len(lengths)))
