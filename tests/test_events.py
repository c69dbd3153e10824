"""Every event as JSON and as every form shows it."""

from __future__ import annotations

import pytest

from audiopatch import events
from audiopatch.cli.options import ProgressKind
from audiopatch.cli.progress import showing
from audiopatch.documents import SPEC_VERSION
from audiopatch.types import Failed, Track
from printed import printed

FAILED = Failed(Track("/music/caf\udce9.mp3", "/music", "0" * 16, 1, 1), "E_DECODE", "open", "no audio in it")
COUNTS = events.Counts(n_found=3, n_ok=1, n_failed=1)
EVENTS = [
    events.Note("on cpu"),
    events.PassedOver("/music/.hidden.mp3"),
    events.Doing("looking for music", 1000),
    events.Doing("timing", 2, 8),
    events.Planned(COUNTS),
    events.TrackDone(FAILED, COUNTS),
    events.Current(COUNTS, 3, 1),
    events.Measured({"kind": "step", "step": 4, "loss": 0.5, "lr": 1e-3}),
    events.Measured({"kind": "epoch", "step": 8, "epoch": 1, "valid_map_macro": 0.25}),
    events.Finished(COUNTS),
    events.Ended({"exit_code": 4, "error": "no audio found"}),
]


def test_there_is_one_of_every_kind_here():
    kinds = set(events.Event.__subclasses__())
    assert {type(event) for event in EVENTS} == kinds
    assert len({kind.event for kind in kinds}) == len(kinds)


def test_programs_read_every_event_with_its_version(capsys):
    with showing(ProgressKind.json) as observer:
        for event in EVENTS:
            observer(event)
    lines = capsys.readouterr().err.splitlines()
    read = [printed(f"event-{event.event}", line) for event, line in zip(EVENTS, lines, strict=True)]
    track = next(found for found in read if found["event"] == "track")
    assert track["path"] == "/music/caf\ufffd.mp3" and (track["status"], track["code"]) == ("failed", "E_DECODE")
    assert track["counts"]["n_left"] == 1 and "started" not in track["counts"]
    assert read[-1] == {"spec_version": SPEC_VERSION, "event": "ended", "exit_code": 4, "error": "no audio found"}


@pytest.mark.parametrize("kind", [ProgressKind.plain, ProgressKind.bar, ProgressKind.none])
def test_people_read_what_matters(kind, capsys):
    with showing(kind) as observer:
        for event in EVENTS:
            observer(event)
    said = capsys.readouterr().err
    for words in ("on cpu", "no audio in it (E_DECODE)", "epoch 2: valid_map_macro 0.25"):
        assert words in said
    assert "hidden" not in said  # only with -v


def test_quiet_says_what_failed_and_no_more(capsys):
    with showing(quiet=True) as observer:
        for event in EVENTS:
            observer(event)
    assert len(capsys.readouterr().err.splitlines()) == 1
