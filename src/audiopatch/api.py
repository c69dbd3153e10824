"""The commands ``tag`` and ``embed`` as functions."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from audiopatch.audio.inputs import Inputs
from audiopatch.catalog import unknown_name
from audiopatch.errors import UsageError
from audiopatch.inference.pipeline import run_to_folder
from audiopatch.inference.progress import Silent, TqdmBar
from audiopatch.inference.settings import TOKENS, Analysis, Runtime, Stack
from audiopatch.tables.read import Tables, read
from audiopatch.zoo import DEFAULT_MODEL

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def tag(
    paths: Paths,
    output: str | os.PathLike[str] | None = None,
    *,
    model: str = DEFAULT_MODEL,
    progress: bool = False,
    **options: Any,
) -> Tables:
    """Tag files and folders; the tables are read back lazily as pandas frames.

    ``output`` is a folder that the same call resumes; without one the tables are kept only as long as the result.
    ``options`` are the fields of ``Analysis`` and ``Runtime``, as in ``top=5, patchout="F3T2", device="cuda"``.
    """
    return _run(paths, output, progress, {"model": model, **options})


def embed(
    paths: Paths,
    output: str | os.PathLike[str] | None = None,
    *,
    model: str = DEFAULT_MODEL,
    block: int | Sequence[int] | None = None,
    tokens: Sequence[str] = TOKENS,
    progress: bool = False,
    **options: Any,
) -> Tables:
    """Embed files and folders: the pooled features before the head, or the stack of ``tokens`` after ``block``.

    The ``embedding`` column of ``.embeddings`` holds one vector per track; with ``timeline=True`` the one of
    ``.segments`` holds one per segment. The rest is as in ``tag``.
    """
    blocks = (block,) if isinstance(block, int) else tuple(block or ())
    stack = Stack(blocks=blocks, tokens=tuple(tokens)) if blocks else None
    return _run(paths, output, progress, {"model": model, "tags": False, "embeddings": True, "stack": stack, **options})


def _run(paths: Paths, output: str | os.PathLike[str] | None, progress: bool, options: dict[str, Any]) -> Tables:
    chosen: dict[type, dict[str, Any]] = {Analysis: {}, Runtime: {}}
    names = {name.name: kind for kind in chosen for name in fields(kind)}
    for name, value in options.items():
        if name not in names:
            raise UsageError(unknown_name("option", name, names))
        chosen[names[name]][name] = value
    inputs = Inputs([os.fspath(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)])
    kept = None if output is not None else tempfile.TemporaryDirectory(prefix="audiopatch-")
    folder = kept.name if kept else os.fspath(output or "")
    observer = TqdmBar() if progress else Silent()
    run_to_folder(inputs, folder, Analysis(**chosen[Analysis]), Runtime(**chosen[Runtime]), observer=observer)
    return read(folder, keep=kept)
