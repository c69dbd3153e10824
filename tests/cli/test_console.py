from __future__ import annotations

import signal
from contextlib import suppress

import pytest

from audiopatch.amounts import audio, duration, number
from audiopatch.cli import console
from audiopatch.cli.console import after_words, last_line, printable
from audiopatch.events import Counts


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
        "21 874 tagged, 94 current, 30 failed, 5 failed earlier; 1 613 h of audio in 2 h 11 m, 739× real time"
        " → audiopatch.out/"
    )
    assert after_words(counts, "audiopatch.out", tags=True) == [
        "why tracks failed: audiopatch.out/errors/",
        "see them: audiopatch show",
    ]


def test_the_last_line_of_other_runs():
    assert last_line("Tagged", Counts(n_found=2, n_up_to_date=2), "out") == "Nothing to do: 2 current → out/"
    broken = Counts(n_found=1, n_failed=1, elapsed_s=2)
    assert last_line("Tagged", broken, "out") == "1 failed → out/"
    several = Counts(n_found=30, n_ok=23, n_repeats=1, n_damaged=2, n_up_to_date=5, n_failed=2, audio_s=60, elapsed_s=2)
    assert last_line("Tagged", several, "out").startswith("23 tagged (1 copy, 2 damaged), 5 current, 2 failed; 60 s of")
    stopped = Counts(n_found=9, n_ok=1, audio_s=60, elapsed_s=2)
    assert last_line("Embedded", stopped, "out", interrupted=True) == (
        "1 embedded, 8 left: run the same command to resume; 60 s of audio in 2.0 s, 30× real time → out/"
    )


def test_what_to_do_after_a_run():
    gone = Counts(n_found=2, n_up_to_date=2, n_missing=1)
    assert after_words(gone, "my out", tags=True) == [
        "1 track no longer exists; --prune removes its rows",
        "see them: audiopatch show --in 'my out'",
    ]
    assert after_words(Counts(n_removed=3), "out", tags=False) == ["removed the rows of 3 tracks that no longer exist"]


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


@pytest.mark.parametrize(("error", "interrupted", "code"), [(AttributeError, True, 130), (AttributeError, False, 1)])
def test_ctrl_c_that_a_library_swallowed_is_no_internal_error(error, interrupted, code, capsys):
    with pytest.raises(console.typer.Exit) as ended, console.errors_to_words():
        with suppress(KeyboardInterrupt):  # as numpy does where torch imports it
            if interrupted:
                signal.raise_signal(signal.SIGINT)
        raise error("module 'numpy' has no attribute 'matrix'")
    assert ended.value.exit_code == code
    assert ("internal error" in capsys.readouterr().err) is not interrupted
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
