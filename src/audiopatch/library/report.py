"""A library as one page to look at: offline, in one file, with every track in it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path

from audiopatch.library.payload import payload
from audiopatch.library.vectors import Vectors, read_vectors
from audiopatch.tables.read import read

_SCRIPTS = ("data.js", "filter.js", "list.js", "map.js", "panels.js", "app.js")


@dataclass(frozen=True)
class Page:
    """A page as written."""

    path: Path
    n_tracks: int
    size_bytes: int
    has_map: bool


def report(output: str | os.PathLike[str] = "library.html", tables: str | os.PathLike[str] = "audiopatch.out") -> Page:
    """Write the tracks of an output folder as a page to search, filter, see on a map and choose a playlist from.

    The page needs no network and no server, and its own script is the only one that may run in it: names from files
    are text. Without vectors in the tables it has no map and no nearest tracks.
    """
    vectors = read_vectors(read(tables), required=False)
    text = page(vectors, title=f"Library {Path(vectors.tables.run.get('root') or os.fspath(tables)).name}".strip())
    path = Path(output)
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
    return Page(path, len(vectors), path.stat().st_size, bool(vectors.kind))


def page(vectors: Vectors, *, title: str) -> str:
    """The whole page as HTML."""
    script = "\n".join(_part(name) for name in _SCRIPTS)
    style = _part("page.css")
    rules = f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'"
    parts = {
        "csp": f"{rules}; img-src data:; base-uri 'none'; form-action 'none'",
        "title": escape(title),
        "facts": escape(_facts(vectors)),
        "style": style,
        "data": payload(vectors),
        "script": script,
    }
    return re.sub(r"\{(\w+)\}", lambda field: parts[field[1]], _part("page.html"))  # one pass: names stay as they are


def _facts(vectors: Vectors) -> str:
    run = vectors.tables.run
    hours = vectors.tracks["duration_s"].sum() / 3600
    made = (run.get("finished_at") or run.get("started_at") or "")[:10]
    return f"{len(vectors)} tracks, {hours:.1f} h, by {run['parameters']['model']}{f', {made}' if made else ''}"


def _part(name: str) -> str:
    return (resources.files("audiopatch.library") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What a content security policy calls an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
