"""``run.json`` at both ends of a run: enough to repeat it, even if it was killed."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from audiopatch.inference.describe import machine, metadata_of
from audiopatch.inference.inputs import Inputs
from audiopatch.inference.output import Output
from audiopatch.inference.progress import Counts
from audiopatch.inference.settings import Runtime
from audiopatch.models.tagger import Tagger


@dataclass(frozen=True)
class Record:
    """What is known of a run from its start on; ``metadata`` also goes into every part."""

    output: Output
    values: dict[str, Any]
    metadata: dict[str, Any]

    @classmethod
    def begin(
        cls, output: Output, tagger: Tagger, inputs: Inputs, runtime: Runtime, *, root: str, device: str
    ) -> Record:
        """Written before the first part; ``root`` is what the ids of the tracks are relative to.

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
