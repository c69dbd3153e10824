"""Many small parts -> few larger ones, which every reader opens faster."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from audiopatch.tables.output import folder_at, open_output, require_run
from audiopatch.tables.parts import PartStore

PART_BYTES = 64 << 20
_WORTH_IT = 16  # parts; fewer are left alone, so that a daily update does not rewrite yesterday's tables


@dataclass(frozen=True)
class Compacted:
    """How many parts there were and how many are left."""

    n_before: int
    n_after: int


def compact_folder(place: str | os.PathLike[str], *, part_bytes: int = PART_BYTES) -> Compacted:
    """Merge whatever small parts an output folder has; refused while a run is at work there."""
    run = require_run(folder_at(place))
    with open_output(place, run["parameters"]) as output:
        n_before = len(output.store.names())
        gone = compact(output.store, output.fingerprint, at_least=2, part_bytes=part_bytes)
        return Compacted(n_before, n_before - gone)


def compact(store: PartStore, fingerprint: str, *, at_least: int = _WORTH_IT, part_bytes: int = PART_BYTES) -> int:
    """Merge neighbouring small parts, each merge all at once; returns how many parts went. Call it under the lock.

    Memory is bounded by ``part_bytes``, time is linear in what is merged: parts of half that size are left alone.
    """
    gone = 0
    for group in _groups(store.sizes(), part_bytes, at_least):
        name = hashlib.blake2b("".join(sorted(group)).encode(), digest_size=8).hexdigest()
        store.compact(f"part-{name}-{fingerprint[:8]}", group)
        gone += len(group) - 1
    return gone


def _groups(sizes: Mapping[str, int], part_bytes: int, at_least: int) -> Iterator[list[str]]:
    small = {part: size for part, size in sizes.items() if size < part_bytes // 2}
    if len(small) < at_least:
        return
    group: list[str] = []
    total = 0
    for part, size in small.items():
        if group and total + size > part_bytes:
            yield group
            group, total = [], 0
        group.append(part)
        total += size
    if len(group) > 1:
        yield group
