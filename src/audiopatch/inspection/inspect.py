"""From a track to its page, and from many tracks to the files of a study."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from audiopatch import __version__
from audiopatch.audio.decode import decode_track
from audiopatch.events import Doing, Observer, silent
from audiopatch.inspection import pictures
from audiopatch.inspection.page import TagRow, file_page, study_page
from audiopatch.inspection.study import Study, mel_of, scores_of, study, transformer_of, watch
from audiopatch.models.cost import cost_of
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import Plan, describe
from audiopatch.types import CutSpec, Failed, Segment, Track

N_TAGS = 10

DEFAULT_PLAN = "topk:0.7"


@dataclass(frozen=True)
class Inspected:
    """The page that was written, None when no track could be decoded, the tracks that could not, and of many tracks
    the study."""

    page: Path | None
    failed: Sequence[Failed] = ()
    study: Study | None = None


def inspect_tracks(
    tagger: Tagger,
    tracks: Sequence[Track],
    plan: Plan,
    folder: Path,
    *,
    n_tracks: int,
    seed: int = 0,
    observer: Observer = silent,
) -> Inspected:
    """One track -> its page in ``folder``; several -> the study of ``n_tracks`` from all over them."""
    chosen, outcomes = spread_evenly(tracks, n_tracks), []
    for outcome in middle_segments(chosen, tagger):
        outcomes.append(outcome)
        observer(Doing(f"decoding {len(chosen)} of {len(tracks)} tracks", len(outcomes), len(chosen)))
    observer(Doing("computing and drawing"))
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    segments = [outcome for outcome in outcomes if isinstance(outcome, Segment)]
    if not segments:
        return Inspected(None, failed)
    if len(tracks) == 1:
        title = _printable(Path(tracks[0].path).name)
        return Inspected(inspect_segment(tagger, segments[0], plan, folder, title=title, seed=seed), failed)
    title = f"{len(segments)} of {len(tracks)} tracks in {_printable(Path(tracks[0].root).name)}"
    return replace(inspect_collection(tagger, segments, plan, folder, title=title, seed=seed), failed=failed)


def inspect_segment(tagger: Tagger, segment: Segment, plan: Plan, folder: Path, *, title: str, seed: int = 0) -> Path:
    """One segment -> ``index.html`` and ``kept.png`` in ``folder``."""
    mel = mel_of(tagger, segment)
    config = transformer_of(tagger)
    n_all = int(np.prod(config.patch_grid(mel.shape[2])))
    kept = watch(tagger, segment, plan, seed=seed)
    whole = scores_of(tagger, segment, Plan())
    stages = {_stage(block, len(cells), n_all): cells.numpy() for block, cells in kept.cells.items()}
    rate = tagger.frontend.sample_rate
    mel_s = mel.shape[2] * tagger.frontend.hop_length / rate
    strip = pictures.kept_strip(mel[0].numpy(), stages, config, seconds=mel_s)
    page = file_page(
        title=title,
        facts=_facts(tagger, plan, mel.shape[2], len(segment.wave) / rate),
        wave=segment.wave,
        sample_rate=rate,
        strip=strip,
        tags=_tags(tagger, whole, kept.scores),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kept.png").write_bytes(strip.png)
    (folder / "index.html").write_text(page, encoding="utf-8")
    return folder / "index.html"


def inspect_collection(
    tagger: Tagger, segments: Sequence[Segment], plan: Plan, folder: Path, *, title: str, seed: int = 0
) -> Inspected:
    """Segments -> the study's tables, pictures and ``index.html`` in ``folder``."""
    found = study(tagger, segments, plan, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, (heading, text, draw) in _SECTIONS.items():
        table = getattr(found, name)
        table.to_parquet(folder / f"{name}.parquet", index=False)
        png = draw(table)
        (folder / f"{name}.png").write_bytes(png)
        drawn.append((heading, text, png))
    longest = max(len(segment.wave) for segment in segments)
    seconds, n_frames = longest / tagger.frontend.sample_rate, tagger.frontend.frames_of(longest)
    facts = {"clips": str(len(segments)), **_facts(tagger, plan, n_frames, seconds)}
    (folder / "index.html").write_text(study_page(title=title, facts=facts, pictures=drawn), encoding="utf-8")
    return Inspected(folder / "index.html", study=found)


def _printable(name: str) -> str:
    """A file name as text: bytes that are no UTF-8, and control characters, become marks."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)


def _stage(block: int, n_left: int, n_all: int) -> str:
    return f"after block {block}: {n_left} of {n_all} tokens ({n_left / n_all * 100:.0f} %)"


def _facts(tagger: Tagger, plan: Plan, n_frames: int, seconds: float) -> dict[str, str]:
    config = transformer_of(tagger)
    whole, reduced = (cost_of(tagger.card, one, segment_s=seconds).macs / 1e9 for one in (Plan(), plan))
    noise = " (random weights: its tags are noise)" if tagger.weights_sha256 == "random" else ""
    return {
        "model": tagger.card.name + noise,
        "plan": str(plan),
        "meaning": describe(plan, config.patch_grid(n_frames), config.depth),
        "cost": f"{reduced:.2f} of {whole:.2f} G multiply-adds per segment ({reduced / whole * 100:.0f} %)",
        "audiopatch": __version__,
    }


def _tags(tagger: Tagger, whole: torch.Tensor, reduced: torch.Tensor) -> list[TagRow]:
    """The best labels of either way, best first by all tokens."""
    n_best = min(N_TAGS, len(tagger.labels))
    best = {label for scores in (whole, reduced) for label in scores.topk(n_best).indices.tolist()}
    rows = [TagRow(tagger.labels[label], float(whole[label]), float(reduced[label])) for label in best]
    return sorted(rows, key=lambda row: -row.whole)


_SECTIONS = {
    "kept": (
        "What is left of quiet and loud patches",
        "Patches are clustered by their mean log-mel into C1 (quietest) to C5 (loudest).",
        pictures.kept_picture,
    ),
    "tau": (
        "Does attention follow loudness?",
        "Kendall's τ between attention and the clustered intensity or variation of patches; band: standard deviation.",
        pictures.tau_picture,
    ),
    "removal": (
        "What if quiet or loud patches are removed?",
        "From a given block on, the two quietest or the two loudest clusters are dropped: which best labels stay best "
        "(of ten; of one where labels exclude each other).",
        pictures.removal_picture,
    ),
    "patches": (
        "Mean and standard deviation of what is left",
        "Every patch of every clip by the mean and standard deviation of its log-mel, before and after the plan.",
        pictures.mean_std_picture,
    ),
}


def spread_evenly(tracks: Sequence[Track], n_tracks: int) -> list[Track]:
    """At most ``n_tracks`` of them, from all over the collection rather than from its first albums."""
    places = np.linspace(0, len(tracks) - 1, min(n_tracks, len(tracks)))
    return [tracks[round(place)] for place in places]


def middle_segments(tracks: Iterable[Track], tagger: Tagger) -> Iterator[Segment | Failed]:
    """The middle of each track, as long as the model takes; or why there is none."""
    spec = CutSpec(
        sample_rate=tagger.frontend.sample_rate,
        segment_s=tagger.card.segment_s,
        n_segments=1,
        min_s=tagger.min_s,
    )
    for track in tracks:
        for outcome in decode_track(track, spec):
            if isinstance(outcome, Segment | Failed):
                yield outcome
