"""One run: inputs -> plan -> decode, infer and write at the same time -> tables."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from audiopatch.audio.inputs import Inputs
from audiopatch.errors import UsageError
from audiopatch.events import Counts, Finished, Note, Observer, Planned, RunResult, Spent, TrackDone, silent
from audiopatch.inference.budget import part_bytes, within
from audiopatch.inference.extract import check, cut_for, find_thresholds, label_thresholds, n_embedding
from audiopatch.inference.missing import Disks, Passed, Seen, settle_missing, skipped
from audiopatch.inference.recognise import Duplicates, find_root, recognise
from audiopatch.inference.record import Record, Writer, parameters_of
from audiopatch.inference.request import request_of
from audiopatch.inference.runner import Job, Runner, find_runner
from audiopatch.inference.settings import Analysis, Runtime, n_cpus
from audiopatch.models.config import TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.models.thresholds import Thresholds
from audiopatch.reducers.plan import Plan, describe
from audiopatch.tables.compaction import compact
from audiopatch.tables.formats import JsonLines
from audiopatch.tables.inherit import rebase
from audiopatch.tables.journal import Journal, WorkList, list_work
from audiopatch.tables.output import FolderDestination, Output, open_output, read_run, refuse_foreign
from audiopatch.tables.schema import Layout
from audiopatch.tables.tables import labels_table
from audiopatch.types import Aside, CutSpec, Decoded, Failed, Track, TrackRow
from audiopatch.zoo.labels import content_of, describe_labels, label_parents

log: logging.Logger = logging.getLogger(__name__)


class Destination(Protocol):
    """Takes finished rows, some at a time."""

    def write(self, rows: Sequence[TrackRow | Failed]) -> None: ...


@dataclass
class Run:
    """The parts of a run that every stage needs, put together once by ``started``.

    ``asked`` is how the user would have it, ``runtime`` what that means here; ``plan`` and ``thresholds`` are what the
    analysis means to this model.
    """

    analysis: Analysis
    asked: Runtime
    runtime: Runtime
    runner: Runner
    tagger: Tagger
    plan: Plan
    thresholds: Thresholds | None
    observer: Observer
    stop: threading.Event
    root: str
    counts: Counts = field(default_factory=Counts)
    passed_over: Passed | None = None

    @property
    def job(self) -> Job:
        return Job(self.analysis, self.runtime, self.cut)

    @property
    def cut(self) -> CutSpec:
        return cut_for(self.tagger, self.analysis)

    @property
    def layout(self) -> Layout:
        wanted = self.analysis
        return Layout(
            labels=self.tagger.labels if wanted.tags else (),
            parents=label_parents(self.tagger.card.labels),
            top_k=wanted.top or None,
            min_scores=label_thresholds(self.tagger, self.thresholds),
            min_score=wanted.min_score,
            content=content_of(self.tagger.card.labels, self.tagger.labels),
            dense=wanted.dense,
            timeline=wanted.timeline,
            vectors=wanted.vectors,
            n_embedding=n_embedding(self.tagger, wanted),
        )

    def note(self, text: str) -> None:
        self.observer(Note(text))

    def introduce(self) -> None:
        """Say what is at work."""
        tagger, plan, thresholds, note = self.tagger, self.plan, self.thresholds, self.note
        dtype = str(tagger.dtype).removeprefix("torch.")
        note(f"{tagger.card.name}: engine {tagger.engine}, {dtype}, on {self.runner.describe(self.runtime)}")
        if tagger.weights_sha256 == "random":
            note(f"{tagger.card.name} has random weights: its tags and embeddings are noise")
        if thresholds is not None and thresholds.plan is None:
            note(f"the thresholds of {tagger.card.name} were measured {thresholds.origin}")
        if plan and tagger.grid and isinstance(config := tagger.card.backbone, TransformerConfig):
            note(f"patchout {plan}: {describe(plan, tagger.grid, config.depth, prefix=config.prefix)}")

    def process(
        self,
        work: WorkList,
        destination: Destination,
        *,
        every_n: int,
        every_s: float,
        duplicates: Duplicates | None = None,
    ) -> None:
        """Decode and infer the tracks of ``work`` where the runner does, and write their rows here.

        ``duplicates``, where given, takes those that begin like an earlier one.
        """
        doing = closing(self.runner.finished(self.job, work, self.stop, once=duplicates is not None))
        with Writer(destination.write, every_n=every_n, every_s=every_s) as writer, doing as steps:
            for step in steps:
                self.counts.n_inferences += step.n_inferences
                self.counts.spent += step.spent
                for row in step.rows:
                    if isinstance(row, Aside):
                        assert duplicates is not None
                        duplicates.add(row)
                    else:
                        writer.put(row)
                        self._count(row)
        self.counts.spent += Spent(write_s=writer.cpu_s)

    def process_once(self, work: WorkList, journal: Journal, output: Output, metadata: Mapping[str, Any]) -> None:
        """``process`` into a folder, with audio that several tracks hold inferred once."""
        often = {"every_n": self.runtime.commit_every_n, "every_s": self.runtime.commit_every_s}
        with Duplicates(output) as duplicates:
            destination = FolderDestination(output, journal, self.layout, metadata)
            self.process(work, destination, duplicates=duplicates, **often)
            if duplicates.n_aside:
                journal = Journal.of(output.store)
                with duplicates.settle(journal, self._repeated) as rest:
                    self.process(rest, FolderDestination(output, journal, self.layout, metadata), **often)

    def _repeated(self, decoded: Decoded) -> None:
        self.counts.n_repeats += 1
        self._count(TrackRow(decoded, None, None, None))

    def _count(self, row: TrackRow | Failed) -> None:
        if isinstance(row, Failed) and row.code == "E_INTERNAL":
            log.error("a mistake of audiopatch, please report it; it cost %s\n%s", row.track.path, row.message)
        self.counts.add(row)
        self.observer(TrackDone(row, self.counts))

    def interrupted(self, work: WorkList) -> bool:
        """Whether tracks are left because somebody wanted the run to stop."""
        return self.stop.is_set() and (self.counts.n_left > 0 or not work.complete)

    def end(self) -> None:
        """Close the accounts, of this machine if the run was here."""
        self.counts.end(n_cpus() if self.runtime.place == "local" else None)

    def planned(self, work: WorkList) -> None:
        """Count the inputs: from here on it is known how much is left."""
        self.counts.n_found = work.n_found
        self.counts.n_up_to_date = work.n_up_to_date
        self.counts.n_failed_before = work.n_failed_before
        self.counts.todo_bytes = work.todo_bytes
        self.counts.n_left_out = self.passed_over.n if self.passed_over else 0
        self.observer(Planned(self.counts))


@dataclass
class FolderRun:
    """An open output folder, and the run that brings it up to date: once, or again and again."""

    run: Run
    output: Output
    record: Record
    journal: Journal

    def update(self, tracks: Iterable[Track]) -> bool:
        """Rows for whatever is new or changed among ``tracks``; whether it was interrupted."""
        run, output, stop = self.run, self.output, self.run.stop.is_set
        retry, note = run.runtime.retry_failed, run.note
        with (
            list_work(tracks, self.journal, folder=output.home.spool, retry_failed=retry, stop=stop) as found,
            recognise(found, self.journal, output, run.cut, run.runtime, note=note, stop=stop) as work,
            _finishing(run),
        ):
            if not found.n_found and found.complete:
                return False
            run.planned(work)
            if work is not found:
                self.journal = Journal.of(output.store)
            if work.n_todo:
                run.process_once(work, self.journal, output, self.record.metadata)
            interrupted = run.interrupted(work)
            if not interrupted:
                began = time.process_time()
                compact(output.store, output.fingerprint, part_bytes=part_bytes(run.runtime))
                run.counts.spent += Spent(write_s=time.process_time() - began)
            run.end()
            self.record.end(run.counts, interrupted=interrupted)
        return interrupted


@contextmanager
def open_run(
    run: Run,
    inputs: Inputs,
    folder: str | os.PathLike[str],
    file_format: str,
    *,
    moved: tuple[str, str] | None = None,
) -> Iterator[FolderRun]:
    """Locks ``folder`` for a run of equal parameters, and takes up what earlier ones left there.

    ``moved``: where the library of its rows was, and where it is.
    """
    stored = "parquet" if file_format == "csv" else file_format
    parameters = parameters_of(run.tagger, run.analysis, run.plan, run.thresholds, stored)
    with open_output(folder, parameters, force=run.runtime.force) as output:
        before = read_run(output.folder) or {}
        if moved is not None:
            run.note(f"the library has moved from {moved[0]} to {moved[1]}: its rows go along")
            rebase(output.store, *moved)
        record = Record.begin(
            output, run.tagger, inputs, run.runtime,
            root=run.root, device=run.runner.device(run.tagger),
            request=request_of(run.analysis, run.asked, file_format),
            disks=asdict(Disks.now(inputs.folders, before.get("disks"))),
        )  # fmt: skip
        if not run.runtime.force:  # which leaves what is there alone until all is ready
            output.ensure_tables(run.layout)
        if run.layout.labels or run.analysis.dense:
            output.store.write_labels(labels_table(describe_labels(run.tagger.card.labels, run.tagger.labels)))
        for note in output.notes:
            run.note(note)
        yield FolderRun(run, output, record, Journal.of(output.store))


def run_to_folder(
    inputs: Inputs,
    folder: str | os.PathLike[str],
    analysis: Analysis,
    runtime: Runtime,
    *,
    file_format: str = "parquet",
    observer: Observer = silent,
    stop: threading.Event | None = None,
) -> RunResult:
    """Tables in ``folder``, resuming what an earlier run with equal parameters left there.

    ``file_format`` is parquet, jsonl, or csv: that is Parquet, and at the end one ``tags.csv`` beside it.
    """
    if file_format == "csv" and not analysis.tags:
        raise UsageError("--format csv holds tags; embeddings go into parquet or jsonl")
    refuse_foreign(folder)
    seen, passed_over = Seen(), Passed(observer)
    root, moved = find_root(inputs, folder, runtime)
    tracks = seen.watch(inputs.tracks(root=root, report=skipped(observer), left_out=passed_over), observer)
    first = next(tracks)
    with (
        started(analysis, runtime, observer, stop, root=first.root) as run,
        open_run(run, inputs, folder, file_format, moved=moved) as folder_run,
    ):
        run.passed_over = passed_over
        interrupted = folder_run.update(itertools.chain([first], tracks))
        note = folder_run.output.promote() if runtime.force and not interrupted else None
        if not interrupted:
            settle_missing(
                folder_run.output, inputs, folder_run.record.values["disks"], seen, run.counts, prune=runtime.prune
            )
        if not (runtime.force and interrupted):
            folder_run.output.ensure_tables(run.layout)
        if file_format == "csv" and not interrupted:
            folder_run.output.write_csv()
    return RunResult(run.counts, folder, interrupted, (note,) if note else ())


def run_to_stream(
    inputs: Inputs,
    stream: Any,
    analysis: Analysis,
    runtime: Runtime,
    *,
    observer: Observer = silent,
    stop: threading.Event | None = None,
) -> RunResult:
    """One JSON line per track on ``stream``, as each is finished; nothing is remembered."""
    passed_over = Passed(observer)
    tracks = inputs.tracks(report=skipped(observer), left_out=passed_over)
    first = next(tracks)
    tracks = itertools.chain([first], tracks)
    with (
        started(analysis, runtime, observer, stop, root=first.root) as run,
        list_work(tracks, Journal.empty(), folder=None, stop=run.stop.is_set) as work,
        _finishing(run),
    ):
        run.passed_over = passed_over
        run.planned(work)
        run.process(work, JsonLines(stream, run.layout), every_n=1, every_s=1.0)
        return RunResult(run.counts, None, run.interrupted(work))


@contextmanager
def started(
    analysis: Analysis, runtime: Runtime, observer: Observer, stop: threading.Event | None, *, root: str
) -> Iterator[Run]:
    """A run with its model loaded; what the model cannot do is refused here."""
    with find_runner(runtime) as runner:
        tagger = runner.load(analysis)
        plan = check(tagger, analysis)
        thresholds = find_thresholds(tagger, analysis, plan)
        here = within(runner.runtime, tagger, analysis)
        run = Run(
            analysis, runtime, here, runner, tagger, plan, thresholds, observer, stop or threading.Event(), root
        )  # fmt: skip
        run.introduce()
        if here.max_memory_mb is not None:
            fits = f"{here.n_workers} decoders of up to {here.decoder_mb} MB, {here.threads} model threads"
            run.note(f"within {here.max_memory_mb} MB: {fits}")
        yield run


@contextmanager
def _finishing(run: Run) -> Iterator[None]:
    """Let the observer close its bars whichever way the run ends."""
    try:
        yield
    finally:
        run.end()
        run.observer(Finished(run.counts))
