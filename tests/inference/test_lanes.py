"""Batches side by side give what batches in turn give, and what goes wrong in a lane reaches the caller."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from audiopatch.errors import TrackError, UsageError
from audiopatch.inference.extract import Extractor, Lanes
from audiopatch.inference.settings import Analysis
from audiopatch.inference.stages import Feed, Inferred, TrackEnd
from audiopatch.types import Failed, Segment, Track
from audiopatch.zoo import load_model


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def _segments(n: int, *, seconds: float = 10.0, name: str = "/a") -> list[Segment]:
    noise = np.random.default_rng(n).normal(size=(n, int(16_000 * seconds))).astype(np.float32) * 0.1
    track = Track(name, "/", name, 0, 0)
    return [Segment(track, index, 0.0, seconds, wave) for index, wave in enumerate(noise)]


def _extractor(engine: str = "torch", **options) -> Extractor:
    tagger = load_model("random/tiny-random", device="cpu", dtype="float32", engine=engine)
    return Extractor(tagger, Analysis(model="tiny-random", embeddings=True, **options), batch_size=2)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_side_by_side_equals_in_turn(engine, three_threads, tmp_path, monkeypatch):
    if engine == "openvino":
        pytest.importorskip("openvino")
        monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path))
    extractor, segments = _extractor(engine), _segments(7)
    batches = [segments[:2], segments[2:3], segments[3:5], segments[5:]]
    lanes = Lanes(extractor)
    outputs = list(lanes.map(batches))
    lanes.restore_threads()
    for batch, got in zip(batches, outputs, strict=True):
        expected = extractor(batch)
        np.testing.assert_allclose(got.scores, expected.scores, atol=1e-6)
        np.testing.assert_allclose(got.embeddings, expected.embeddings, atol=1e-5)
    assert torch.get_num_threads() == 3
    new_thread = threading.Thread(target=lambda: outputs.append(torch.get_num_threads()))
    new_thread.start()
    new_thread.join()
    assert outputs[-1] == 3


def test_lanes_work_at_the_same_time(three_threads, monkeypatch):
    """Each batch waits until all three lanes have one: in turn they would wait for ever."""
    together = threading.Barrier(3, timeout=20)
    really = Extractor._run

    def run(self, segments):
        together.wait()
        return really(self, segments)

    monkeypatch.setattr(Extractor, "_run", run)
    assert len(list(Lanes(_extractor()).map([_segments(1)] * 6))) == 6


def _fed(decoding, extractor, stop=None):
    lanes = Lanes(extractor)
    with Feed(decoding, lanes.submit, batch_size=2, ahead=2) as feed:
        yield from feed.until(stop or threading.Event())


def test_everything_fed_comes_back_once(three_threads):
    segments = _segments(5) + _segments(2, seconds=3.0, name="/b")

    def decoding():
        yield from segments[:5]
        yield Failed(segments[0].track, "E_DECODE", "decode", "")
        yield from segments[5:]
        yield Failed(segments[5].track, "E_DECODE", "decode", "")

    fed = list(_fed(decoding(), _extractor()))
    ends = [one for one in fed if isinstance(one, TrackEnd)]
    batches = [one for one in fed if isinstance(one, Inferred)]
    assert [end.n_segments for end in ends] == [5, 2]
    came = [id(segment) for one in batches for segment in one.batch]
    assert sorted(came) == sorted(id(segment) for segment in segments)
    assert all(len(one.outputs.result().scores) == len(one.batch) for one in batches)


def test_what_goes_wrong_reaches_the_caller(three_threads):
    (refused,) = _fed(iter_of(_segments(1, seconds=2.0)), _extractor(patchout="structured:T40"))
    with pytest.raises(TrackError, match="too short for this patchout"):
        refused.outputs.result()
    (refused,) = _fed(iter_of(_segments(1)), _extractor(patchout="structured:T400"))
    with pytest.raises(UsageError):
        refused.outputs.result()

    def broken():
        yield from _segments(2)
        raise OSError("the library is gone")

    with pytest.raises(OSError, match="the library is gone"):
        list(_fed(broken(), _extractor()))

    def no_more_threads(batch):
        raise RuntimeError("can't start new thread")

    with Feed(iter_of(_segments(1)), no_more_threads, batch_size=1, ahead=2) as feed, pytest.raises(RuntimeError):
        list(feed.until(threading.Event()))


def iter_of(segments):
    yield from segments


def test_leaving_early_closes_the_decoding(three_threads):
    closed, stop = threading.Event(), threading.Event()

    def decoding():
        try:
            while True:
                yield from _segments(1)
        finally:
            closed.set()

    for _ in _fed(decoding(), _extractor(), stop):
        stop.set()
    assert closed.wait(20)


def test_lanes_end_with_their_model_when_nobody_needs_them_any_more():
    others, extractor = set(threading.enumerate()), _extractor()
    model, lanes = weakref.ref(extractor.tagger), Lanes(extractor)
    assert len(list(lanes.map([_segments(1)]))) == 1
    lanes.restore_threads()
    threads = set(threading.enumerate()) - others
    del extractor, lanes
    gc.collect()
    for thread in threads:
        thread.join(timeout=10)
    assert threads and not any(thread.is_alive() for thread in threads)
    assert model() is None
