"""``--segments`` gives the same cuts as the whole decode, whatever the container, the codec, and however joined."""

from __future__ import annotations

import shutil
import subprocess
from itertools import product

import numpy as np
import pytest
import soundfile

from audiopatch.audio.decode import decode_track
from audiopatch.types import CutSpec, Failed, Track
from fabricate import ENCODERS, encode, music

RATE, SECONDS = 16_000, 20.0
CONTAINERS = (  # noqa: SIM905 (strings, since so many quoted words are hard to read)
    "wav w64 aif caf au flac mp3 ogg opus spx wv tta m4a mp4 mov 3gp mka mkv webm wma asf avi aac ac3 eac3 dts amr flv "
    "ts mpg rm gsm g722 voc sox nut"
).split()
CODECS = (  # noqa: SIM905
    "pcm_s16le pcm_s16be pcm_s24le pcm_f32le pcm_u8 pcm_mulaw adpcm_ms adpcm_ima_wav adpcm_ima_qt adpcm_swf "
    "adpcm_yamaha adpcm_g722 adpcm_g726 g723_1 flac alac libmp3lame mp2 aac ac3 eac3 dca libvorbis libopus wavpack tta "
    "wmav1 wmav2 "
    "libspeex libopencore_amrnb libgsm_ms"
).split()
# what was wrong once, and what seeking is used for
USUAL = [
    ("wav", "adpcm_ms"), ("wav", "adpcm_ima_wav"), ("wav", "adpcm_g722"), ("ogg", "flac"), ("spx", "libspeex"),
    ("w64", "pcm_s16le"), ("mov", "alac"), ("mkv", "libmp3lame"), ("caf", "flac"), ("wav", "wmav2"), ("mp3", "mp2"),
]  # fmt: skip
NARROW = {"libopencore_amrnb", "libgsm_ms", "adpcm_g726", "g723_1", "adpcm_swf"}
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg command")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "x.wav"
    soundfile.write(path, music(SECONDS, seed=3, n_channels=1)[0], 44_100)
    return path


def decoded(path, n_segments=None):
    *segments, end = decode_track(Track(str(path), "/", "0" * 16, 0, 0), CutSpec(RATE, 2.0, n_segments=n_segments))
    return segments, end


def check(path, *, least_db: float = 60.0) -> float:
    """The length of the track, once its chosen segments have been found in the whole of it."""
    full, end = decoded(path)
    assert not isinstance(end, Failed), end
    wave = np.zeros(round(full[-1].end_s * RATE), np.float64)
    for segment in full:
        wave[round(segment.start_s * RATE) :][: segment.wave.size] = segment.wave
    chosen, few = decoded(path, 3)
    assert not isinstance(few, Failed), few
    assert len(chosen) == few.n_segments == 3 and few.audio_hash == end.audio_hash
    assert few.duration_s == pytest.approx(end.duration_s, abs=0.1)
    for segment in chosen:
        same = wave[round(segment.start_s * RATE) :][: segment.wave.size]
        noise = np.square(same - segment.wave).sum()
        assert 10 * np.log10(np.square(same).sum() / max(noise, 1e-20)) > least_db
    return end.duration_s


def made(path, original, codec) -> bool:
    """Whether FFmpeg puts the one into the other, and itself has most of it back (AAC in WAV it cannot find again)."""
    rate = {"adpcm_g722": 16_000, "libspeex": 16_000, "dca": 48_000, "libopus": 48_000}.get(codec, 44_100)
    shape = ["-ar", str(8_000 if codec in NARROW else rate), *(["-b:a", "6300"] if codec == "g723_1" else [])]
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", original, "-strict", "-2", "-c:a", codec, *shape, path]
    if subprocess.run(command, capture_output=True).returncode or path.stat().st_size <= 1000:
        return False
    back = ["ffmpeg", "-v", "quiet", "-nostdin", "-i", path, "-ac", "1", "-ar", "8000", "-f", "u8", "-"]
    return len(subprocess.run(back, capture_output=True).stdout) > 0.9 * SECONDS * 8000


@needs_ffmpeg
@pytest.mark.parametrize(
    ("container", "codec"),
    [pytest.param(*pair, marks=() if pair in USUAL else pytest.mark.slow) for pair in product(CONTAINERS, CODECS)],
)
def test_segments_equal_the_same_cuts_of_the_whole(tmp_path, original, container, codec):
    path = tmp_path / f"x.{container}"
    if not made(path, original, codec):
        pytest.skip("this ffmpeg does not put the one into the other")
    if isinstance(decoded(path)[1], Failed):
        pytest.skip("written, but not to be read by any decoder")
    check(path, least_db=25.0 if codec == "aac" else 60.0)  # AAC's noise substitution is random


@pytest.mark.parametrize("extension", ["ogg", "opus", "oga", "flac", "mp3", "aac", "ac3", "au", "mka"])
def test_joined_files_are_looked_at_whole(tmp_path, extension):
    """``cat a b``, as people join chapters, shows and chained streams."""
    ENCODERS.setdefault("oga", "flac")
    parts = [encode(tmp_path / f"{n}.{extension}", music(seconds, seed=n)) for n, seconds in enumerate((6.0, 6.0, 4.0))]
    path = tmp_path / f"joined.{extension}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts[:2]))
    assert check(path) == pytest.approx(12.0, abs=0.15)
    assert not decoded(path)[1].damaged
    path.write_bytes(b"".join(part.read_bytes() for part in parts[::-1]))
    if extension != "mka":  # FFmpeg ends where a third begins
        assert check(path) == pytest.approx(16.0, abs=0.2)
