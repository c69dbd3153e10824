"""A whole benchmark: from what is wanted to ``bench.parquet``, one row per case, and ``bench.json``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice, product
from pathlib import Path
from typing import Any

import pyarrow as pa

from audiopatch.audio.inputs import Inputs
from audiopatch.bench.contender import Case
from audiopatch.bench.measure import describe
from audiopatch.bench.sweep import Row, Settings, Skipped, sweep
from audiopatch.bench.whole import WholeRun, measure_whole
from audiopatch.documents import document
from audiopatch.events import Doing, Note, Observer, silent
from audiopatch.inference.clips import real_segments
from audiopatch.inference.extract import find_plan, find_stack
from audiopatch.inference.settings import Runtime
from audiopatch.models.config import TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.tables.formats import ParquetSink
from audiopatch.types import Segment, Track
from audiopatch.zoo.load import find_device, load_model


@dataclass(frozen=True)
class BenchReport:
    """All figures of one run, what they were measured on, and the baseline whose multiples the rates are shown as."""

    rows: Sequence[Row]
    skipped: Sequence[Skipped]
    whole_runs: Sequence[WholeRun]
    machine: dict[str, Any]
    clock: str
    compared_with: str | None = None
    measured_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def times(self, row: Row) -> float | None:
        """How many times as fast as ``compared_with``, where that was measured."""
        rates = [other.minutes_per_s for other in self.rows if other.model == self.compared_with]
        return row.minutes_per_s / rates[0] if rates else None

    def write(self, folder: Path) -> None:
        """Write both files, replacing earlier ones."""
        folder.mkdir(parents=True, exist_ok=True)
        values = document(self)
        (folder / "bench.json").write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        table = pa.Table.from_pylist(values.pop("rows"))
        ParquetSink().write(table.replace_schema_metadata({"audiopatch": json.dumps(values)}), folder / "bench.parquet")


_WHOLE, _LEAST_WHOLE_S = 0.25, 3.0  # of the budget: whole runs; and what one is given at least


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to compare: every combination. ``patchouts`` None are ``default_patchouts``; engines are NAME[:DTYPE]."""

    models: Sequence[str]
    patchouts: Sequence[str] | None = None
    engines: Sequence[str] = ("torch",)
    batches: Sequence[int] | None = None
    blocks: Sequence[int | None] = (None,)
    baselines: Sequence[str] = ()
    compared_with: str | None = None


# Published comparisons that can be repeated. MAEST's figure 3: embeddings after block 7 under several patchouts beside
# the CNNs of the time, on mels of the same shape, and with random weights, which speed does not mind.
EXPERIMENTS = {
    "maest-figure-3": Wanted(
        models=("random/discogs-maest-30s-pw-129e",),
        patchouts=("F0T0", "F3T0", "F3T2", "F3T3", "F3T5", "F4T10"),
        blocks=(7,),
        baselines=("efficientnet-b0", "resnet-50"),
        compared_with="efficientnet-b0",
    )
}


def run_bench(
    wanted: Wanted,
    music: str,
    settings: Settings,
    *,
    n_tracks: int,
    with_whole_runs: bool,
    observer: Observer = silent,
) -> BenchReport:
    """Measure everything wanted on up to ``n_tracks`` tracks of ``music``."""
    tracks = list(islice(Inputs([music]).tracks(), n_tracks))
    cases: list[Case] = []
    segments: dict[str, list[Segment]] = {}
    for model in wanted.models:
        tagger = load_model(model, device=settings.device, dtype="float32")
        for case in cases_of(model, tagger, wanted):
            find_plan(tagger, case.patchout)  # these refuse what cannot work, before any minutes are spent
            find_stack(tagger, case.analysis)
            cases.append(case)
        segments[model] = real_segments(tagger, tracks, len(tracks))
    how = f"{len(cases)} settings on {len(tracks)} tracks, in about {settings.budget_s:.0f} s (--budget)"
    observer(Note(f"{how}; Ctrl-C keeps what is ready"))
    share = _WHOLE if with_whole_runs else 0.0
    within = replace(settings, budget_s=(1 - share) * settings.budget_s)
    began = time.perf_counter()
    rows, skipped = sweep(cases, segments, within, wanted.baselines, observer=observer)
    whole_runs: list[WholeRun] = []
    if with_whole_runs:
        left_s = began + settings.budget_s - time.perf_counter()
        whole_runs, missing = _whole_runs(cases, rows, tracks, settings, left_s, observer)
        skipped = [*skipped, *missing]
    machine = describe(find_device(settings.device))
    return BenchReport(rows, skipped, whole_runs, machine, settings.clock, wanted.compared_with)


def cases_of(model: str, tagger: Tagger, wanted: Wanted) -> Iterator[Case]:
    """All combinations for one model, engine by engine: one that compiles each may use the time up. A network without
    tokens has one patchout, none."""
    patchouts = wanted.patchouts or default_patchouts(tagger) if tagger.grid else ("F0T0",)
    blocks = wanted.blocks if tagger.grid else (None,)
    batches = wanted.batches or (None,)
    for block, batch, engine, patchout in product(blocks, batches, wanted.engines, patchouts):
        name, _, dtype = engine.partition(":")
        yield Case(model, patchout, name, dtype or "auto", batch, block)


def default_patchouts(tagger: Tagger) -> tuple[str, ...]:
    """MAEST's settings (section 4.5), and pruning by attention, once a third of the grid's rows and columns."""
    config = tagger.card.backbone
    if tagger.grid is None or not isinstance(config, TransformerConfig):
        return ("F0T0",)
    n_rows, n_cols = tagger.grid
    adaptive = f"adaptive:F{n_rows // 3}T{n_cols // 3}"
    return ("F0T0", "F3T0", "F3T2", "F3T3", "F3T5", "F4T10", "topk:0.7", adaptive)


def _whole_runs(
    cases: Sequence[Case],
    rows: Sequence[Row],
    tracks: Sequence[Track],
    settings: Settings,
    left_s: float,
    observer: Observer,
) -> tuple[list[WholeRun], list[Skipped]]:
    """Of the first row of every model and engine that gives tags, of as many as there is time for, but always one."""
    began = time.perf_counter()
    asked = {(case.model, case.patchout, case.engine): case for case in cases if case.block is None}
    first: dict[tuple[str, str, str], tuple[Case, Row]] = {}
    for row in rows:
        if row.block is None and (case := asked.get((row.model, row.patchout, row.engine))):
            first.setdefault((row.model, row.engine, row.dtype), (case, row))
    found: list[WholeRun] = []
    skipped: list[Skipped] = []
    for done, (case, row) in enumerate(first.values()):
        observer(Doing("whole runs", done, len(first)))
        if settings.stop():
            break
        share_s = (began + left_s - time.perf_counter()) / (len(first) - done)
        if found and share_s <= 0:
            skipped.append(
                Skipped(f"{row.model} {row.engine}, whole run", "no time was left; give more with --budget TIME")
            )
            continue
        tagger = load_model(case.model, device=settings.device)
        runtime = Runtime(device=settings.device, engine=case.engine, dtype=case.dtype)
        found.append(measure_whole(row, tagger, tracks, runtime, at_most_s=max(_LEAST_WHOLE_S, share_s)))
    return found, skipped
