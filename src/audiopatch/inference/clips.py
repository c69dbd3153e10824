"""Audio outside of a run, as the engine of a run sees it: clips at hand through all of it, tracks cut alone."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from audiopatch.audio.cut import Resampler, segment_starts
from audiopatch.audio.decode import Outcome, decode_track, too_short
from audiopatch.audio.source import DecodedBlock, silence_nonsense
from audiopatch.errors import UsageError
from audiopatch.inference.extract import cut_for
from audiopatch.inference.settings import TOKENS, Analysis, Stack
from audiopatch.inference.stages import Stages
from audiopatch.models.tagger import Tagger
from audiopatch.types import CutSpec, Decoded, Failed, Segment, Track, TrackRow


@dataclass(frozen=True)
class ClipRows:
    """What became of each clip, in their order: a row, or why there is none."""

    rows: tuple[TrackRow | Failed, ...]

    @property
    def kept(self) -> np.ndarray:
        """(N,) bool, False for a clip that gave nothing."""
        return np.array([isinstance(row, TrackRow) for row in self.rows], bool)

    @property
    def failed(self) -> dict[int, Failed]:
        """The others, by their number."""
        return {number: row for number, row in enumerate(self.rows) if isinstance(row, Failed)}

    @property
    def scores(self) -> np.ndarray:
        """(kept, C) float32."""
        return self._stacked([row.scores for row in self.rows if isinstance(row, TrackRow)])

    @property
    def embeddings(self) -> np.ndarray:
        """(kept, E) float32."""
        return self._stacked([row.embedding for row in self.rows if isinstance(row, TrackRow)])

    def require_all(self, names: Sequence[object]) -> ClipRows:
        """Itself, where every clip gave a row; else a UsageError that tells of the first one that did not."""
        for number, row in self.failed.items():
            raise UsageError(f"{names[number]} cannot be used: {row.message}; leave it out")
        return self

    def _stacked(self, vectors: list[np.ndarray | None]) -> np.ndarray:
        present = [vector for vector in vectors if vector is not None]
        return np.stack(present).astype(np.float32) if present else np.empty((0, 0), np.float32)


def clip_rows(
    tagger: Tagger, clips: Iterable[np.ndarray], analysis: Analysis, *, batch_size: int | None = None
) -> ClipRows:
    """Waveforms (S,) float32 at the model's rate -> their rows; ``batch_size`` None is what a run would take."""
    found: dict[int, TrackRow | Failed] = {}
    with Stages(tagger, analysis, batch_size=batch_size) as stages:
        for step in stages.finished(_outcomes(clips, cut_for(tagger, analysis)), threading.Event()):
            for row in step.rows:
                assert isinstance(row, TrackRow | Failed)
                found[int(row.track.track_id, 16)] = row
    return ClipRows(tuple(found[number] for number in range(len(found))))


def _outcomes(clips: Iterable[np.ndarray], cut: CutSpec) -> Generator[Outcome]:
    """What the decoders would give for files that hold these clips."""
    for number, wave in enumerate(clips):
        track, n_segments, rate = Track(str(number), "", f"{number:016x}", 0, 0), 0, cut.sample_rate
        for start in segment_starts(len(wave), cut):
            piece = np.ascontiguousarray(wave[start : start + cut.segment_samples], np.float32)
            if len(piece) >= cut.min_s * rate:
                yield Segment(track, n_segments, start / rate, (start + len(piece)) / rate, piece)
                n_segments += 1
        if n_segments:
            yield Decoded(track, n_segments, len(wave) / rate, rate, 1, "pcm", None)
        else:
            refused = too_short(len(wave) / rate, cut)
            yield Failed(track, refused.code, refused.stage, str(refused))


def tag_wave(
    tagger: Tagger,
    wave: np.ndarray,
    sample_rate: int,
    *,
    patchout: str | None = None,
    segments: int | None = None,
    overlap: float = 0.5,
    pool: str = "mean",
    seed: int = 0,
) -> dict[str, float]:
    """As ``Tagger.tag`` says."""
    how = {"patchout": patchout, "segments": segments, "overlap": overlap, "pool": pool, "seed": seed}
    scores = _row(tagger, wave, sample_rate, Analysis(model=tagger.card.name, **how)).scores
    assert scores is not None
    return {tagger.labels[index]: float(scores[index]) for index in np.argsort(-scores, kind="stable")}


def embed_wave(
    tagger: Tagger,
    wave: np.ndarray,
    sample_rate: int,
    *,
    block: int | Sequence[int] | None = None,
    tokens: Sequence[str] = TOKENS,
    patchout: str | None = None,
    segments: int | None = None,
    overlap: float = 0.5,
    seed: int = 0,
) -> np.ndarray:
    """As ``Tagger.embed`` says."""
    how: dict[str, Any] = {"patchout": patchout, "segments": segments, "overlap": overlap, "seed": seed}
    analysis = Analysis(model=tagger.card.name, tags=False, embeddings=True, stack=Stack.of(block, tokens), **how)
    embedding = _row(tagger, wave, sample_rate, analysis).embedding
    assert embedding is not None
    return embedding


def _row(tagger: Tagger, wave: np.ndarray, sample_rate: int, analysis: Analysis) -> TrackRow:
    (row,) = clip_rows(tagger, [_at_rate(wave, sample_rate, tagger.frontend.sample_rate)], analysis).rows
    if isinstance(row, Failed):
        raise UsageError(f"`wave` cannot be analysed: {row.message}")
    return row


def _at_rate(wave: np.ndarray, sample_rate: int, wanted: int) -> np.ndarray:
    """(S,) or (channels, S) or (S, channels) -> (S,) float32 mono at the model's rate, as the decoders make it."""
    wave = np.asarray(wave)
    if wave.ndim not in (1, 2) or not np.issubdtype(wave.dtype, np.floating):
        raise UsageError(f"`wave` is of shape {wave.shape} and type {wave.dtype}; give (S,) floats from -1 to 1")
    if sample_rate < 1:
        raise UsageError(f"`sample_rate` {sample_rate} cannot work; give it in Hz")
    mono = wave if wave.ndim == 1 else wave.mean(axis=int(np.argmin(wave.shape)))
    mono = np.array(mono, np.float32)
    silence_nonsense(mono)
    resampler = Resampler(wanted)
    chunks = [*resampler.feed(DecodedBlock(sample_rate, mono)), *resampler.finish()]
    return np.concatenate(chunks) if chunks else mono


def cut_spec(tagger: Tagger, *, n_segments: int | None = None) -> CutSpec:
    """How ``tag`` cuts tracks for this model."""
    return CutSpec(tagger.frontend.sample_rate, tagger.card.segment_s, n_segments=n_segments, min_s=tagger.min_s)


def real_segments(tagger: Tagger, tracks: Sequence[Track], n: int, *, per_track: int = 1) -> list[Segment]:
    """``per_track`` whole segments from the middle or all over each track, ``n`` at most; short ones are repeated."""
    spec = cut_spec(tagger, n_segments=per_track)
    found: list[Segment] = []
    for track in tracks:
        if len(found) >= n:
            break
        segments = [outcome for outcome in decode_track(track, spec) if isinstance(outcome, Segment)]
        found += [Segment(s.track, 0, 0.0, spec.segment_s, np.resize(s.wave, spec.segment_samples)) for s in segments]
    if not found:
        raise UsageError(f"none of {len(tracks)} tracks could be decoded; see: audiopatch doctor")
    return found[:n]
