"""What is written about a run beside its rows: enough to repeat it, and to know what its numbers mean."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import torch

import audiopatch
from audiopatch.audio.inputs import Inputs
from audiopatch.inference.extract import find_plan, find_thresholds
from audiopatch.inference.progress import Counts
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.models.tagger import Tagger
from audiopatch.tables.output import Output, fingerprint
from audiopatch.tables.schema import SCHEMA_VERSION, STORED_NAMES


@dataclass(frozen=True)
class Record:
    """What is known of a run from its start on; ``metadata`` also goes into every part."""

    output: Output
    values: dict[str, Any]
    metadata: dict[str, Any]

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
        figures = {key: value for key, value in asdict(counts).items() if key != "started"}
        status = "interrupted" if interrupted else "finished"
        self.output.save_run(self.values | {"status": status, "finished_at": _now(), "counts": figures})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def parameters_of(tagger: Tagger, analysis: Analysis, file_format: str) -> dict[str, Any]:
    """Every parameter that decides a number in the tables, as JSON values."""
    thresholds = find_thresholds(tagger, analysis)
    chosen = {STORED_NAMES.get(name, name): value for name, value in asdict(analysis).items()} | {
        "top_k": analysis.top or None,
        "model": tagger.card.name,
        "patchout": str(find_plan(tagger, analysis.patchout)),
        "thresholds": None if thresholds is None else fingerprint(thresholds.values),
        "format": file_format,
        "weights_sha256": tagger.weights_sha256,
        "labels_hash": labels_hash(tagger.labels),
        "segment_s": tagger.card.segment_s,
        "engine": tagger.engine,
        "dtype": str(tagger.dtype).removeprefix("torch."),
        "schema_version": SCHEMA_VERSION,
    }
    if analysis.stack is not None:
        chosen["stack"] = {key: list(value) for key, value in asdict(analysis.stack).items()}
    return chosen


def metadata_of(tagger: Tagger, parameters: dict[str, Any], run_id: str, *, device: str) -> dict[str, Any]:
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
        "frontend": asdict(card.frontend),
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


def machine() -> dict[str, Any]:
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
