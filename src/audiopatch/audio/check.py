"""Which decoders work here and which formats each opens: tried on files made on the spot, not read off a list."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import av
import numpy as np

from audiopatch.audio.decode import DECODERS
from audiopatch.audio.file import opened
from audiopatch.errors import TrackError
from audiopatch.types import Track

# extension -> FFmpeg encoder that PyAV's wheels carry; Ogg Vorbis has none there and is written by libsndfile
_SAMPLES = {
    "wav": "pcm_s16le",
    "aiff": "pcm_s16be",
    "flac": "flac",
    "mp3": "libmp3lame",
    "ogg": "vorbis",
    "opus": "libopus",
    "m4a": "aac",
    "aac": "aac",
    "wma": "wmav2",
    "wv": "wavpack",
    "tta": "tta",
    "mka": "flac",
    "ac3": "ac3",
}
_RATE, _SECONDS = 48_000, 1


@dataclass(frozen=True)
class DecoderCheck:
    """One decoder: its version or None where it is missing, and which of the formats made here it opened."""

    name: str
    version: str | None
    formats: dict[str, bool]


def check_decoders() -> list[DecoderCheck]:
    """Try every decoder on a second of sound in every format that can be encoded here, in order of use."""
    with tempfile.TemporaryDirectory() as folder:
        made = [path for path in (_make(Path(folder), *sample) for sample in _SAMPLES.items()) if path is not None]
        return [
            DecoderCheck(name, _version(name), {path.suffix[1:]: _opens(name, path) for path in made})
            for name in DECODERS
        ]


def _make(folder: Path, extension: str, encoder: str) -> Path | None:
    """A second of a tone; None where this machine cannot encode the format."""
    path = folder / f"tone.{extension}"
    tone = (0.3 * np.sin(np.arange(_RATE * _SECONDS) * 2 * np.pi * 440 / _RATE)).astype(np.float32)
    try:
        if encoder == "vorbis":
            import soundfile

            soundfile.write(path, tone, _RATE)
            return path
        with av.open(str(path), "w") as container:
            stream = container.add_stream(encoder, rate=_RATE, layout="mono")
            assert isinstance(stream, av.AudioStream)
            stream.bit_rate = 96_000
            frame = av.AudioFrame.from_ndarray(tone[np.newaxis], format="fltp", layout="mono")
            frame.sample_rate = _RATE
            for packets in (stream.encode(frame), stream.encode(None)):
                container.mux(packets)
        return path
    except (ImportError, OSError, ValueError, RuntimeError, av.FFmpegError):
        return None


def _opens(decoder: str, path: Path) -> bool:
    """Whether the decoder gives at least nine tenths of the sound back."""
    try:
        with opened(Track(str(path), "", "", 0, 0), whole=True) as file, closing(DECODERS[decoder](file)) as source:
            return sum(block.wave.size / block.sample_rate for block in source.blocks()) > 0.9 * _SECONDS
    except (TrackError, ImportError, OSError):
        return False


def _version(decoder: str) -> str | None:
    if decoder == "ffmpeg":
        return shutil.which("ffmpeg")
    try:
        return version(decoder)
    except PackageNotFoundError:
        return None
