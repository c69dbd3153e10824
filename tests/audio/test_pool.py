import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

import audiopatch
from audiopatch.audio.decode import decode_track
from audiopatch.audio.pool import Whole, decode_tracks, decode_whole
from audiopatch.audio.walk import walk
from audiopatch.errors import TrackError
from audiopatch.types import CutSpec, Decoded, Failed, Segment, Track
from decode_workers import decode_workers
from fabricate import bad_files, encode, music

SPEC = CutSpec(sample_rate=16_000, segment_s=1.0)


def tracks_in(folder):
    names = sorted(os.listdir(os.fsencode(folder)))  # noqa: PTH208 (bytes)
    paths = [os.fsdecode(os.path.join(os.fsencode(folder), name)) for name in names]  # noqa: PTH118
    return [Track(path, str(folder), f"{n:016x}", 0, 0) for n, path in enumerate(paths)]


def wait_until(condition, timeout_s=10.0):
    end = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.fixture(scope="module")
def long_track(tmp_path_factory):
    path = encode(tmp_path_factory.mktemp("long") / "long.flac", np.tile(music(10.0), 20))
    return Track(str(path), "/", "f" * 16, 0, 0)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_workers_give_what_decoding_here_gives(tmp_path, workers):
    bad_files(tmp_path, seconds=2.5)
    tracks = tracks_in(tmp_path)
    expected = {track: list(decode_track(track, SPEC)) for track in tracks}
    got = {track: [] for track in tracks}
    for outcome in decode_tracks(iter(tracks), SPEC, workers=workers, timeout_s=60, queue_segments=4):
        got[outcome.track].append(outcome)
    for track in tracks:
        *segments, end = got[track]
        assert end == expected[track][-1]
        assert len(segments) == len(expected[track]) - 1
        for ours, reference in zip(segments, expected[track], strict=False):
            assert (ours.index, ours.start_s, ours.end_s) == (reference.index, reference.start_s, reference.end_s)
            np.testing.assert_array_equal(ours.wave, reference.wave)
    assert decode_workers() == []


def test_no_worker_and_no_track():
    assert list(decode_tracks([], SPEC, workers=2)) == []
    assert list(decode_tracks([], SPEC, workers=0)) == []


def test_a_crash_costs_one_track(tmp_path, long_track):
    short = Track(str(encode(tmp_path / "x.wav", music(2.0))), "/", "0" * 16, 0, 0)
    ends, crashed = {}, False
    for outcome in decode_tracks([long_track, short], SPEC, workers=1, queue_segments=2):
        if isinstance(outcome, Segment) and outcome.index == 5 and not crashed:
            os.kill(decode_workers()[0].pid, signal.SIGSEGV)
            crashed = True
        if not isinstance(outcome, Segment):
            assert outcome.track not in ends
            ends[outcome.track] = outcome
    assert (ends[long_track].code, ends[long_track].stage) == ("E_WORKER_CRASH", "decode")
    assert "SIGSEGV" in ends[long_track].message and ends[long_track].position_s > 2
    assert isinstance(ends[short], Decoded) and ends[short].n_segments == 3


def test_a_hang_costs_one_track_and_the_timeout(tmp_path, long_track):
    short = Track(str(encode(tmp_path / "x.wav", music(2.0))), "/", "0" * 16, 0, 0)
    ends, stopped = {}, 0.0
    for outcome in decode_tracks([long_track, short], SPEC, workers=1, timeout_s=1.0, queue_segments=2):
        if isinstance(outcome, Segment) and outcome.index == 5 and not stopped:
            os.kill(decode_workers()[0].pid, signal.SIGSTOP)
            stopped = time.monotonic()
        if not isinstance(outcome, Segment):
            ends[outcome.track] = outcome
    assert ends[long_track].code == "E_TIMEOUT" and time.monotonic() - stopped < 15
    assert isinstance(ends[short], Decoded)


def test_a_slow_reader_is_no_timeout(long_track):
    outcomes = decode_tracks([long_track], SPEC, workers=1, timeout_s=2.0, queue_segments=2)
    next(outcomes)
    time.sleep(3.0)
    assert isinstance([*outcomes][-1], Decoded)


def test_closing_early_leaves_nothing_behind(long_track):
    outcomes = decode_tracks([long_track] * 50, SPEC, workers=2, queue_segments=2)
    next(outcomes)
    n_threads = threading.active_count()
    start = time.monotonic()
    outcomes.close()
    assert time.monotonic() - start < 3
    assert decode_workers() == [] and threading.active_count() < n_threads


def test_tracks_are_taken_lazily(long_track):
    taken = Counter()

    def endless():
        while True:
            taken["n"] += 1
            yield long_track

    outcomes = decode_tracks(endless(), SPEC, workers=2, queue_segments=3)
    next(outcomes)
    assert taken["n"] <= 2
    outcomes.close()


def test_an_error_in_the_track_list_reaches_the_caller(long_track):
    def broken():
        yield long_track
        raise RuntimeError("the walk failed")

    with pytest.raises(RuntimeError, match="the walk failed"):
        list(decode_tracks(broken(), SPEC, workers=1))
    assert decode_workers() == []


SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
from audiopatch.audio.pool import decode_tracks
from audiopatch.types import CutSpec, Track
tracks = (Track(sys.argv[1], "/", "0" * 16, 0, 0) for _ in iter(int, 1))
for n, _ in enumerate(decode_tracks(tracks, CutSpec(16000, 1.0), workers=2, queue_segments=2)):
    if n == 20:
        print("going", flush=True)
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_workers_go_when_their_parent_does(tmp_path, long_track, ending):
    """Run as a plain script: no ``if __name__`` guard is needed, and workers print nothing."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [sys.executable, str(script), long_track.path]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)
    try:
        assert parent.stdout.readline() == "going\n"
        workers = psutil.Process(parent.pid).children()
        assert len(workers) == 2
        parent.send_signal(ending)
        assert wait_until(lambda: not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers))
        said = parent.communicate(timeout=10)[1]
    finally:
        parent.kill()
    assert said.count("Traceback") == (ending == signal.SIGINT)  # the parent's own KeyboardInterrupt, no worker's


def test_workers_import_no_torch():
    code = "import sys, audiopatch.audio.worker; print(sorted({'torch', 'pyarrow', 'pandas'} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert said.stdout == "[]\n"


def test_no_more_workers_than_are_needed(long_track):
    """Whoever takes segments slowly finds some waiting, and one worker stays enough."""
    with closing(decode_tracks([long_track] * 3, SPEC, workers=4, timeout_s=60, queue_segments=4)) as outcomes:
        for _ in range(4):
            next(outcomes)
            time.sleep(0.5)
        assert len(decode_workers()) == 1
        for _ in range(500):
            next(outcomes)
        assert len(decode_workers()) > 1


@pytest.mark.parametrize("workers", [0, 2])
def test_tracks_come_back_whole_and_in_order(tmp_path, workers):
    rng = np.random.default_rng(0)
    waves = {f"{name}.wav": rng.uniform(-0.5, 0.5, n).astype(np.float32) for name, n in (("a", 584_123), ("b", 9_000))}
    for name, wave in waves.items():  # the longer one is two runs of the decoder, and a rest
        soundfile.write(tmp_path / name, wave, 8000, subtype="FLOAT")
    (tmp_path / "broken.wav").write_bytes(b"no audio at all")
    outcomes = {Path(each.track.path).name: each for each in decode_whole(walk([tmp_path]), 8000, workers=workers)}
    assert outcomes.keys() == {*waves, "broken.wav"}
    assert isinstance(outcomes.pop("broken.wav"), Failed)
    for name, whole in outcomes.items():
        assert isinstance(whole, Whole) and np.array_equal(whole.wave, waves[name])


def test_one_file_as_it_is_heard(tmp_path, tone):
    wave = audiopatch.decode(tone(tmp_path / "a.flac", seconds=2, frequency=440), 16_000)
    assert wave.dtype == np.float32 and wave.shape == (32_000,) and 0.1 < np.abs(wave).max() <= 1
    (tmp_path / "b.mp3").write_text("no audio")
    with pytest.raises(TrackError, match=r"b\.mp3"):
        audiopatch.decode(tmp_path / "b.mp3", 16_000)
