"""Decode one track into segments: the decoders in turn, until one of them finds audio."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from audiopatch.audio.av_source import PRE_ROLL_S, AvSource
from audiopatch.audio.cut import Cutter, Picker, Resampler, segment_starts
from audiopatch.audio.fallbacks import FfmpegSource, SoundfileSource
from audiopatch.audio.file import AudioFile, opened, os_code
from audiopatch.audio.source import Damage, DecodedBlock, DecoderRefused, Source, silence_nonsense
from audiopatch.errors import TrackError
from audiopatch.types import CutSpec, Decoded, Failed, Segment, Track

# Tried in this order. FFmpeg is first because it goes on after a bad packet, where libsndfile silently stops.
DECODERS: dict[str, Callable[[AudioFile], Source]] = {
    "av": AvSource,
    "soundfile": SoundfileSource,
    "ffmpeg": FfmpegSource,
}
# Below this share of the declared duration a track counts as damaged (declared durations are often a little off).
_MIN_COVERAGE = 0.9


Outcome = Segment | Decoded | Failed


def _no_beat() -> None: ...


def decode_track(track: Track, spec: CutSpec, beat: Callable[[], None] = _no_beat) -> Generator[Outcome]:
    """The segments of one track in order, then exactly one ``Decoded`` or ``Failed``; raises nothing for a bad file.

    Memory does not grow with the track's length. With ``spec.n_segments`` only those regions are decoded where the
    format can be cut exactly. ``beat`` is called now and then during long stretches that give no segment.
    NaN, infinite and absurd samples become zeros and count as damage: one such sample should not cost a track its
    other minutes. A track that is mostly such samples fails with E_NAN.
    """
    decode_s = 0.0
    with closing(_outcomes(track, spec, beat)) as outcomes:
        while True:
            began = time.thread_time()
            outcome = next(outcomes)
            decode_s += time.thread_time() - began
            if not isinstance(outcome, Segment):
                yield replace(outcome, decode_s=decode_s)
                return
            yield outcome


def _outcomes(track: Track, spec: CutSpec, beat: Callable[[], None]) -> Generator[Outcome]:
    tried: list[str] = []
    try:
        with opened(track, whole=spec.n_segments is None) as file:
            yield from _first_that_works(track, file, spec, tried, beat)
    except TrackError as error:
        yield Failed(track, error.code, error.stage, str(error), tuple(tried))
    except MemoryError:
        yield Failed(track, "E_OOM", "decode", "not enough memory to decode it", tuple(tried))
    except OSError as error:
        yield Failed(track, os_code(error), "decode", error.strerror or str(error), tuple(tried))
    except Exception as error:  # whatever it is, it is one bad row
        if _is_of_a_decoder(error):  # which a hostile file may drive anywhere
            yield Failed(track, "E_DECODE", "decode", f"{type(error).__name__}: {error}", tuple(tried))
        else:  # a mistake of ours, which no file is to be blamed for
            yield Failed(track, "E_INTERNAL", "decode", traceback.format_exc().strip(), tuple(tried))


def _first_that_works(
    track: Track, file: AudioFile, spec: CutSpec, tried: list[str], beat: Callable[[], None]
) -> Iterator[Outcome]:
    """Outcomes of the first decoder that finds audio; when none does, the first one's reason is raised."""
    reasons: list[TrackError] = []
    for name, open_source in DECODERS.items():
        tried.append(name)
        n_delivered = 0
        try:
            for outcome in _attempt(track, spec, lambda: open_source(file), tried, beat):  # noqa: B023 (called at once)
                if isinstance(outcome, Decoded) and file.trouble is not None:  # taken for the end, or for damage
                    raise file.trouble
                yield outcome
                n_delivered += 1
            return
        except TrackError as error:
            if file.trouble is not None:
                raise file.trouble from None
            if n_delivered or isinstance(error, DecoderRefused):
                raise
            reasons.append(error)
    raise reasons[0]


def _attempt(
    track: Track, spec: CutSpec, open_source: Callable[[], Source], tried: list[str], beat: Callable[[], None]
) -> Iterator[Outcome]:
    """One decoder's segments and report; raises ``TrackError`` where it finds no usable audio."""
    rate, tally, n_segments = spec.sample_rate, Tally(), 0
    with closing(open_source()) as source:
        for start, wave in _cuts(source, spec, tally, beat):
            if wave.size < spec.min_s * rate:  # the whole track, or what a damaged end left of a chosen segment
                continue
            yield Segment(track, n_segments, start / rate, (start + wave.size) / rate, wave)
            n_segments += 1
        if n_segments == 0:
            raise _nothing_usable(source, spec, tally)
        _refuse_garbage(source.damage, tally)
        yield _report(track, source, tally, n_segments, tuple(tried))


@dataclass
class Tally:
    """What went through: native samples, how many were nonsense, seconds of the track accounted for."""

    n_samples: int = 0
    n_nonsense: int = 0
    duration_s: float = 0.0


def _cuts(source: Source, spec: CutSpec, tally: Tally, beat: Callable[[], None]) -> Iterator[tuple[int, np.ndarray]]:
    """(start, wave) of every segment the spec asks for, at its rate, reading as little of the file as it allows."""
    if spec.n_segments is None:
        return _cut(_chunks(source.blocks(), spec.sample_rate, tally), Cutter(spec))
    measured_s = source.measure(beat)
    starts = segment_starts(round(measured_s * spec.sample_rate), spec)
    if starts == segment_starts(round(measured_s * spec.sample_rate), replace(spec, n_segments=None)):
        return _cut(_chunks(source.blocks(), spec.sample_rate, tally), Cutter(spec))
    if source.seekable:
        return _regions(source, starts, spec, tally, measured_s)
    return _cut(_chunks(source.blocks(), spec.sample_rate, tally), Picker(starts, spec.segment_samples))


def _cut(chunks: Iterator[np.ndarray], cutter: Cutter | Picker) -> Iterator[tuple[int, np.ndarray]]:
    for chunk in chunks:
        yield from cutter.feed(chunk)
    yield from cutter.finish()


def _chunks(blocks: Iterator[DecodedBlock], sample_rate: int, tally: Tally) -> Generator[np.ndarray]:
    """Native blocks -> chunks (S,) at ``sample_rate``, nonsense silenced before the resampler can smear it."""
    resampler = Resampler(sample_rate)
    for block in blocks:
        tally.n_samples += block.wave.size
        tally.n_nonsense += silence_nonsense(block.wave)
        tally.duration_s += block.wave.size / block.sample_rate
        yield from resampler.feed(block)
    yield from resampler.finish()


def _regions(
    source: Source, starts: list[int], spec: CutSpec, tally: Tally, measured_s: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Segments at ``starts``, each decoded alone and equal to the same cut of the whole track.

    The resampler must begin on a native sample that falls exactly on a sample of the model's rate (every 441st for
    44.1 kHz to 16 kHz), early enough for its filter to have filled.
    """
    common = gcd(source.header.sample_rate, spec.sample_rate)
    native_unit, unit = source.header.sample_rate // common, spec.sample_rate // common
    for start in starts:
        n_units = max(0, start - round(PRE_ROLL_S * spec.sample_rate)) // unit
        skip = start - n_units * unit
        picker = Picker([skip], spec.segment_samples)
        with closing(_chunks(source.blocks_from(n_units * native_unit), spec.sample_rate, tally)) as chunks:
            for _, wave in _cut(chunks, picker):
                yield start, wave
                break
    tally.duration_s = measured_s


def _refuse_garbage(damage: Damage, tally: Tally) -> None:
    """What decodes by accident: random bytes pass for MP3, and text for AMR, if one packet in a few will do."""
    if damage.n_errors > damage.n_good > 0:
        text = f"{damage.n_errors} packets fail to decode and only {damage.n_good} do not{_because(damage)}"
        raise DecoderRefused("E_DECODE", "decode", text)
    if tally.n_nonsense > tally.n_samples / 2:
        raise DecoderRefused("E_NAN", "decode", f"{tally.n_nonsense} of {tally.n_samples} samples are not numbers")


def _nothing_usable(source: Source, spec: CutSpec, tally: Tally) -> TrackError:
    """Why a file that opened gave no segment: no audio at all, too little of it, or cut off before any."""
    declared_s, damage = source.header.declared_s or 0.0, source.damage
    _refuse_garbage(damage, tally)
    if declared_s > 2 * max(spec.min_s, tally.duration_s) and not damage.n_errors:
        text = f"{tally.duration_s * 1000:.0f} ms of audio where the header promises {declared_s:.1f} s"
        return TrackError("E_TRUNCATED", "decode", text)
    if tally.n_samples and not damage.n_errors:
        return too_short(tally.duration_s, spec)
    return TrackError("E_EMPTY", "decode", f"no audio in it that can be decoded{_because(damage)}")


def too_short(duration_s: float, spec: CutSpec) -> DecoderRefused:
    """What is said of sound audio that the model cannot take, wherever it came from."""
    text = f"{duration_s * 1000:.0f} ms of audio; the model needs {spec.min_s * 1000:.0f} ms"
    return DecoderRefused("E_TOO_SHORT", "decode", text)


def _is_of_a_decoder(error: BaseException) -> bool:
    """Whether it was raised inside of a library that decodes."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    module = frame.tb_frame.f_globals.get("__name__", "") if frame is not None else ""
    return module.split(".")[0] in ("av", "soundfile") or type(error).__module__.split(".")[0] in ("av", "soundfile")


def _because(damage: Damage) -> str:
    return f" (first error: {damage.message})" if damage.message else ""


def _report(track: Track, source: Source, tally: Tally, n_segments: int, tried: tuple[str, ...]) -> Decoded:
    header, damage = source.header, source.damage
    if tally.n_nonsense:
        damage.add(f"{tally.n_nonsense} samples were not numbers; silenced")
    coverage = min(1.0, tally.duration_s / header.declared_s) if header.declared_s else 1.0
    message = damage.message
    if coverage < _MIN_COVERAGE and not message:
        message = f"decoded {tally.duration_s:.1f} s of the {header.declared_s:.1f} s its header declares"
    return Decoded(
        track,
        n_segments=n_segments,
        duration_s=tally.duration_s,
        sample_rate=header.sample_rate,
        channels=header.channels,
        codec=header.codec,
        audio_hash=source.audio_hash(),
        damaged=damage.n_errors > 0 or coverage < _MIN_COVERAGE,
        n_errors=damage.n_errors,
        coverage=coverage,
        decoders_tried=tried,
        message=message,
        tags=header.tags,
    )
