"""Whether tables are up to date already, found out without the model: an equal request over unchanged files."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from audiopatch.audio.inputs import Inputs
from audiopatch.errors import NoAudioError
from audiopatch.events import Counts, Note, Observer, PassedOver, RunResult, silent
from audiopatch.inference.missing import Seen, settle_missing
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.storage.store import exists
from audiopatch.tables.journal import Journal
from audiopatch.tables.output import folder_at, open_output, read_run, refuse_foreign
from audiopatch.zoo import CARDS

_RANDOM = "random/"


def request_of(analysis: Analysis, runtime: Runtime, file_format: str) -> dict[str, Any] | None:
    """What is asked for, as JSON values; equal ones get equal numbers. None where the model's name does not tell which
    weights it stands for."""
    weights = _weights(analysis.model)
    if weights is None:
        return None
    asked = asdict(analysis) | {name: getattr(runtime, name) for name in ("engine", "dtype", "device")}
    asked |= {"version": version("audiopatch"), "format": file_format, "weights": weights}
    return json.loads(json.dumps(asked, default=list))


def run_if_current(
    inputs: Inputs,
    folder: str | os.PathLike[str],
    analysis: Analysis,
    runtime: Runtime,
    *,
    file_format: str = "parquet",
    observer: Observer = silent,
) -> RunResult | None:
    """What ``run_to_folder`` would give back if nothing is to do, rows of missing files settled; else None.

    Folders that became empty count as up to date, but for their missing files; where there never were any, it is a
    NoAudioError.
    """
    refuse_foreign(folder)
    before = None if runtime.force else read_run(folder_at(folder))
    request = request_of(analysis, runtime, file_format)
    if (
        before is None
        or request is None
        or before.get("request") != request
        or before["status"] != "finished"
        or not exists(before["root"])  # the library may have moved
    ):
        return None
    counts, seen = Counts(), Seen()
    unread: list[tuple[str, str | None]] = []
    left_out: list[str] = []
    try:
        tracks = inputs.tracks(
            root=before["root"],
            report=lambda path, error: unread.append((path, error.strerror)),
            left_out=left_out.append,
        )
    except NoAudioError as error:
        tracks, nothing = iter(()), error
    else:
        nothing = None
    with open_output(folder, before["parameters"]) as output:
        journal = Journal.of(output.store)
        for track in seen.watch(tracks, observer):
            known = journal.find(track)
            if known is None or not known.unchanged or ((known.failed or known.damaged) and runtime.retry_failed):
                return None
            counts.n_found += 1
            counts.n_failed_before += known.failed
            counts.n_up_to_date += not known.failed
        settle_missing(output, inputs, before.get("disks"), seen, counts, prune=runtime.prune)
    if nothing is not None and not counts.n_missing + counts.n_removed:
        raise nothing
    counts.n_left_out = len(left_out)
    for path in left_out:
        observer(PassedOver(path))
    for path, why in unread:
        observer(Note(f"skipped {path}: {why}"))
    return RunResult(counts, folder)


def _weights(model: str) -> list[list[Any]] | None:
    """What tells whether a model is still the same: nothing more for those of the zoo, its files for one's own."""
    if model in CARDS or model.startswith(_RANDOM):
        return []
    path = Path(model).expanduser()
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
    about = [(file.name, file.stat()) for file in files]
    return [[name, found.st_size, found.st_mtime_ns] for name, found in about] or None
