"""One run: inputs -> plan -> decode, infer and write at the same time -> tables."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from audiopatch.errors import TrackError
from audiopatch.inference.collect import Collector, Ended
from audiopatch.inference.compaction import compact
from audiopatch.inference.describe import parameters_of
from audiopatch.inference.destination import FolderDestination
from audiopatch.inference.extract import Extractor
from audiopatch.inference.feed import Feed, Sieve
from audiopatch.inference.inputs import Inputs
from audiopatch.inference.journal import Journal, Plan, make_plan
from audiopatch.inference.output import Output, open_output, read_run
from audiopatch.inference.progress import Counts, Observer, Silent
from audiopatch.inference.recognise import recognise
from audiopatch.inference.record import Record
from audiopatch.inference.repeats import Repeats
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.inference.writer import Writer
from audiopatch.models.config import TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import describe
from audiopatch.sinks.jsonl import JsonLines
from audiopatch.sinks.schema import Layout
from audiopatch.sinks.tables import labels_table
from audiopatch.types import CutSpec, Decoded, Failed, Segment, Track, TrackRow
from audiopatch.zoo import load_model
from audiopatch.zoo.labels import label_parents


@dataclass(frozen=True)
class RunResult:
    """How a run ended; ``folder`` is None where the rows went to a stream."""

    counts: Counts
    folder: Path | None
    interrupted: bool = False
    notes: tuple[str, ...] = ()


class Destination(Protocol):
    """Takes finished rows, some at a time."""

    def write(self, rows: Sequence[TrackRow | Failed]) -> None: ...


@dataclass
class Run:
    """The parts of a run that every stage needs, put together once by ``run_to_folder`` or ``run_to_stream``."""

    analysis: Analysis
    runtime: Runtime
    tagger: Tagger
    observer: Observer
    stop: threading.Event
    root: str
    counts: Counts = field(default_factory=Counts)

    @property
    def cut(self) -> CutSpec:
        return CutSpec(
            sample_rate=self.tagger.frontend.sample_rate,
            segment_s=self.tagger.card.segment_s,
            overlap=self.analysis.overlap,
            n_segments=self.analysis.n_segments,
            min_s=self.tagger.min_s,
        )

    @property
    def layout(self) -> Layout:
        wanted = self.analysis
        return Layout(
            labels=self.tagger.labels if wanted.tags else (),
            parents=label_parents(self.tagger.card.labels),
            top_k=wanted.top_k,
            min_score=wanted.min_score,
            dense=wanted.dense,
            timeline=wanted.timeline,
            vectors=wanted.vectors,
        )

    def process(
        self, plan: Plan, destination: Destination, *, every_n: int, every_s: float, sieve: Sieve | None = None
    ) -> None:
        """Decode, infer and write the tracks of ``plan``; three threads and the decoders' processes at work."""
        batch_size = self.runtime.batch_size or _batch_size(self.tagger)
        extractor = Extractor(self.tagger, self.analysis, batch_size=batch_size)
        collector = Collector(self.analysis)
        feed = Feed(
            itertools.takewhile(lambda _: not self.stop.is_set(), plan),
            self.cut,
            batch_size=batch_size,
            workers=self.runtime.n_workers,
            timeout_s=self.runtime.decode_timeout_s,
            sieve=sieve,
        )
        with Writer(destination.write, every_n=every_n, every_s=every_s) as writer, feed:
            for fed in feed.until(self.stop):
                rows = collector.ended(fed) if isinstance(fed, Ended) else self._infer(extractor, collector, fed)
                for row in rows:
                    writer.put(row)
                    self._count(row)

    def process_once(self, plan: Plan, journal: Journal, output: Output, metadata: Mapping[str, Any]) -> None:
        """``process`` into a folder, with audio that several tracks hold inferred once."""
        often = {"every_n": self.runtime.commit_every_n, "every_s": self.runtime.commit_every_s}
        with Repeats(output) as repeats:
            destination = FolderDestination(output, journal, self.layout, metadata)
            self.process(plan, destination, sieve=repeats.set_aside, **often)
            if repeats.n_aside:
                journal = Journal.of(output.store)
                with repeats.settle(journal, self._repeated) as rest:
                    self.process(rest, FolderDestination(output, journal, self.layout, metadata), **often)

    def _repeated(self, decoded: Decoded) -> None:
        self.counts.n_repeats += 1
        self._count(TrackRow(decoded, None, None, None))

    def _count(self, row: TrackRow | Failed) -> None:
        self.counts.add(row)
        self.observer.advanced(self.counts, row)

    def _infer(self, extractor: Extractor, collector: Collector, batch: list[Segment]) -> list[TrackRow | Failed]:
        self.counts.n_inferences += len(batch)
        try:
            return collector.inferred(batch, extractor(batch))
        except TrackError as error:
            return collector.refused(batch, error.code, str(error))

    def interrupted(self, plan: Plan) -> bool:
        """Whether tracks are left because somebody wanted the run to stop."""
        return self.stop.is_set() and (self.counts.n_left > 0 or not plan.complete)

    def planned(self, plan: Plan) -> None:
        """Count the inputs and start the clock."""
        self.counts.n_found = plan.n_found
        self.counts.n_up_to_date = plan.n_up_to_date
        self.counts.n_failed_before = plan.n_failed_before
        self.counts.todo_bytes = plan.todo_bytes
        self.observer.planned(self.counts)


def run_to_folder(
    inputs: Inputs,
    folder: Path,
    analysis: Analysis,
    runtime: Runtime,
    *,
    file_format: str = "parquet",
    observer: Observer | None = None,
    stop: threading.Event | None = None,
) -> RunResult:
    """Tables in ``folder``, resuming what an earlier run with equal parameters left there."""
    before = read_run(folder) or {}
    run, tracks = _start(inputs, analysis, runtime, observer, stop, root=before.get("root"))
    parameters = parameters_of(run.tagger, analysis, file_format)
    with open_output(folder, parameters, force=runtime.force) as output:
        journal = Journal.of(output.store)
        retry, stopped = runtime.retry_failed, run.stop.is_set
        with (
            make_plan(tracks, journal, folder=output.home, retry_failed=retry, stop=stopped) as found,
            recognise(found, journal, output, run.cut, runtime, note=run.observer.note, stop=stopped) as plan,
            _finishing(run),
        ):
            run.planned(plan)
            record = Record.begin(output, run.tagger, inputs, runtime, root=run.root)
            if run.layout.labels or analysis.dense:
                output.store.write_labels(labels_table(run.tagger.labels, label_parents(run.tagger.card.labels)))
            if plan.n_todo:
                journal = journal if plan is found else Journal.of(output.store)
                run.process_once(plan, journal, output, record.metadata)
            interrupted = run.interrupted(plan)
            if not interrupted:
                compact(output.store, output.fingerprint)
            record.end(run.counts, interrupted=interrupted)
        note = output.promote() if runtime.force and not interrupted else None
    return RunResult(run.counts, folder, interrupted, (note,) if note else ())


def run_to_stream(
    inputs: Inputs,
    stream: Any,
    analysis: Analysis,
    runtime: Runtime,
    *,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
) -> RunResult:
    """One JSON line per track on ``stream``, as each is finished; nothing is remembered."""
    run, tracks = _start(inputs, analysis, runtime, observer, stop)
    with make_plan(tracks, Journal.empty(), folder=None, stop=run.stop.is_set) as plan, _finishing(run):
        run.planned(plan)
        run.process(plan, JsonLines(stream, run.layout), every_n=1, every_s=1.0)
        return RunResult(run.counts, None, run.interrupted(plan))


def _start(
    inputs: Inputs,
    analysis: Analysis,
    runtime: Runtime,
    observer: Observer | None,
    stop: threading.Event | None,
    *,
    root: str | None = None,
) -> tuple[Run, Iterator[Track]]:
    """The model, and the tracks to come; inputs without any audio are refused before anything is loaded."""
    observer = observer or Silent()
    tracks = inputs.tracks(root=root, report=lambda path, error: observer.note(f"skipped {path}: {error.strerror}"))
    first = next(tracks)
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    tagger = load_model(
        analysis.model,
        device=runtime.device,
        dtype=runtime.dtype,
        engine=runtime.engine,
        offline=runtime.offline,
    )
    run = Run(analysis, runtime, tagger, observer, stop or threading.Event(), first.root)
    extractor = Extractor(tagger, analysis, batch_size=1)  # refuses what the model cannot do, before any work
    run.observer.note(
        f"{tagger.card.name} on {tagger.device}: engine {tagger.engine}, {str(tagger.dtype).removeprefix('torch.')}, "
        f"{torch.get_num_threads()} threads; {runtime.n_workers} decoders"
    )
    if tagger.weights_sha256 == "random":
        run.observer.note(f"{tagger.card.name} has random weights: its tags and embeddings are noise")
    if extractor.plan and tagger.grid and isinstance(config := tagger.card.backbone, TransformerConfig):
        run.observer.note(f"patchout {extractor.plan}: {describe(extractor.plan, tagger.grid, config.depth)}")
    return run, itertools.chain([first], tracks)


@contextmanager
def _finishing(run: Run) -> Iterator[None]:
    """Let the observer close its bars whichever way the run ends."""
    try:
        yield
    finally:
        run.counts.elapsed_s = time.monotonic() - run.counts.started
        run.observer.finished(run.counts)


def _batch_size(tagger: Tagger) -> int:
    if tagger.device.type == "cuda":
        return 64
    n_threads = torch.get_num_threads()
    return n_threads * max(1, 4 // n_threads)  # whole shares for every thread; larger batches gain nothing on a CPU
