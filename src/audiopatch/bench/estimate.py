"""How long a library will take, and which settings to take for it."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from audiopatch.amounts import audio
from audiopatch.audio.survey import Survey, survey
from audiopatch.bench.contender import Case
from audiopatch.bench.measure import pareto_front
from audiopatch.bench.sweep import Row, Settings, sweep
from audiopatch.bench.whole import command_of, decode_all, pace, startup_s
from audiopatch.errors import NoAudioError, UsageError
from audiopatch.events import Doing, Note, Observer, silent
from audiopatch.inference.clips import cut_spec, real_segments
from audiopatch.inference.extract import cut_for
from audiopatch.inference.settings import Analysis, Runtime, n_cpus
from audiopatch.models.tagger import Tagger
from audiopatch.types import Segment, Track
from audiopatch.zoo.load import load_model

_PATCHOUTS = ("F0T0", "F3T2", "F3T5", "F3T0", "F3T3", "F4T10")  # where time is short, the first ones count most
_N_TRIALS = 3  # of settings, until the one that is proposed has been tried
_N_TRIED = 500  # tracks that a trial may meet
_N_DECODED = 8
_MEASURE = 0.6  # of the time that is given


@dataclass(frozen=True)
class Choice:
    """One way to run: its measured row, the time it should take in all, and whether a trial run says so."""

    row: Row
    eta_s: float
    tried: bool = False

    @property
    def quality(self) -> float:
        return self.row.quality or 0.0


@dataclass(frozen=True)
class Estimate:
    """What the library holds, the options worth taking from fast to slow, the one to take, and its command line."""

    library: Survey
    options: Sequence[Choice]
    chosen: Choice
    command: str


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user asks for: to be done in ``finish_in_s``, or to keep ``min_quality`` (0..1) of the tags, or both."""

    finish_in_s: float | None = None
    min_quality: float = 0.0

    def choose(self, options: Sequence[Choice]) -> Choice:
        """With a deadline the best quality that meets it, else the fastest that keeps the quality."""
        good = [option for option in options if option.quality >= self.min_quality]
        if not good:
            best = max(options, key=lambda option: option.quality)
            raise UsageError(f"no setting keeps a quality of {self.min_quality:g}; the best here is {best.quality:.3f}")
        timely = [option for option in good if option.eta_s <= (self.finish_in_s or 0)]
        if not timely:
            return min(good, key=lambda option: option.eta_s)
        return max(timely, key=lambda option: (option.quality, -option.eta_s))

    def check(self, chosen: Choice) -> None:
        """UsageError where even the choice comes too late."""
        if self.finish_in_s is not None and chosen.eta_s > self.finish_in_s:
            raise UsageError(
                f"nothing finishes in time: the fastest setting, patchout {chosen.row.patchout} on "
                f"{chosen.row.engine} {chosen.row.dtype}, takes about {_spoken(chosen.eta_s)}; "
                "try --segments 3 or a smaller model"
            )


@dataclass(frozen=True, kw_only=True)
class ToTag:
    """What is to be tagged, and with what: ``folder`` as the user wrote it, ``n_segments`` as ``tag --segments``."""

    tracks: Sequence[Track]
    folder: str
    model: str
    n_segments: int | None = None


def estimate(
    library: ToTag,
    wish: Wish,
    *,
    engines: Sequence[str],
    device: str,
    budget_s: float,
    observer: Observer = silent,
) -> Estimate:
    """Survey the library and measure the options; then choose, try the choice, and choose again if that was news.

    Three fifths of ``budget_s`` go to preparing, timing and judging, a quarter to each trial.
    """
    observer(Doing(f"loading {library.model}"))
    tagger = load_model(library.model, device=device, dtype="float32")
    observer(Doing("reading the headers of some tracks"))
    spec = cut_spec(tagger, n_segments=library.n_segments)
    size = survey(library.tracks, spec)
    if not size.n_segments:
        raise UsageError(f"no header among {size.n_read} of {size.n_tracks} files tells of any audio")
    observer(Note(f"{size.n_tracks} tracks, {audio(size.audio_s)} of audio, about {size.n_segments:.0f} segments"))
    observer(Doing("decoding some of them"))
    some = random.Random(0).sample(list(library.tracks), min(size.n_tracks, _N_TRIED))
    segments = _segments(tagger, some, len(engines) * len(_PATCHOUTS), budget_s / 6)
    rows = _measure(tagger, segments, library.model, engines, device, budget_s, observer)
    sound = [segment.track for segment in segments[:_N_DECODED]]
    pricing = _Pricing(size, spec.segment_s, decode_all(sound, spec).rate)
    options = [Choice(row, pricing.predicted_s(row)) for row in rows]
    for done in range(_N_TRIALS):
        observer(Doing("trial runs", done, _N_TRIALS))
        chosen = wish.choose(options)
        if chosen.tried:
            break
        settings = _settings(chosen.row, library, device, pricing)
        options = _corrected(options, chosen, _tried_s(some, size, *settings, budget_s / 4, segments[0].track))
    chosen = wish.choose(options)
    wish.check(chosen)
    front = pareto_front(options, speed=lambda option: -option.eta_s, quality=lambda option: option.quality)
    command = command_of(library.folder, *_settings(chosen.row, library, device, pricing))
    return Estimate(size, front, chosen, command)


def foresee(
    tracks: Sequence[Track], analysis: Analysis, runtime: Runtime, *, at_most_s: float = 5.0
) -> tuple[Survey, float | None]:
    """What tracks hold, and the seconds that a run over them should take here with these very settings, once started.

    Some of them are analysed for ``at_most_s``. None where nothing among them can be.
    """
    size = survey(tracks, cut_for(load_model(analysis.model, device=runtime.device), analysis))
    some = random.Random(0).sample(list(tracks), min(size.n_tracks, _N_TRIED))
    try:
        return size, size.n_segments / pace(some, analysis, runtime, at_most_s=at_most_s)
    except NoAudioError:
        return size, None


def _measure(
    tagger: Tagger,
    segments: Sequence[Segment],
    model: str,
    engines: Sequence[str],
    device: str,
    budget_s: float,
    observer: Observer,
) -> list[Row]:
    """A row per engine and patchout, as far as they can be made ready in time."""
    cases = [
        Case(model, patchout, engine, dtype or "auto")
        for patchout in (_PATCHOUTS if tagger.grid else _PATCHOUTS[:1])
        for engine, _, dtype in (name.partition(":") for name in engines)
    ]
    settings = Settings(device=device, budget_s=_MEASURE * budget_s, repeats=20)
    rows, _ = sweep(cases, {model: segments}, settings, observer=observer)
    return rows


def _segments(tagger: Tagger, tracks: Sequence[Track], n_cases: int, budget_s: float) -> list[Segment]:
    """As many as can be judged in time, for the measure of quality is coarse: 4 to 48, each of another track."""
    (first,) = real_segments(tagger, tracks, 1)
    wave = torch.from_numpy(first.wave)[None].to(tagger.device)
    with torch.inference_mode():
        tagger(tagger.frontend(wave))
        started = time.perf_counter()
        tagger(tagger.frontend(wave))
    a_case_s = (time.perf_counter() - started) / 3  # reduced ones take less
    return real_segments(tagger, tracks, round(min(48, max(4, budget_s / a_case_s / n_cases))))


@dataclass(frozen=True)
class _Pricing:
    """What options cost before any is tried: the library, the length of a segment, × real time of a decoding core."""

    library: Survey
    segment_s: float
    decode_x: float

    def network_s(self, row: Row) -> float:
        """Seconds of front-end and network."""
        return self.library.n_segments * self.segment_s / 60 / row.minutes_per_s

    def predicted_s(self, row: Row) -> float:
        """Network and decoders share the cores of a CPU, and take turns with nobody on a GPU."""
        decode_s = self.library.audio_s / self.decode_x
        if row.device == "cpu":
            return self.network_s(row) + decode_s / n_cpus()
        return max(self.network_s(row), decode_s / self.n_workers(row))

    def n_workers(self, row: Row) -> int:
        """As many decoders as the network asks for and a few more, but no fewer than ``tag`` would take."""
        needed = self.library.audio_s / self.decode_x / self.network_s(row)
        return min(n_cpus(), max(Runtime().n_workers, math.ceil(1.25 * needed)))


def _settings(row: Row, library: ToTag, device: str, pricing: _Pricing) -> tuple[Analysis, Runtime]:
    analysis = Analysis(model=library.model, patchout=row.patchout, segments=library.n_segments)
    workers = pricing.n_workers(row)
    return analysis, Runtime(device=device, dtype=row.dtype, engine=row.engine, workers=workers)


def _tried_s(
    tracks: Sequence[Track], library: Survey, analysis: Analysis, runtime: Runtime, at_most_s: float, sound_one: Track
) -> float:
    """Seconds for the library, at the pace of a real run over some of its tracks, and with the start of another."""
    segments_per_s = pace(tracks, analysis, runtime, at_most_s=at_most_s)
    return startup_s(sound_one, analysis, runtime) + library.n_segments / segments_per_s


def _corrected(options: Sequence[Choice], tried: Choice, eta_s: float) -> list[Choice]:
    """The options with what a trial of one has shown: its own time, and by how much the others' must be off, too."""
    ratio = eta_s / tried.eta_s
    return [
        replace(option, eta_s=eta_s, tried=True)
        if option is tried
        else option
        if option.tried
        else replace(option, eta_s=option.eta_s * ratio)
        for option in options
    ]


def _spoken(seconds: float) -> str:
    """``40 seconds`` or ``12 minutes``."""
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
