from __future__ import annotations

import pytest

from audiopatch.cli.console import printable
from audiopatch.cli.words import audio, duration, last_line, number
from audiopatch.inference.progress import Counts


def test_the_last_line_of_a_long_run():
    counts = Counts(
        n_found=22_003,
        n_up_to_date=94,
        n_failed=30,
        n_failed_before=5,
        n_ok=21_874,
        audio_s=1613 * 3600,
        elapsed_s=7860,
    )
    assert last_line("Tagged", counts, "audiopatch.out") == (
        "Tagged 21 874 of 22 003 tracks (1 613 h) in 2 h 11 m, 739× real time; 94 up to date, 35 failed"
        " → audiopatch.out/errors/"
    )


def test_the_last_line_of_other_runs():
    assert (
        last_line("Tagged", Counts(n_found=2, n_up_to_date=2), "out")
        == "Nothing to do: of 2 tracks 2 up to date → out/"
    )
    broken = Counts(n_found=1, n_failed=1, elapsed_s=2)
    assert last_line("Tagged", broken, "out") == "Tagged 0 of 1 tracks (0 s) in 2.0 s; 1 failed → out/errors/"
    stopped = Counts(n_found=9, n_ok=1, audio_s=60, elapsed_s=2)
    assert last_line("Embedded", stopped, "out", interrupted=True) == (
        "Embedded 1 of 9 tracks (60 s) in 2.0 s, 30× real time; 8 left: run the same command to resume → out/"
    )


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.21, "4.2 s"), (185, "3 m 05 s"), (7860, "2 h 11 m"), (3.6e6, "1 000 h 00 m")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_figures():
    assert [audio(s) for s in (12, 2520, 5400, 5.8e6)] == ["12 s", "42 min", "1.5 h", "1 611 h"]
    assert number(1_234_567) == "1 234 567"


def test_names_cannot_paint_the_terminal():
    assert printable("a\x1b[31mb\nc\udcff♫") == "a\\x1b[31mb\\nc\\udcff♫"
