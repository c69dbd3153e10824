"""What stands around the audio of a sound file is neither damage nor part of its hash."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from audiopatch.audio.decode import decode_track
from audiopatch.audio.file import opened
from audiopatch.audio.surroundings import bounds
from audiopatch.types import CutSpec, Decoded, Track
from fabricate import ENCODERS, encode, music

TITLE = b"TIT2\0\0\0\6\0\0\3hello"
LYRICS = b"LYRICSBEGINLYR00020[00:01]hello world!!"
ID3V1 = b"TAG" + b"A Title".ljust(30, b"\0") + b"An Artist".ljust(30, b"\0") + bytes(65)


def syncsafe(n: int) -> bytes:
    return bytes((n >> shift) & 127 for shift in (21, 14, 7, 0))


def ape(value: bytes, *, header: bool) -> bytes:
    body = struct.pack("<II", len(value), 0) + b"Cover Art (Front)\0" + value
    part = lambda flags: b"APETAGEX" + struct.pack("<IIII", 2000, len(body) + 32, 1, flags) + bytes(8)  # noqa: E731
    return (part(0xA0000000) if header else b"") + body + part(0x80000000 if header else 0)


NOISE = np.random.default_rng(1).bytes(300_000)
TAILS = {
    "id3v1": ID3V1,
    "ape cover": ape(b"c.jpg\0" + NOISE, header=True),
    "ape without header": ape(b"x", header=False),
    "lyrics3 v1": b"LYRICSBEGIN" + b"x" * 900 + b"LYRICSEND" + ID3V1,
    "lyrics3 v2": LYRICS + b"%06dLYRICS200" % len(LYRICS) + ID3V1,
    "id3v2.4 appended": b"ID3\4\0\x10" + syncsafe(len(TITLE)) + TITLE + b"3DI\4\0\x10" + syncsafe(len(TITLE)),
    "all of them": LYRICS + b"%06dLYRICS200" % len(LYRICS) + ape(b"x", header=True) + ID3V1,
}
HEADS = {"id3v2": b"ID3\3\0\0" + syncsafe(len(TITLE)) + TITLE, "two id3v2": (b"ID3\3\0\0" + syncsafe(16) + TITLE) * 2}
PADDING = {"zeros": bytes(4096), "zeros and id3v1": bytes(500) + ID3V1, "noise": NOISE[:3000]}
FRAMES = ("mp3", "mp2", "aac", "ac3", "wv")  # whose frames can be counted, so that any junk is told from them


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    wave = music(3.0)
    return {extension: encode(folder / f"x.{extension}", wave).read_bytes() for extension in ENCODERS}


def decoded(path, data: bytes):
    path.write_bytes(data)
    *_, end = decode_track(Track(str(path), "/", "0" * 16, 0, 0), CutSpec(16_000, 1.0))
    return (end.damaged, end.audio_hash, end.duration_s) if isinstance(end, Decoded) else end.code


@pytest.mark.parametrize("extension", ENCODERS)
def test_tags_and_padding_around_sound_files(tmp_path, plain, extension):
    data = plain[extension]
    expected = decoded(tmp_path / f"plain.{extension}", data)
    assert expected[0] is False
    tails = TAILS | (PADDING if extension in FRAMES else {})
    wrong = {name for name, tail in tails.items() if decoded(tmp_path / f"t.{extension}", data + tail) != expected}
    wrong |= {name for name, head in HEADS.items() if decoded(tmp_path / f"h.{extension}", head + data) != expected}
    assert not wrong


@pytest.mark.parametrize("extension", ["mp3", "aac", "ac3", "flac"])
@pytest.mark.parametrize("junk", [bytes(1000), NOISE[:3000]])
def test_junk_in_front_is_no_damage(tmp_path, plain, extension, junk):
    damaged, _, duration_s = decoded(tmp_path / f"x.{extension}", junk + plain[extension])
    assert not damaged and duration_s == pytest.approx(3.0, abs=0.1)


def test_tags_behind_the_audio_are_still_read(tmp_path, plain):
    path = tmp_path / "x.wv"
    path.write_bytes(plain["wv"] + ID3V1)
    *_, end = decode_track(Track(str(path), "/", "0" * 16, 0, 0), CutSpec(16_000, 1.0))
    assert (end.tags["title"], end.tags["artist"]) == ("A Title", "An Artist")


def audio_end(path, kind: str) -> int:
    with opened(Track(str(path), "/", "0" * 16, 0, 0), whole=True) as file:
        return bounds(file, kind)[1]


@pytest.mark.parametrize("extension", FRAMES)
def test_a_file_that_ends_in_the_midst_of_a_frame_is_left_as_it_is(tmp_path, plain, extension):
    path, kind = tmp_path / f"x.{extension}", "mp3" if extension == "mp2" else extension
    path.write_bytes(plain[extension])
    end = audio_end(path, kind)
    for cut in (1, 7, 100):
        path.write_bytes(plain[extension][: end - cut])
        assert audio_end(path, kind) == end - cut


def test_an_mp3_that_ends_in_silence_keeps_its_last_frames(tmp_path):
    path = encode(tmp_path / "x.mp3", np.concatenate([music(1.0), np.zeros((2, 44_100), np.float32)], axis=1))
    assert audio_end(path, "mp3") == path.stat().st_size
