"""From a library and a wish to a command line that works."""

import shlex
from dataclasses import replace

import pytest
from fsspec import filesystem

from audiopatch.audio.survey import length_s, survey
from audiopatch.audio.walk import walk
from audiopatch.bench.estimate import Choice, Wish, _corrected
from audiopatch.bench.sweep import Row
from audiopatch.bench.whole import command_of, decode_all
from audiopatch.cli.main import find_command
from audiopatch.errors import UsageError
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.types import CutSpec
from fabricate import encode, music

ROW = Row(
    model="m", patchout="F0T0", engine="torch", dtype="float32", device="cpu", batch=4, block=None, minutes_per_s=1.0,
    spread=0.0, latency_ms=1.0, n_repeats=1, gmacs=1.0, n_tokens=None, mparams=1.0, peak_share=None, mfu=None,
    memory_mb=None, error=0.0, quality=1.0, quality_name="", baseline=None, times_baseline=None, published="",
)  # fmt: skip
SLOW, MIDDLE, FAST = (
    Choice(replace(ROW, patchout=patchout, quality=quality), eta_s)
    for patchout, quality, eta_s in (("F0T0", 1.0, 1000.0), ("F3T2", 0.97, 400.0), ("F4T10", 0.8, 100.0))
)


@pytest.mark.parametrize(
    ("wish", "chosen"),
    [
        (Wish(min_quality=0.95), MIDDLE),
        (Wish(min_quality=0.98), SLOW),
        (Wish(finish_in_s=5000), SLOW),
        (Wish(finish_in_s=500), MIDDLE),
        (Wish(finish_in_s=399), FAST),
    ],
)
def test_a_deadline_wants_the_best_and_a_quality_the_fastest(wish, chosen):
    assert wish.choose([SLOW, MIDDLE, FAST]) is chosen


def test_wishes_that_cannot_be_met_say_what_can():
    with pytest.raises(UsageError, match=r"the best here is 0\.970"):
        Wish(min_quality=0.99).choose([MIDDLE, FAST])
    wish = Wish(finish_in_s=200, min_quality=0.9)
    assert wish.choose([SLOW, MIDDLE, FAST]) is MIDDLE  # the fastest that is good enough is worth a trial
    with pytest.raises(UsageError, match=r"the fastest setting, patchout F3T2 .* takes about 7 minutes"):
        wish.check(MIDDLE)
    wish.check(replace(MIDDLE, eta_s=199.0))


def test_a_trial_corrects_what_was_only_predicted():
    known = replace(FAST, tried=True)
    slow, middle, fast = _corrected([SLOW, MIDDLE, known], MIDDLE, 600.0)
    assert (middle.eta_s, middle.tried) == (600.0, True)
    assert (slow.eta_s, slow.tried) == (pytest.approx(1500.0), False)
    assert fast is known


def test_a_survey_counts_what_headers_say(tone, tmp_path):
    for number, seconds in enumerate((10, 20, 30)):
        tone(tmp_path / f"{number}.wav", seconds=seconds)
    (tmp_path / "broken.flac").write_bytes(b"no audio")
    tracks, spec = list(walk([str(tmp_path)])), CutSpec(16000, 10.0)
    whole = survey(tracks, spec)
    assert (whole.n_tracks, whole.n_read) == (4, 4)
    assert whole.audio_s == pytest.approx(60)
    assert whole.n_segments == pytest.approx(1 + 3 + 5)
    assert survey(tracks[:3], spec, max_headers=1).audio_s == pytest.approx(60, rel=0.01)


def test_a_survey_reads_headers_in_a_store(tone, tmp_path):
    content = tone(tmp_path / "a.wav", seconds=10).read_bytes()
    filesystem("memory").pipe("/survey/a.wav", content)
    (track,) = walk(["memory://survey"])
    assert length_s(track, measure=False) == (pytest.approx(10), True)
    assert length_s(replace(track, path="memory://survey/gone.wav"), measure=True) == (0.0, True)


def test_decoding_is_counted_in_what_came_of_it(tone, tmp_path):
    """Not in what headers say: raw AAC's say nothing."""
    for name in ("a.wav", "b.wav"):
        tone(tmp_path / name, seconds=20)
    (tmp_path / "broken.flac").write_bytes(b"no audio")
    decoding = decode_all(list(walk([tmp_path])), CutSpec(16000, 10.0))
    assert (decoding.audio_s, decoding.n_segments) == (pytest.approx(40), 2 * 3)
    assert decoding.rate == decoding.audio_s / decoding.cpu_s > 0


def test_the_proposed_command_is_one_that_tag_takes():
    analysis = Analysis(model="tiny-random", patchout="F3T2", segments=3)
    words = shlex.split(command_of("my music", analysis, Runtime(engine="openvino", dtype="bfloat16")))
    context = find_command("tag").make_context("tag", words[2:])
    taken = context.params
    assert taken["inputs"] == ["my music"]
    assert [taken[name] for name in ("patchout", "segments", "engine", "dtype")] == ["F3T2", 3, "openvino", "bfloat16"]


def test_lengths_that_no_header_tells_are_measured(tmp_path):
    """MP3 without a frame count behind a quiet intro: FFmpeg's guess was three times too long."""
    encode(tmp_path / "x.ogg", music(6.0))
    data = encode(tmp_path / "x.mp3", music(6.0)).read_bytes()
    (tmp_path / "x.mp3").write_bytes(bytes(700) + data)  # without its first frame's count
    found = survey(list(walk([tmp_path])), CutSpec(16_000, 2.0))
    assert found.audio_s == pytest.approx(12.0, abs=0.2)
