"""Where audiopatch keeps files it can get or make again: downloaded weights, compiled models."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from audiopatch.storage.place import at_home


def cache_folder() -> Path:
    """``$AUDIOPATCH_CACHE``, else ``$HF_HOME/audiopatch``, else ``~/.cache/audiopatch``. It need not exist yet."""
    if own := os.environ.get("AUDIOPATCH_CACHE"):
        return at_home(own)
    if hub := os.environ.get("HF_HOME"):
        return at_home(hub) / "audiopatch"
    folder = at_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if str(folder).startswith("~"):  # a user id without an entry, and no HOME: a container
        folder = Path(tempfile.gettempdir()) / f"audiopatch-cache-{os.getuid()}"
    return folder / "audiopatch"


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
