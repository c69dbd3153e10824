"""What every decoder offers: a header, mono blocks at the file's own rate, and an account of what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from audiopatch.errors import TrackError
from audiopatch.storage.reader import RemoteFile

# Rates outside this are lies of a damaged header, and would make the resampler allocate without bound.
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 6_144_000


File = str | RemoteFile  # what a source opens: a path, or an open file that is elsewhere


class Block(NamedTuple):
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


class Refused(TrackError):
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

    def blocks(self) -> Iterator[Block]:
        """The whole track from its first sample, whatever was read before."""
        ...

    def measure(self, beat: Callable[[], None]) -> float:
        """Seconds of audio, by reading to the end as cheaply as the format allows; ``beat`` is called now and then."""
        ...

    @property
    def seekable(self) -> bool:
        """Whether ``blocks_from`` gives exactly the samples ``blocks`` would."""
        ...

    def blocks_from(self, position: int) -> Iterator[Block]:
        """The track from native sample ``position`` on."""
        ...

    def audio_hash(self) -> str | None:
        """32 hex digits naming the audio, whatever its tags; valid once ``blocks`` or ``measure`` has ended.

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


def mono(channels: Sequence[np.ndarray]) -> np.ndarray:
    """channels C x (S,) of one PCM type -> mean over channels (S,) float32 in [-1, 1].

    The mean of the channels, not FFmpeg's own mono downmix, which is 3 dB louder than what models were trained on.
    """
    total = channels[0].astype(np.float32)
    for channel in channels[1:]:
        total += channel
    total /= len(channels)
    pcm = channels[0].dtype
    if pcm == np.uint8:  # unsigned PCM rests at 128
        return (total - 128) / 128
    if pcm.kind == "i":
        total /= -float(np.iinfo(pcm).min)
    return total


def is_believable(sample_rate: int) -> bool:
    return MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE


def check_rate(sample_rate: int) -> None:
    """Refuse a file whose header tells a sample rate no recording has."""
    if not is_believable(sample_rate):
        raise Refused("E_DECODE", "open", f"not a believable sample rate: {sample_rate} Hz")


# Beyond this a float sample is a flipped exponent, not music (a float file at 16-bit scale stays below it).
_MAX_SAMPLE = 65_536.0


def silence_nonsense(wave: np.ndarray) -> int:
    """Put zeros, in place, where wave (S,) is NaN, infinite or absurdly large; how many samples that were."""
    with np.errstate(invalid="ignore"):
        if np.abs(wave).max(initial=0.0) <= _MAX_SAMPLE:  # False for NaN too
            return 0
        nonsense = ~(np.abs(wave) <= _MAX_SAMPLE)
    wave[nonsense] = 0.0
    return int(nonsense.sum())


_TAG_NAMES = ("artist", "album", "title", "genre")


def own_tags(metadata: Mapping[str, str]) -> dict[str, str]:
    """A file's artist, album, title, genre where it has them, at a length a table can bear."""
    found = {key.lower(): value.replace("\0", " ").strip() for key, value in metadata.items()}
    return {name: found[name][:1000] for name in _TAG_NAMES if found.get(name)}
