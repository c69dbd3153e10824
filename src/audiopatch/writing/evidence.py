"""Fields of our own beside what we write: which values are ours, from which model, how sure, and when."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from audiopatch.writing.changes import Change
from audiopatch.writing.containers import Tags
from audiopatch.writing.journal import writes_in
from audiopatch.writing.rules import OWN

_SCORE = re.compile(r"(.*?)(?: (\d\.\d+))?")
_BETWEEN = "; "
_DIGITS = 16  # of the weights' sha256


def evidence(run: Mapping[str, Any], changes: Sequence[Change]) -> dict[str, tuple[str, ...]]:
    """Our own fields for some changes of one file: ``AUDIOPATCH_GENRE`` = "Rock 0.83; Metal 0.61", and the model's."""
    model = run.get("model", {})
    said = {
        "MODEL": f"{run['parameters']['model']} {str(model.get('weights_sha256') or '')[:_DIGITS]}".strip(),
        "PLAN": str(model.get("plan", run["parameters"].get("patchout"))),
        "VOCABULARY": str(model.get("labels", "")),
        "DATE": f"{datetime.now(UTC):%Y-%m-%d}",
    }
    for change in changes:
        known = len(change.scores) == len(change.new)  # one text of several labels has no score of its own
        scores = change.scores if known else [None] * len(change.new)
        mine = [value for value in change.new if value not in change.old]
        texts = [_with_score(value, score) for value, score in zip(change.new, scores, strict=True) if value in mine]
        said[change.field] = _BETWEEN.join(texts)
    return {OWN + name: (text,) if text else () for name, text in said.items()}


def own_values(tags: Tags, name: str) -> tuple[str, ...]:
    """Those of a field's values that we wrote, by the evidence in the file."""
    texts = [part for text in tags.read(OWN + name) for part in text.split(_BETWEEN.strip())]
    return tuple(match[1] for text in texts if (match := _SCORE.fullmatch(text.strip())))


def written_before(folder: Any) -> dict[str, list[list[str]]]:
    """path -> every list of genres that a write of ours gave it, by the journals in the folder of the tables."""
    found: dict[str, list[list[str]]] = {}
    for path, genres in _genres(Path(str(folder))):
        found.setdefault(path, []).append(genres)
    return found


def _genres(folder: Path) -> Iterator[tuple[str, list[str]]]:
    for write in writes_in(folder):
        for record in write.records():
            if record.said["kind"] == "file" and "GENRE" in record.said["fields"]:
                yield record.said["path"], record.said["fields"]["GENRE"]["new"]


def _with_score(value: str, score: float | None) -> str:
    return value if score is None else f"{value} {score:.2f}"
