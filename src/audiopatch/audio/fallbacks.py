"""The second opinions on files that FFmpeg inside PyAV will not open: libsndfile, the ffmpeg command line."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from io import BufferedReader

import numpy as np

from audiopatch.audio.file import AudioFile
from audiopatch.audio.source import (
    Damage,
    DecodedBlock,
    Header,
    check_rate,
    measure_by_decoding,
    mono,
    named_hash,
    own_tags,
)
from audiopatch.errors import TrackError


class SoundfileSource:
    """One file opened by libsndfile. Raises ``TrackError`` (stage open) for what cannot be opened."""

    def __init__(self, file: AudioFile):
        import soundfile  # only when FFmpeg has failed

        self.damage = Damage()
        file.narrow(0, file.size_bytes)
        self._error = soundfile.LibsndfileError
        self._hash = hashlib.blake2b(digest_size=16)
        self._reader = BufferedReader(file)  # libsndfile takes a short read for the end, so it is given none
        try:
            self._file = soundfile.SoundFile(self._reader)
        except (self._error, OSError, ValueError) as error:
            self._reader.detach()
            raise TrackError("E_DECODE", "open", f"libsndfile cannot open it: {error}") from None
        check_rate(self._file.samplerate)
        rate, tags = self._file.samplerate, own_tags(self._file.copy_metadata())
        self.header: Header = Header(
            rate, self._file.channels, self._file.subtype.lower(), self._file.frames / rate, tags
        )

    seekable = False  # it could be, but a fallback need not be fast

    def measure(self, beat: Callable[[], None]) -> float:
        """Seconds of audio."""
        return measure_by_decoding(self, beat)

    def blocks_from(self, position: int) -> Iterator[DecodedBlock]:
        """Not offered."""
        raise NotImplementedError

    def blocks(self) -> Iterator[DecodedBlock]:
        """The whole track from its first sample, a second at a time."""
        rate = self.header.sample_rate
        try:
            self._file.seek(0)
        except self._error as error:
            raise TrackError("E_DECODE", "decode", f"libsndfile cannot read it: {error}") from None
        self.damage: Damage = Damage()
        self._hash = hashlib.blake2b(digest_size=16)
        while True:
            try:
                channels = self._file.read(rate, dtype="float32", always_2d=True)  # (S, C)
            except (self._error, OSError) as error:
                self.damage.add(error)
                return
            if not channels.size:
                return
            self._hash.update(channels.data)
            self.damage.n_good += 1
            yield DecodedBlock(rate, mono(channels.T))

    def audio_hash(self) -> str:
        """A hash of the decoded samples: libsndfile shows no packets."""
        return named_hash(self._hash)

    def close(self) -> None:
        self._file.close()
        self._reader.detach()  # which would close the file with it


# The command converts to one known shape, since a pipe carries no header: stereo, averaged by us as elsewhere.
_RATE = 48_000
_QUIET = ["-nostdin", "-hide_banner", "-loglevel", "error", "-protocol_whitelist", "file,pipe"]
_SHAPE = ["-map", "0:a:0", "-f", "f32le", "-ac", "2", "-ar", str(_RATE)]


class FfmpegSource:
    """One file decoded by an ``ffmpeg`` process. Raises ``TrackError`` (stage open) where there is no such command."""

    seekable = False
    header: Header = Header(_RATE, 2, "ffmpeg")

    def __init__(self, file: AudioFile):
        if file.path is None:
            raise TrackError("E_DECODE", "open", "the ffmpeg command is given files of this machine only")
        command = shutil.which("ffmpeg")
        if command is None:
            raise TrackError("E_DECODE", "open", "no ffmpeg command to try")
        self.damage = Damage()
        self._command = [command, *_QUIET, "-i", f"file:{file.path}", *_SHAPE, "pipe:1"]
        self._hash = hashlib.blake2b(digest_size=16)

    def measure(self, beat: Callable[[], None]) -> float:
        """Seconds of audio."""
        return measure_by_decoding(self, beat)

    def blocks_from(self, position: int) -> Iterator[DecodedBlock]:
        """Not offered."""
        raise NotImplementedError

    def blocks(self) -> Iterator[DecodedBlock]:
        """The whole track from its first sample, a second at a time."""
        self.damage: Damage = Damage()
        self._hash = hashlib.blake2b(digest_size=16)
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints
            )
            try:
                assert process.stdout is not None
                while data := process.stdout.read(_RATE * 8):
                    self._hash.update(data)
                    self.damage.n_good += 1
                    stereo = np.frombuffer(data, np.float32, len(data) // 8 * 2).reshape(-1, 2)
                    yield DecodedBlock(_RATE, mono(list(stereo.T)))
                if process.wait() != 0:
                    complaints.seek(0)
                    said = complaints.read(4000).decode(errors="replace").strip().splitlines()
                    self.damage.add(said[-1] if said else "ffmpeg failed")
            finally:
                process.kill()
                process.communicate()

    def audio_hash(self) -> str:
        """A hash of the decoded samples."""
        return named_hash(self._hash)

    def close(self) -> None:
        """Nothing is open between passes."""
