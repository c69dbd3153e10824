"""A part of a library: some of its paths, with everything below them."""

# ruff: noqa: PTH120 (paths stay strings here, as in walk)

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator


class Area:
    """Absolute paths of files and folders, and what lies below them."""

    def __init__(self, paths: Iterable[str]):
        self.paths = frozenset(paths)
        self._above = {folder for path in self.paths for folder in _parents(path)}

    def holds(self, path: str) -> bool:
        """Whether ``path`` is one of them, or below one."""
        return path in self.paths or any(folder in self.paths for folder in _parents(path))

    def leads_on(self, folder: str) -> bool:
        """Whether ``folder`` is one of them, below one, or above one."""
        return folder in self._above or self.holds(folder)


def _parents(path: str) -> Iterator[str]:
    """The folder that holds ``path``, the one that holds that, and so on up to the root."""
    folder = os.path.dirname(path)
    while folder != path:
        yield folder
        path, folder = folder, os.path.dirname(folder)
