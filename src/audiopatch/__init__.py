"""audiopatch: tag whole music libraries with patchout spectrogram transformers.

Public names are resolved on first use (PEP 562), so ``import audiopatch`` imports neither torch nor pyarrow.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiopatch.api import bench as bench
    from audiopatch.api import distill as distill
    from audiopatch.api import embed as embed
    from audiopatch.api import estimate as estimate
    from audiopatch.api import evaluate as evaluate
    from audiopatch.api import export as export
    from audiopatch.api import inspect as inspect
    from audiopatch.api import shrink as shrink
    from audiopatch.api import tag as tag
    from audiopatch.api import train as train
    from audiopatch.audio.pool import decode as decode
    from audiopatch.bench.check import check_model as check_model
    from audiopatch.bench.compare import compare_models as compare_models
    from audiopatch.library.adapt import adapt as adapt
    from audiopatch.library.duplicates import duplicates as duplicates
    from audiopatch.library.label_names import labels as labels
    from audiopatch.library.playlist import playlist as playlist
    from audiopatch.library.playlist_files import write_playlist as write_playlist
    from audiopatch.library.report import report as report
    from audiopatch.library.show import show as show
    from audiopatch.library.similar import similar as similar
    from audiopatch.models.tagger import Tagger as Tagger
    from audiopatch.tables.read import read as read
    from audiopatch.writing.apply import apply_changes as apply_changes
    from audiopatch.writing.propose import propose_changes as propose_changes
    from audiopatch.writing.undo import undo as undo
    from audiopatch.zoo import load_model as load_model

    __version__: str

_PUBLIC = {
    "load_model": "audiopatch.zoo",
    **dict.fromkeys(
        ("tag", "embed", "evaluate", "train", "distill", "bench", "estimate", "export", "inspect", "shrink"),
        "audiopatch.api",
    ),
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


class _Package(ModuleType):
    """Whoever imports the folder ``bench`` or ``distill`` would set it here, in place of the function of that name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
