"""Where audiopatch keeps files it can get or make again: downloaded weights, compiled models."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def cache_folder() -> Path:
    """``$AUDIOPATCH_CACHE``, else ``$HF_HOME/audiopatch``, else ``~/.cache/audiopatch``. It need not exist yet."""
    if own := os.environ.get("AUDIOPATCH_CACHE"):
        return Path(own).expanduser()
    if hub := os.environ.get("HF_HOME"):
        return Path(hub).expanduser() / "audiopatch"
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "audiopatch"


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
