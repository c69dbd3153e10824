"""Stopping between two batches, wherever a run computes for long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class StopAsked(Exception):
    """Somebody asked a run to stop; what it was at is done again when it goes on."""


def never() -> bool:
    """The ``stop`` of a run that nobody stops."""
    return False


def until(stop: Callable[[], bool], batches: Iterable[T]) -> Iterator[T]:
    """The batches; StopAsked before the next one where ``stop`` says so."""
    for batch in batches:
        if stop():
            raise StopAsked
        yield batch
