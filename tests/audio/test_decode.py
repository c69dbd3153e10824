import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr

from audiopatch.audio.av_source import AvSource
from audiopatch.audio.decode import DECODERS, decode_track
from audiopatch.audio.fallbacks import FfmpegSource, SoundfileSource
from audiopatch.audio.file import opened
from audiopatch.types import CutSpec, Decoded, Failed, Segment, Track
from fabricate import ENCODERS, bad_files, encode, music, wavex

NATIVE = CutSpec(sample_rate=44_100, segment_s=1.0)
MODEL = CutSpec(sample_rate=16_000, segment_s=1.0)


def track(path) -> Track:
    return Track(str(path), "/", "0" * 16, 0, 0)


def decode(path, spec=MODEL):
    """-> (segments, how it ended)."""
    *segments, end = decode_track(track(path), spec)
    assert all(isinstance(segment, Segment) for segment in segments) and isinstance(end, Decoded | Failed)
    assert [segment.index for segment in segments] == list(range(len(segments)))
    return segments, end


def whole(segments, sample_rate):
    """Segments laid over each other again -> the track (S,)."""
    wave = np.zeros(round(segments[-1].end_s * sample_rate), np.float32)
    for segment in segments:
        at = round(segment.start_s * sample_rate)
        wave[at : at + segment.wave.size] = segment.wave
    return wave


def snr_db(reference, wave):
    noise = np.square(reference.astype(np.float64) - wave).sum()
    return 10 * np.log10(np.square(reference.astype(np.float64)).sum() / max(noise, 1e-30))


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    wave = music(5.3)
    return {extension: encode(folder / f"song.{extension}", wave) for extension in ENCODERS}


@pytest.mark.parametrize(
    ("extension", "subtype"), [("wav", "PCM_16"), ("wav", "PCM_U8"), ("wav", "FLOAT"), ("flac", "PCM_24")]
)
@pytest.mark.parametrize("n_channels", [1, 2])
def test_lossless_files_decode_to_the_samples_libsndfile_reads(tmp_path, extension, subtype, n_channels):
    path = tmp_path / f"x.{extension}"
    soundfile.write(path, music(2.5, n_channels=n_channels).T, 44_100, subtype)
    expected = soundfile.read(path, dtype="float64", always_2d=True)[0].mean(axis=1)
    segments, end = decode(path, NATIVE)
    np.testing.assert_allclose(whole(segments, 44_100), expected, atol=6e-8, rtol=0)
    assert (end.sample_rate, end.channels, end.damaged, end.coverage) == (44_100, n_channels, False, 1.0)
    assert end.duration_s == pytest.approx(2.5)


@pytest.mark.parametrize("extension", ENCODERS)
def test_every_format_sounds_like_its_original(songs, extension):
    segments, end = decode(songs[extension])
    assert end.n_segments == len(segments) and not end.damaged and end.decoders_tried == ("av",)
    original = soxr.resample(music(5.3).mean(axis=0), 44_100, 16_000, quality="HQ")
    wave = whole(segments, 16_000)
    # WMA and AC-3 begin late, encoders without a gapless header leave their delay: find it, then compare
    n, most = 40_000, 1_600
    about = wave[8_000 - most : 8_000 + most + n]
    delay = int(np.argmax(np.correlate(about, original[8_000 : 8_000 + n], "valid"))) - most
    assert abs(delay) < most
    assert snr_db(original[8_000 : 8_000 + n], wave[8_000 + delay :][:n]) > 9


@pytest.mark.parametrize("sample_rate", [8_000, 22_050, 44_100, 48_000, 96_000])
def test_a_stream_resamples_as_the_whole_does(tmp_path, sample_rate):
    t = np.arange(3 * sample_rate) / sample_rate
    tone = 0.5 * np.sin(2 * np.pi * 997 * t)
    soundfile.write(tmp_path / "x.wav", tone, sample_rate, "FLOAT")
    wave = whole(decode(tmp_path / "x.wav")[0], 16_000)
    assert wave.size == 48_000
    ideal = 0.5 * np.sin(2 * np.pi * 997 * np.arange(48_000) / 16_000)
    assert snr_db(ideal[1_000:-1_000], wave[1_000:-1_000]) > 100


def test_stereo_is_averaged_and_surround_is_weighted_by_place(tmp_path):
    left = np.ones(44_100, np.float32) * 0.5
    soundfile.write(tmp_path / "left.wav", np.stack([left, 0 * left]).T, 44_100, "FLOAT")
    assert decode(tmp_path / "left.wav", NATIVE)[0][0].wave == pytest.approx(left / 2)
    surround = np.zeros((44_100, 6), np.float32)
    surround[:, 2] = 0.5  # the centre, 3 dB down in both sides of a stereo mix that is no louder than its channels
    soundfile.write(tmp_path / "centre.wav", surround, 44_100, "FLOAT")
    expected = left * np.sqrt(0.5) / (1 + 2 * np.sqrt(0.5))
    assert decode(tmp_path / "centre.wav", NATIVE)[0][0].wave == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("n_channels", [3, 4, 5, 6, 7, 8, 10, 16])
@pytest.mark.parametrize("extension", ["wav", "flac", "tta", "wv", "opus"])
def test_many_channels_are_as_loud_as_each_of_them(tmp_path, extension, n_channels):
    """The same sound in every channel is that sound; also where FFmpeg has no way down to stereo."""
    wave = np.tile(music(1.5, sample_rate=48_000, n_channels=1), (n_channels, 1))
    path = tmp_path / f"x.{extension}"
    if extension == "wav":
        path.write_bytes(wavex(np.round(wave.T * 32767).astype("<i2"), 48_000, mask=(1 << n_channels) - 1))
    else:
        soundfile.write(tmp_path / "plain.wav", wave.T, 48_000)
        command = ["ffmpeg", "-v", "error", "-i", tmp_path / "plain.wav", "-mapping_family", "255", path]
        if shutil.which("ffmpeg") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this ffmpeg cannot write it")
    segments, end = decode(path, CutSpec(48_000, 1.0))
    if isinstance(end, Failed):
        assert extension == "wv" and n_channels > 8  # the encoder writes what no decoder reads
        return
    assert end.channels == n_channels and not end.damaged
    expected = np.delete(wave, 3, axis=0)[0] if n_channels > 3 else wave[0]
    got = whole(segments, 48_000)
    delay = 0 if extension != "opus" else None
    if delay == 0:
        np.testing.assert_allclose(got, expected, atol=2e-4)
    else:
        assert np.abs(got).std() == pytest.approx(np.abs(expected).std(), rel=0.1)


def test_opposite_channels_are_no_silence(tmp_path):
    left = music(2.0, n_channels=1)[0]
    for name, right in (("opposite", -left), ("nearly", -0.9 * left), ("apart", np.roll(left, 4000))):
        soundfile.write(tmp_path / f"{name}.wav", np.stack([left, right]).T, 44_100, "FLOAT")
    for name, expected in (("opposite", left), ("nearly", left), ("apart", (left + np.roll(left, 4000)) / 2)):
        np.testing.assert_allclose(whole(decode(tmp_path / f"{name}.wav", NATIVE)[0], 44_100), expected, atol=1e-6)


@pytest.mark.parametrize(("container", "valid"), [(32, 24), (32, 20), (32, 18), (24, 12), (24, 20), (32, 32)])
@pytest.mark.parametrize("extensible", [True, False])
def test_samples_in_wider_words(tmp_path, container, valid, extensible):
    wave = music(1.5, n_channels=2)
    words = np.round(wave.T * (2 ** (valid - 1) - 1)).astype("<i4") << (container - valid)
    data = np.frombuffer(words.tobytes(), np.uint8).reshape(-1, 4)[:, : container // 8].tobytes()
    header = {"valid": valid} if extensible else {"bits": valid, "extensible": False}
    (tmp_path / "x.wav").write_bytes(wavex(data, 44_100, n_channels=2, container=container, **header))
    segments, end = decode(tmp_path / "x.wav", NATIVE)
    assert end.duration_s == pytest.approx(1.5) and not end.damaged
    np.testing.assert_allclose(whole(segments, 44_100), wave.mean(axis=0), atol=2 / 2**valid + 1e-6)


@pytest.mark.parametrize(
    "extension", ["wav", "flac", "mp3", "ogg", "opus", "wv", "tta", "aiff", "wma", "mka", "m4a", "aac"]
)
def test_chosen_segments_equal_the_same_cuts_of_the_whole(tmp_path, extension):
    path = encode(tmp_path / f"x.{extension}", music(16.0, seed=3))
    full, end_full = decode(path, CutSpec(16_000, 2.0))
    wave = whole(full, 16_000)
    least = 30 if extension in {"m4a", "aac"} else 120  # AAC's noise substitution is random
    for n_segments in (1, 3):
        few, end = decode(path, CutSpec(16_000, 2.0, n_segments=n_segments))
        assert end.n_segments == len(few) == n_segments
        assert end.audio_hash == end_full.audio_hash and end.duration_s == pytest.approx(end_full.duration_s, abs=0.1)
        for segment in few:
            at = round(segment.start_s * 16_000)
            assert snr_db(wave[at : at + 32_000], segment.wave) > least, n_segments


def test_short_tracks_are_one_segment_of_their_own_length(tmp_path):
    path = encode(tmp_path / "short.flac", music(0.7))
    for spec in (MODEL, CutSpec(16_000, 1.0, n_segments=3)):
        (segment,), end = decode(path, spec)
        assert segment.wave.size == 11_200 and (segment.start_s, segment.end_s) == (0.0, 0.7)
        assert end.duration_s == pytest.approx(0.7)


def test_every_bad_file_ends_as_it_should(tmp_path):
    wrong = {}
    for name, ends in bad_files(tmp_path).items():
        segments, end = decode(os.path.join(tmp_path, name))  # noqa: PTH118 (surrogates)
        got = end.code if isinstance(end, Failed) else "damaged" if end.damaged else "ok"
        if got not in ends.split("|"):
            wrong[name] = (ends, got, end.message)
        assert all(np.isfinite(segment.wave).all() for segment in segments)
        assert isinstance(end, Failed) <= bool(end.message)
    assert not wrong


def test_what_is_not_a_file_fails_with_a_reason(tmp_path):
    assert decode(tmp_path / "gone.mp3")[1].code == "E_VANISHED"
    assert decode(tmp_path)[1].code == "E_DECODE"
    os.mkfifo(tmp_path / "pipe.mp3")
    assert decode(tmp_path / "pipe.mp3")[1].message == "not a regular file"
    (tmp_path / "loop.mp3").symlink_to("loop.mp3")
    assert decode(tmp_path / "loop.mp3")[1].code == "E_DECODE"
    assert decode("bad\0name.mp3")[1].code == "E_VANISHED"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_e_perm(tmp_path):
    path = encode(tmp_path / "x.wav", music(1.0))
    path.chmod(0)
    assert decode(path)[1].code == "E_PERM"


def test_lengths_that_no_header_states_are_not_held_against_a_file(tmp_path):
    """FFmpeg guesses them from the first packets, and takes the length of the pictures for that of the sound."""
    quiet_first = np.concatenate([np.zeros((2, 44_100 * 6), np.float32), music(12.0)], axis=1)
    path = tmp_path / "vbr.mp3"
    with av.open(str(path), "w", options={"write_xing": "0"}) as container:
        stream = container.add_stream("libmp3lame", rate=44_100, layout="stereo", options={"abr": "0", "q": "2"})
        for start in range(0, quiet_first.shape[1], 44_100):
            chunk = np.ascontiguousarray(quiet_first[:, start : start + 44_100])
            frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 44_100, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    ends = {"vbr": decode(path)[1]}
    path.write_bytes(bytes(3000) + encode(tmp_path / "x.mp3", music(3.0)).read_bytes())
    ends["junk in front"] = decode(path)[1]
    for container_kind in ("mkv", "mov", "avi"):
        film = tmp_path / f"film.{container_kind}"
        with av.open(str(film), "w") as container:
            pictures = container.add_stream("mpeg4", rate=2)
            pictures.width = pictures.height = 64
            sound = container.add_stream("mp2" if container_kind == "avi" else "aac", rate=44_100, layout="stereo")
            for number in range(60):
                picture = av.VideoFrame(64, 64, "yuv420p")
                picture.pts = number
                container.mux(pictures.encode(picture))
            wave = music(10.0)
            for start in range(0, wave.shape[1], 44_100):
                form = "s16" if container_kind == "avi" else "fltp"
                chunk = np.ascontiguousarray(wave[:, start : start + 44_100])
                if form == "s16":
                    chunk = np.round(chunk.T.reshape(1, -1) * 32767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(chunk, format=form, layout="stereo")
                frame.sample_rate, frame.pts = 44_100, start
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
            container.mux(pictures.encode(None))
        ends[container_kind] = decode(film)[1]
    assert {name: end.message for name, end in ends.items() if end.damaged} == {}
    assert ends["vbr"].duration_s == pytest.approx(18.0, abs=0.1)


def test_names_that_look_like_protocols(tmp_path, monkeypatch):
    good = encode(tmp_path / "x.wav", music(1.0))
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a|b.wav", "data:x.wav", "http:host.wav"):
        shutil.copy(good, name)
        assert isinstance(decode(name)[1], Decoded)


def test_the_hash_names_the_audio_not_the_file(tmp_path):
    wave = music(2.0)
    plain, tagged = encode(tmp_path / "a.mp3", wave), encode(tmp_path / "b.mp3", wave, title="Other", artist="Words")
    other = encode(tmp_path / "c.mp3", music(2.0, seed=9))
    hashes = [decode(path)[1].audio_hash for path in (plain, tagged, other)]
    assert hashes[0] == hashes[1] != hashes[2] and re.fullmatch("v2:[0-9a-f]{32}", hashes[0])


def test_what_flac_says_of_its_samples_is_not_believed(tmp_path):
    """Albums cut without decoding carry the MD5 of the whole album in every track."""
    sound = {name: encode(tmp_path / f"{name}.flac", music(2.0, seed=seed)) for seed, name in enumerate("ab")}
    a, b = (bytearray(path.read_bytes()) for path in sound.values())
    md5 = slice(4 + 4 + 18, 4 + 4 + 34)  # STREAMINFO comes first in every FLAC file
    before = decode(sound["b"])[1].audio_hash
    b[md5] = a[md5]
    sound["b"].write_bytes(b)
    hashes = {name: decode(path)[1].audio_hash for name, path in sound.items()}
    assert hashes["a"] != hashes["b"] == before


@pytest.mark.parametrize("source", [SoundfileSource, FfmpegSource])
def test_fallbacks_agree_with_the_first_decoder(songs, source):
    if source is FfmpegSource and shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg command")
    path = str(songs["flac"])
    with opened(track(path), whole=True) as file:
        reference = np.concatenate([block.wave for block in AvSource(file).blocks()])
    with opened(track(path), whole=True) as file:
        decoder = source(file)
        wave = np.concatenate([block.wave for block in decoder.blocks()])
        assert decoder.measure(lambda: None) == pytest.approx(5.3, abs=0.01) and len(decoder.audio_hash()) == 35
        decoder.close()
    rate = decoder.header.sample_rate if source is SoundfileSource else 48_000
    expected = reference if rate == 44_100 else soxr.resample(reference, 44_100, rate, quality="HQ")
    n = min(wave.size, expected.size) - 1_000
    assert abs(wave.size - expected.size) <= 2
    assert snr_db(expected[1_000:n], wave[1_000:n]) > (120 if rate == 44_100 else 30)


def test_decoders_are_tried_in_turn(tmp_path, monkeypatch):
    path = encode(tmp_path / "x.wav", music(1.5))
    data = bytearray(path.read_bytes())
    data[8:12] = b"wave"  # FFmpeg minds, and so does libsndfile: all fail, the first reason is told
    path.write_bytes(data)
    end = decode(path)[1]
    assert (
        end.code == "E_DECODE"
        and end.message.startswith("FFmpeg cannot open it")
        and end.decoders_tried == tuple(DECODERS)
    )


MEMORY = """
import resource, sys
from audiopatch.audio.decode import decode_track
from audiopatch.types import CutSpec, Track
outcomes = decode_track(Track(sys.argv[1], "/", "0" * 16, 0, 0), CutSpec(16_000, 30.0))
next(outcomes)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
n = 0
for last in outcomes:
    n += 1
print(n, last.duration_s, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("minutes", [25, pytest.param(600, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_track(tmp_path, minutes):
    _write_long(tmp_path / "long.flac", minutes)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "long.flac")]
    said = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    n_segments, duration_s, grown_mb = map(float, said.split())
    assert (n_segments, duration_s) == (minutes * 4 - 1, pytest.approx(minutes * 60))
    assert grown_mb < 20  # 25 minutes are 92 MB at the model's rate and 250 MB at the file's own


def _write_long(path: Path, minutes: int) -> None:
    minute = (music(60.0, sample_rate=22_050, n_channels=2).T * 32767).astype(np.int16)
    with soundfile.SoundFile(path, "w", 22_050, 2, "PCM_16") as out:
        for _ in range(minutes):
            out.write(minute)


def test_a_mistake_of_ours_is_not_the_files(tmp_path, monkeypatch):
    def broken(file):
        raise TypeError("'NoneType' object is not subscriptable")

    soundfile.write(tmp_path / "sound.wav", np.zeros(16_000), 16_000)
    monkeypatch.setitem(DECODERS, "av", broken)
    _, failed = decode(tmp_path / "sound.wav")
    assert isinstance(failed, Failed) and failed.code == "E_INTERNAL"
    assert "in broken" in failed.message and failed.message.endswith(
        "TypeError: 'NoneType' object is not subscriptable"
    )


def test_tags_in_another_encoding_cost_nothing_but_their_letters(tone, tmp_path):
    info = b"INFOINAM" + struct.pack("<I", 6) + b"Caf\xe9 \xff"
    content = bytearray(tone(tmp_path / "a.wav").read_bytes() + b"LIST" + struct.pack("<I", len(info)) + info)
    content[4:8] = struct.pack("<I", len(content) - 8)
    (tmp_path / "a.wav").write_bytes(content)
    track = Track(str(tmp_path / "a.wav"), "", "", len(content), 0)
    *_, decoded = decode_track(track, CutSpec(16_000, 1.0))
    assert isinstance(decoded, Decoded) and decoded.tags == {"title": "Caf\ufffd \ufffd"}
