"""The length of an Ogg file, by its first and last pages alone where these can tell."""

from __future__ import annotations

from contextlib import closing

import pytest

from audiopatch.audio.av_source import AvSource
from audiopatch.audio.file import AudioFile
from audiopatch.audio.ogg import is_one_stream
from fabricate import encode, music


class Counted:
    """Bytes of a file that is elsewhere; ``n_read`` of them were asked for."""

    def __init__(self, path):
        self._file, self.n_read = path.open("rb"), 0
        self.seek, self.close = self._file.seek, self._file.close

    def read(self, size: int) -> bytes:
        found = self._file.read(size)
        self.n_read += len(found)
        return found


def measured(path, *, whole: bool) -> tuple[float, int]:
    """(seconds, bytes read)"""
    raw = Counted(path)
    size_bytes = path.stat().st_size
    with AudioFile(raw, name=path.name, size_bytes=size_bytes, whole=whole) as file, closing(AvSource(file)) as source:
        return source.measure(lambda: None), raw.n_read


@pytest.mark.parametrize(("extension", "seconds"), [("ogg", 0.5), ("ogg", 12.3), ("opus", 0.5), ("opus", 61.3)])
def test_the_last_page_tells_what_reading_all_does(tmp_path, extension, seconds):
    path = encode(tmp_path / f"a.{extension}", music(seconds, n_channels=1))
    (by_pages_s, n_read), (by_packets_s, n_all) = measured(path, whole=False), measured(path, whole=True)
    assert by_pages_s == pytest.approx(by_packets_s, abs=1e-6)
    assert n_read < 0.5 * n_all or seconds < 60


@pytest.mark.parametrize("extension", ["ogg", "opus"])
def test_joined_files_are_read_to_their_end(tmp_path, extension):
    parts = [encode(tmp_path / f"{seed}.{extension}", music(3.0, seed=seed)) for seed in (1, 2)]
    joined = tmp_path / f"joined.{extension}"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert measured(joined, whole=False)[0] == measured(joined, whole=True)[0] == pytest.approx(6.0, abs=0.1)


def test_a_file_that_ends_within_the_packet_before_its_last_one(tmp_path):
    """Short sounds of games do: FFmpeg gives their last packet a negative duration, as a number without sign."""
    path = encode(tmp_path / "a.ogg", music(0.5))
    data = bytearray(path.read_bytes())
    last = data.rindex(b"OggS")
    n_samples = int.from_bytes(data[last + 6 : last + 14], "little")
    data[last + 6 : last + 14] = (n_samples - 3000).to_bytes(8, "little")
    data[last + 22 : last + 26] = bytes(4)
    data[last + 22 : last + 26] = _checksum(data[last:]).to_bytes(4, "little")
    path.write_bytes(data)
    for whole in (False, True):
        assert measured(path, whole=whole)[0] == pytest.approx(n_samples / 44_100, abs=0.1)


def _checksum(page: bytes) -> int:
    """Of an Ogg page whose own field is zero (RFC 3533, section 6)."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


@pytest.mark.parametrize(
    ("serials", "is_one"),
    [
        ((1, 1, 1, 1), True),
        ((1, 2, 1, 2), False),
        ((1, 2, 2, 1), False),
        ((1, 1, 2, 2), False),
        ((1,), False),
        ((), False),
    ],
)
def test_serial_numbers_tell_whether_there_is_one_stream(tmp_path, serials, is_one):
    pages = [b"OggS" + bytes(10) + serial.to_bytes(4, "little") + bytes(40) for serial in serials]
    (tmp_path / "a").write_bytes(b"".join(pages) or b"no pages")
    raw = Counted(tmp_path / "a")
    with AudioFile(raw, name="a", size_bytes=(tmp_path / "a").stat().st_size) as file:
        assert is_one_stream(file) == is_one
