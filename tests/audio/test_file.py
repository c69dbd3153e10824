"""Reading errors are trouble of the moment, whatever a decoder makes of them."""

from __future__ import annotations

import errno
import io
import os

import pytest

from audiopatch.audio import file as audio_file
from audiopatch.audio.decode import decode_track
from audiopatch.audio.file import AudioFile, os_code
from audiopatch.types import CutSpec, Decoded, Failed, Track
from fabricate import encode, music


class Failing(io.FileIO):
    """A file on a disk that fails from some byte on."""

    def __init__(self, path, number: int, at: int):
        super().__init__(path)
        self._number, self._fails_at = number, at

    def read(self, size=-1):
        if self.tell() + max(size, 0) > self._fails_at:
            raise OSError(self._number, os.strerror(self._number))
        return super().read(size)


def outcome(path, n_segments=None):
    track = Track(str(path), "/", "0" * 16, 0, 0)
    *_, end = decode_track(track, CutSpec(16_000, 1.0, n_segments=n_segments))
    return end


@pytest.mark.parametrize("extension", ["wav", "mp3", "flac", "ogg", "opus", "m4a", "wma", "aac", "ac3", "wv", "mka"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_file_read_in_part_is_a_failure_and_no_damage(tmp_path, monkeypatch, extension, number):
    path = encode(tmp_path / f"x.{extension}", music(5.0))
    for share in (0.0, 0.3, 0.6, 0.95):
        at = int(share * path.stat().st_size)
        monkeypatch.setattr(audio_file, "open", lambda *args, at=at, **kwargs: Failing(path, number, at), raising=False)
        for n_segments in (None, 2):
            end = outcome(path, n_segments)
            assert isinstance(end, Failed) and end.code == "E_IO", (share, end)
    monkeypatch.undo()
    assert isinstance(outcome(path), Decoded)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOTCONN, errno.EBUSY])
def test_what_keeps_a_file_from_being_opened(tmp_path, monkeypatch, number):
    path = encode(tmp_path / "x.wav", music(1.0))

    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(audio_file, "open", refuse, raising=False)
    end = outcome(path)
    assert (end.code, end.message) == ("E_IO", os.strerror(number))


def test_codes_say_whether_it_is_the_file():
    assert os_code(OSError(errno.ELOOP, "")) == os_code(OSError(errno.ENAMETOOLONG, "")) == "E_DECODE"
    assert os_code(PermissionError()) == "E_PERM" and os_code(FileNotFoundError()) == "E_VANISHED"
    assert os_code(TimeoutError()) == "E_NETWORK" and os_code(OSError("shorter than it was")) == "E_IO"


def test_a_part_of_a_file_reads_as_a_file(tmp_path):
    file = AudioFile(io.BytesIO(b"0123456789"), name="x", size_bytes=10)
    file.narrow(2, 8)
    assert file.read() == b"234567" and file.read() == b""
    assert file.seek(-2, os.SEEK_END) == 4 and file.read(9) == b"67"
    assert file.peek(0, 3) == b"012" and file.tell() == 6
    assert io.BufferedReader(file).read(2) == b""
