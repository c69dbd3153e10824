"""What every decoder offers: a header, mono blocks at the file's own rate, and an account of what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from audiopatch.errors import TrackError

if TYPE_CHECKING:
    from av import AudioFrame

# Rates outside this are lies of a damaged header, and would make the resampler allocate without bound.
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 6_144_000


class DecodedBlock(NamedTuple):
    """Some consecutive samples: ``wave`` (S,) float32 mono at ``sample_rate`` Hz, which may change within a file."""

    sample_rate: int
    wave: np.ndarray


@dataclass(frozen=True)
class Header:
    """What a file says of itself before any audio is decoded; ``declared_s`` is None where it does not say."""

    sample_rate: int
    channels: int
    codec: str
    declared_s: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


class DecoderRefused(TrackError):
    """A file that is understood well enough to say that no other decoder should be asked."""


@dataclass
class Damage:
    """Counts what could be decoded and what not; keeps the first reason, which is the one nearest to the cause."""

    n_good: int = 0
    n_errors: int = 0
    message: str = ""

    def add(self, reason: object, count: int = 1) -> None:
        self.n_errors += count
        self.message = self.message or str(reason)


class Source(Protocol):
    """One open file. Opening raises ``TrackError`` (stage open); after that, trouble is counted in ``damage``."""

    header: Header
    damage: Damage

    def blocks(self) -> Iterator[DecodedBlock]:
        """The whole track from its first sample, whatever was read before."""
        ...

    def measure(self, beat: Callable[[], None]) -> float:
        """Seconds of audio, by reading to the end as cheaply as the format allows; ``beat`` is called now and then."""
        ...

    @property
    def seekable(self) -> bool:
        """Whether ``blocks_from`` gives exactly the samples ``blocks`` would."""
        ...

    def blocks_from(self, position: int) -> Iterator[DecodedBlock]:
        """The track from native sample ``position`` on."""
        ...

    def audio_hash(self) -> str | None:
        """``v2:`` and 32 hex digits naming the audio, whatever its tags; valid after ``blocks`` or ``measure``.

        None where that would have taken reading more than was asked for.
        """
        ...

    def close(self) -> None: ...


def measure_by_decoding(source: Source, beat: Callable[[], None]) -> float:
    """Seconds of audio where nothing short of decoding can tell."""
    duration_s = 0.0
    for block in source.blocks():
        duration_s += block.wave.size / block.sample_rate
        beat()
    return duration_s


# ITU-R BS.775: what a channel counts for in a stereo mix, whose two sides are then averaged. The low-frequency effects
# are left out; places that are not listed here are at the sides, at the back or above.
_IN_THE_MIX = {"FL": 0.5, "FR": 0.5, "FC": 0.5**0.5, "LFE": 0.0, "LFE2": 0.0}
_AROUND = 0.5**1.5
_NO_PLACE = "NONE"
# What as many channels are taken for where a file does not tell: 5.1 and 7.1.
_USUAL = {6: ("FL", "FR", "FC", "LFE", "BL", "BR"), 8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR")}
# Two channels whose mean has less than this share of the energy of one are the same, one of them turned over.
_OPPOSITE = 0.01


def mono(channels: Sequence[np.ndarray] | np.ndarray, places: Sequence[str] = ()) -> np.ndarray:
    """channels C x (S,) of one PCM type -> (S,) float32 in [-1, 1]: their mean, at most as loud as the loudest.

    The mean of the channels, not FFmpeg's own mono downmix, which is 3 dB louder than what models were trained on.
    Surround sound is weighted by the ``places`` (FFmpeg's names) of its channels, where it tells them. Of two channels
    that are opposite (a cable wired the wrong way round) the first is taken: their mean would be silence.
    """
    weights = _weights(len(channels), places)
    total = channels[0].astype(np.float32)
    if weights is None:
        for channel in channels[1:]:
            total += channel
        total /= len(channels)
    else:
        total *= weights[0]
        for channel, weight in zip(channels[1:], weights[1:], strict=True):
            total += channel * np.float32(weight)
    wave = _scaled(total, channels[0].dtype)
    return _scaled(channels[0].astype(np.float32), channels[0].dtype) if _cancel(channels, wave) else wave


def _weights(n_channels: int, places: Sequence[str]) -> np.ndarray | None:
    """What each channel counts for, 1 in all; None where all count the same."""
    if len(places) != n_channels or _NO_PLACE in places:
        places = _USUAL.get(n_channels, ())
    if n_channels < 3 or not places:
        return None
    weights = np.array([_IN_THE_MIX.get(place, _AROUND) for place in places])
    return weights / weights.sum() if weights.sum() > 0 else None


def _scaled(wave: np.ndarray, pcm: np.dtype) -> np.ndarray:
    """wave (S,) float32 in units of a PCM type -> in [-1, 1]."""
    if pcm == np.uint8:  # unsigned PCM rests at 128
        return (wave - 128) / 128
    return wave / -float(np.iinfo(pcm).min) if pcm.kind == "i" else wave


def _cancel(channels: Sequence[np.ndarray] | np.ndarray, mean: np.ndarray) -> bool:
    """Whether the mean of two channels has lost next to all of what the first one holds."""
    if len(channels) != 2 or not mean.size:
        return False
    with np.errstate(all="ignore"):  # float files may hold anything
        energy = float(np.dot(mean, mean)) / mean.size
        if not energy < _OPPOSITE:  # no sample is louder than 1
            return False
        first = _scaled(channels[0].astype(np.float32), channels[0].dtype)
        return energy < _OPPOSITE * float(np.dot(first, first)) / first.size


def is_believable(sample_rate: int) -> bool:
    return MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE


def check_rate(sample_rate: int) -> None:
    """Refuse a file whose header tells a sample rate no recording has."""
    if not is_believable(sample_rate):
        raise DecoderRefused("E_DECODE", "open", f"not a believable sample rate: {sample_rate} Hz")


# Beyond this a float sample is a flipped exponent, not music (a float file at 16-bit scale stays below it).
_MAX_SAMPLE = 65_536.0


def silence_nonsense(wave: np.ndarray) -> int:
    """Put zeros, in place, where wave (S,) is NaN, infinite or absurdly large; how many samples that were."""
    with np.errstate(all="ignore"):
        if np.dot(wave, wave) <= _MAX_SAMPLE**2:  # then none is larger; False for NaN
            return 0
        nonsense = ~(np.abs(wave) <= _MAX_SAMPLE)
    wave[nonsense] = 0.0
    return int(nonsense.sum())


# Hashes say what they are of: v2 is of all packets between the tags. Rows of before have the MD5 that FLAC files
# state, and hashes that took in tags behind the audio.
_HASH_VERSION = "v2"


def named_hash(digest: Any) -> str:
    """The digest (``hashlib``) of a file's audio as ``audio_hash`` has it."""
    return f"{_HASH_VERSION}:{digest.hexdigest()}"


_TAG_NAMES = ("artist", "album", "title", "genre")


def own_tags(metadata: Mapping[str, str]) -> dict[str, str]:
    """A file's artist, album, title, genre where it has them, as text that is text, at a length a table can bear."""
    sound = {key: value.encode(errors="surrogateescape").decode(errors="replace") for key, value in metadata.items()}
    found = {key.lower(): value.replace("\0", " ").strip() for key, value in sound.items()}
    return {name: found[name][:1000] for name in _TAG_NAMES if found.get(name)}


_PCM = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64}


def planes_of(frames: list[AudioFrame]) -> list[np.ndarray]:
    """Frames of one kind -> a plane (S,) per channel, or one (S * C,) with the samples of all channels side by side.

    Read straight from the buffers: ``to_ndarray`` takes six times as long per frame, which a decoded MP3 notices.
    """
    form = frames[0].format
    n_channels = frames[0].layout.nb_channels
    n_planes, width = (n_channels, 1) if form.is_planar else (1, n_channels)
    pcm = np.dtype(_PCM[form.name.removesuffix("p")])
    pieces = [
        # beyond eight planes PyAV counts some that are none
        [memoryview(plane)[: frame.samples * width * pcm.itemsize] for plane in frame.planes[:n_planes]]  # type: ignore[arg-type]
        for frame in frames
    ]
    return [np.frombuffer(b"".join(plane), pcm) for plane in zip(*pieces, strict=True)]
