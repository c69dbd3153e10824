"""A whole benchmark: from what is wanted to a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

from audiopatch.audio.inputs import Inputs
from audiopatch.bench.contender import Case
from audiopatch.bench.machine import describe
from audiopatch.bench.report import Report
from audiopatch.bench.sweep import Note, Progress, Row, Settings, sweep
from audiopatch.bench.whole import WholeRun, measure_whole, real_segments
from audiopatch.inference.extract import check_stack, find_plan
from audiopatch.inference.settings import Runtime
from audiopatch.models.card import TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.types import Segment, Track
from audiopatch.zoo.load import find_device, load_model


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to compare: every combination. ``patchouts`` None are ``default_patchouts``; engines are NAME[:DTYPE]."""

    models: Sequence[str]
    patchouts: Sequence[str] | None = None
    engines: Sequence[str] = ("torch",)
    batches: Sequence[int] | None = None
    blocks: Sequence[int] = ()
    baselines: Sequence[str] = ()


def run_bench(
    wanted: Wanted,
    music: str,
    settings: Settings,
    *,
    n_tracks: int,
    with_whole_runs: bool,
    note: Note,
    progress: Progress,
) -> Report:
    """Measure everything wanted on up to ``n_tracks`` tracks of ``music``; ``note`` and ``progress`` hear of it."""
    tracks = list(islice(Inputs([music]).tracks(), n_tracks))
    cases: list[Case] = []
    segments: dict[str, list[Segment]] = {}
    for model in wanted.models:
        tagger = load_model(model, device=settings.device, dtype="float32")
        for case in cases_of(model, tagger, wanted):
            find_plan(tagger, case.patchout)  # these refuse what cannot work, before any minutes are spent
            check_stack(tagger, case.analysis)
            cases.append(case)
        segments[model] = real_segments(tagger, tracks, len(tracks))
    note(f"{len(cases)} settings on {len(tracks)} tracks")
    rows, skipped = sweep(cases, segments, settings, wanted.baselines, progress=progress)
    whole_runs = _whole_runs(cases, rows, tracks, settings, progress) if with_whole_runs else []
    return Report(rows, skipped, whole_runs, describe(find_device(settings.device)), settings.clock)


def cases_of(model: str, tagger: Tagger, wanted: Wanted) -> Iterator[Case]:
    """All combinations for one model; a network without tokens has one patchout, none."""
    patchouts = wanted.patchouts or default_patchouts(tagger) if tagger.grid else ("F0T0",)
    blocks = (None, *wanted.blocks) if tagger.grid else (None,)
    batches = wanted.batches or (None,)
    for engine, block, batch, patchout in product(wanted.engines, blocks, batches, patchouts):
        name, _, dtype = engine.partition(":")
        yield Case(model, patchout, name, dtype or "auto", batch, block)


def default_patchouts(tagger: Tagger) -> tuple[str, ...]:
    """MAEST's settings (section 4.5), and pruning by attention, once a third of the grid's rows and columns."""
    config = tagger.card.backbone
    if tagger.grid is None or not isinstance(config, TransformerConfig):
        return ("F0T0",)
    n_rows, n_cols = tagger.grid
    blocks = ",".join(str(block) for block in (4, 7, 10) if block <= config.depth) or "1"
    adaptive = f"adaptive:F{n_rows // 3}T{n_cols // 3}@{blocks}"
    return ("F0T0", "F3T0", "F3T2", "F3T3", "F3T5", "F4T10", f"topk:0.7@{blocks}", adaptive)


def _whole_runs(
    cases: Sequence[Case], rows: Sequence[Row], tracks: Sequence[Track], settings: Settings, progress: Progress
) -> list[WholeRun]:
    """Of the first row of every model and engine that gives tags."""
    first: dict[tuple[str, str, str], tuple[Case, Row]] = {}
    for case, row in zip(cases, rows, strict=False):
        if case.block is None:
            first.setdefault((case.model, case.engine, case.dtype), (case, row))
    found = []
    for done, (case, row) in enumerate(first.values()):
        progress("whole runs", done, len(first))
        tagger = load_model(case.model, device=settings.device)
        runtime = Runtime(device=settings.device, engine=case.engine, dtype=case.dtype)
        found.append(measure_whole(row, tagger, tracks, runtime))
    return found
