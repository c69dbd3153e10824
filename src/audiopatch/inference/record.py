"""What is written about a run beside its rows: enough to repeat it, and to know what its numbers mean."""

from __future__ import annotations

import hashlib
import os
import platform
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NotRequired, TypedDict

import torch

import audiopatch
from audiopatch.audio.inputs import Inputs
from audiopatch.documents import plain
from audiopatch.events import Counts, Figures
from audiopatch.inference.extract import find_stack
from audiopatch.inference.missing import Disks
from audiopatch.inference.settings import Analysis, Runtime, Stack
from audiopatch.models.config import FrontendConfig
from audiopatch.models.tagger import Tagger
from audiopatch.models.thresholds import Thresholds
from audiopatch.reducers.plan import Plan
from audiopatch.tables.output import Output, fingerprint
from audiopatch.tables.schema import SCHEMA_VERSION, STORED_NAMES
from audiopatch.types import Failed, TrackRow


class Parameters(TypedDict):
    """Every parameter that decides a number in the tables; ``thresholds`` and ``labels_hash`` are hashes."""

    model: str
    patchout: str
    tags: bool
    top_k: int | None
    min_score: float
    thresholds: str | None
    pool: str
    n_segments: int | None
    overlap: float
    timeline: bool
    dense: bool
    embedding: bool
    stack: Stack | None
    vectors: Literal["float16", "float32"]
    seed: int
    format: Literal["parquet", "jsonl"]
    weights_sha256: str
    labels_hash: str
    segment_s: float
    engine: str
    dtype: str
    schema_version: int


class Metadata(TypedDict):
    """What the numbers of a part mean, also in each Parquet file's metadata; ``plan`` is the patchout."""

    schema_version: int
    audiopatch_version: str
    run_id: str
    model: str
    weights_sha256: str
    licence: str
    citation: str
    labels: str
    labels_hash: str
    frontend: FrontendConfig
    sample_rate: int
    segment_s: float
    overlap: float
    plan: str
    pool: str
    stack: Stack | None
    engine: str
    dtype: str
    device: str
    torch_version: str
    fingerprint: str


class Machine(TypedDict):
    """Where a run ran, and the words that began it."""

    python: str
    platform: str
    machine: str
    torch_threads: int
    command: list[str]


class InputsValues(TypedDict):
    """What was asked to be analysed; of a list of files only how many it names."""

    paths: list[str]
    listed: int
    include: list[str]
    exclude: list[str]


class RunValues(TypedDict):
    """``run.json``: enough to repeat a run; its end and ``counts`` come with its last part.

    Two runs of one ``fingerprint`` give the same numbers; with an equal ``request`` the second has nothing to do.
    """

    parameters: Parameters
    fingerprint: str
    run_id: str
    status: Literal["running", "interrupted", "finished"]
    started_at: str
    root: str
    inputs: InputsValues
    runtime: Runtime
    model: Metadata
    machine: Machine
    request: dict[str, Any] | None
    disks: Disks
    finished_at: NotRequired[str]
    counts: NotRequired[Figures]


@dataclass(frozen=True)
class Record:
    """What is known of a run from its start on; ``metadata`` also goes into every part."""

    output: Output
    values: dict[str, Any]
    metadata: Metadata

    @classmethod
    def begin(
        cls, output: Output, tagger: Tagger, inputs: Inputs, runtime: Runtime, *, root: str, device: str, **more: Any
    ) -> Record:
        """Written before the first part, with ``more`` values; ``root`` is what the ids of the tracks are relative to.

        ``device`` is where the model computes, which need not be where this process has it.
        """
        run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.urandom(3).hex()}"
        metadata = metadata_of(tagger, dict(output.parameters), run_id, device=device)
        values = {
            "run_id": run_id,
            "status": "running",
            "started_at": _now(),
            "root": root,
            "inputs": asdict(inputs) | {"listed": len(inputs.listed)},  # a list may name millions
            "runtime": asdict(runtime),
            "model": metadata,
            "machine": machine(),
            **more,
        }
        output.save_run(values)
        return cls(output, values, metadata)

    def end(self, counts: Counts, *, interrupted: bool) -> None:
        """Replaces what ``begin`` wrote, with the counts."""
        status = "interrupted" if interrupted else "finished"
        self.output.save_run(self.values | {"status": status, "finished_at": _now(), "counts": counts.figures()})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def parameters_of(
    tagger: Tagger, analysis: Analysis, plan: Plan, thresholds: Thresholds | None, file_format: str
) -> dict[str, Any]:
    """Every parameter that decides a number in the tables, as JSON values."""
    chosen = {STORED_NAMES.get(name, name): value for name, value in asdict(analysis).items()} | {
        "top_k": analysis.top or None,
        "model": tagger.card.name,
        "patchout": str(plan),
        "thresholds": None if thresholds is None else fingerprint(thresholds.values),
        "format": file_format,
        "weights_sha256": tagger.weights_sha256,
        "labels_hash": labels_hash(tagger.labels),
        "segment_s": tagger.card.segment_s,
        "engine": tagger.engine,
        "dtype": str(tagger.dtype).removeprefix("torch."),
        "schema_version": SCHEMA_VERSION,
    }
    if stack := find_stack(tagger, analysis):
        chosen["stack"] = {key: list(value) for key, value in asdict(stack).items()}
    return chosen


def metadata_of(tagger: Tagger, parameters: dict[str, Any], run_id: str, *, device: str) -> Metadata:
    """The value of the key ``audiopatch`` in every part's file metadata."""
    card = tagger.card
    return {
        "schema_version": SCHEMA_VERSION,
        "audiopatch_version": audiopatch.__version__,
        "run_id": run_id,
        "model": card.name,
        "weights_sha256": tagger.weights_sha256,
        "licence": card.licence,
        "citation": card.paper,
        "labels": card.labels,
        "labels_hash": parameters["labels_hash"],
        "frontend": plain(card.frontend),
        "sample_rate": tagger.frontend.sample_rate,
        "segment_s": card.segment_s,
        "overlap": parameters["overlap"],
        "plan": parameters["patchout"],
        "pool": parameters["pool"],
        "stack": parameters["stack"],
        "engine": parameters["engine"],
        "dtype": parameters["dtype"],
        "device": device,
        "torch_version": torch.__version__,
        "fingerprint": fingerprint(parameters),
    }


def machine() -> Machine:
    """Where a run ran."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "torch_threads": torch.get_num_threads(),
        "command": sys.argv,
    }


def labels_hash(labels: tuple[str, ...]) -> str:
    """16 hex digits over the class names in order."""
    return hashlib.blake2b("\n".join(labels).encode(), digest_size=8).hexdigest()


Rows = list[TrackRow | Failed]


class Writer:
    """Gathers rows and commits them every ``every_n`` tracks or ``every_s`` seconds. A context manager.

    ``cpu_s`` is what commits have taken. An error of a commit is raised by the next ``put``, or at the end of the
    block, in the thread that runs the model.
    """

    def __init__(self, commit: Callable[[Sequence[TrackRow | Failed]], None], *, every_n: int, every_s: float):
        self._commit = commit
        self._every_n, self._every_s = every_n, every_s
        self._queue: queue.Queue[TrackRow | Failed | None] = queue.Queue(maxsize=2 * every_n)
        self.cpu_s: float = 0.0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="audiopatch-writer", daemon=True)

    def put(self, row: TrackRow | Failed) -> None:
        """Hand over a finished track; waits while the disk is behind."""
        self._raise()
        self._queue.put(row)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._queue.put(None)
        self._thread.join()
        if error is None:
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        rows: Rows = []
        due = time.monotonic() + self._every_s
        last = False
        while not last:
            try:
                row = self._queue.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                row = None
            else:
                last = row is None
            if row is not None:
                rows.append(row)
            if rows and (last or len(rows) >= self._every_n or time.monotonic() >= due):
                self._try_commit(rows)
                rows = []
            if time.monotonic() >= due:
                due = time.monotonic() + self._every_s

    def _try_commit(self, rows: Rows) -> None:
        """After a first error nothing more is committed; the queue is still emptied, so that nobody waits for it."""
        if self._error is not None:
            return
        began = time.thread_time()
        try:
            self._commit(rows)
        except BaseException as error:
            self._error = error
        self.cpu_s += time.thread_time() - began
