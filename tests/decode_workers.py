"""The decode workers that this process has started, for tests that count, weigh or kill them."""

from __future__ import annotations

import psutil


def decode_workers() -> list[psutil.Process]:
    """Those alive now.

    They go by their command line: between fork and exec a child still shows this process's command line, and all of its
    memory as if it were held twice.
    """
    return [child for child in psutil.Process().children() if _is_worker(child)]


def held_by_decode_workers_bytes() -> int:
    """What they hold together (resident)."""
    total = 0
    for worker in decode_workers():
        try:
            total += worker.memory_info().rss
        except psutil.Error:  # it has just gone
            continue
    return total


def _is_worker(child: psutil.Process) -> bool:
    try:
        return "audiopatch.audio.worker" in child.cmdline()
    except psutil.Error:  # it has just gone
        return False
