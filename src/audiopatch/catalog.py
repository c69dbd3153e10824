"""A catalog: names a user may type, each bound to a place in the code that is imported on first use."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

from audiopatch.errors import UsageError


class Catalog(Mapping[str, str]):
    """name -> "module:attribute". Listing a catalog imports nothing; ``load`` imports one entry."""

    def __init__(self, kind: str, entries: Mapping[str, str]):
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> str:
        if name not in self._entries:
            raise UsageError(unknown_name(self.kind, name, self._entries))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, name: str) -> Any:
        """The object behind ``name``; an unknown name is a UsageError that suggests the nearest one."""
        module, _, attribute = self[name].partition(":")
        return getattr(import_module(module), attribute)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """``unknown reducer 'topkk'; did you mean 'topk'?``, or all the choices when nothing is near."""
    known = sorted(set(known))
    choices = f"choose from: {', '.join(known)}"
    return f"unknown {kind} '{name}'; {nearest(name, known, otherwise=choices)}"


def nearest(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """``did you mean 'topk'?``, or ``otherwise`` when nothing is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'?" if near else otherwise
