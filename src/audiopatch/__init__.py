"""audiopatch: tag whole music libraries with patchout spectrogram transformers.

Public names are resolved on first use (PEP 562), so ``import audiopatch`` imports neither torch nor pyarrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

_PUBLIC = {
    "load_model": "audiopatch.zoo",
    "tag": "audiopatch.api",
    "embed": "audiopatch.api",
    "read": "audiopatch.tables.read",
    "similar": "audiopatch.library.similar",
    "playlist": "audiopatch.library.playlist",
    "write_playlist": "audiopatch.library.playlist_files",
    "duplicates": "audiopatch.library.duplicates",
    "propose_changes": "audiopatch.writing.propose",
    "apply_changes": "audiopatch.writing.apply",
    "undo": "audiopatch.writing.undo",
    "report": "audiopatch.library.report",
    "check_model": "audiopatch.bench.check",
    "compare_models": "audiopatch.bench.compare",
    "adapt": "audiopatch.library.adapt",
    "decode": "audiopatch.audio.pool",
    "show": "audiopatch.library.show",
    "labels": "audiopatch.library.label_names",
    "Tagger": "audiopatch.models.tagger",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if name == "__version__":  # which takes longer to look up than all of --help
        from importlib.metadata import version

        return version("audiopatch")
    raise AttributeError(f"module 'audiopatch' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
