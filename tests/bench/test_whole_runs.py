"""Whole runs take the time that is left: one at least, and what there is none for is named."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

from audiopatch.audio.inputs import Inputs
from audiopatch.bench import run
from audiopatch.bench.contender import Case
from audiopatch.bench.sweep import Settings
from audiopatch.bench.whole import decode_all
from audiopatch.events import silent
from audiopatch.types import CutSpec

ENGINES = ("torch", "openvino", "another")


def measured(monkeypatch, left_s: float) -> tuple[list[float], list[str]]:
    """What each whole run was given, and the names of those left out."""
    given: list[float] = []
    cases = [Case("tiny-random", "F0T0", engine) for engine in ENGINES]
    rows = [SimpleNamespace(model=c.model, patchout=c.patchout, engine=c.engine, dtype="f", block=None) for c in cases]
    monkeypatch.setattr(run, "measure_whole", lambda *_, at_most_s: given.append(at_most_s))
    _, skipped = run._whole_runs(cases, rows, [], Settings(), left_s, silent)
    return given, [one.model for one in skipped]


def test_each_gets_its_share_of_what_is_left(monkeypatch):
    given, skipped = measured(monkeypatch, 90.0)
    assert not skipped and len(given) == 3
    assert 25 < given[0] <= 30 and given[2] > 80  # what the first two did not need is there for the last


def test_without_time_there_is_one_and_the_others_are_named(monkeypatch):
    given, skipped = measured(monkeypatch, -5.0)
    assert given == [3.0]
    assert skipped == ["tiny-random openvino, whole run", "tiny-random another, whole run"]


def test_decoding_stops_after_a_track_where_the_time_is_over(tone, tmp_path):
    for number in range(3):
        tone(tmp_path / f"{number}.flac", seconds=2)
    tracks = list(Inputs([str(tmp_path)]).tracks())
    spec = CutSpec(16_000, segment_s=1.0)
    assert [round(decode_all(tracks, spec, at_most_s=s).audio_s) for s in (0.0, 1e9)] == [2, 6]
    assert decode_all(itertools.islice(tracks, 2), spec).audio_s == 4.0
