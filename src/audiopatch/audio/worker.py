"""A decode worker: the process in which FFmpeg may crash. Run by the pool as ``python -m audiopatch.audio.worker``."""

from __future__ import annotations

import os
import queue
import sys
import threading
from typing import Any, BinaryIO

from audiopatch.audio.decode import decode_track
from audiopatch.audio.wire import outcome_head, receive, send
from audiopatch.types import CutSpec, Segment, Track

_BASE_MB = 64  # what a worker holds before its first track


def main() -> None:
    """Decode one track after another until the pool closes our stdin, or dies, which closes it too."""
    results = os.fdopen(os.dup(1), "wb", buffering=0)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # whatever a native library prints must not land among the results
    _limit_memory(int(sys.argv[1]))
    tasks: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_take_tasks, args=(os.fdopen(os.dup(0), "rb", buffering=0), tasks), daemon=True).start()
    send(results, {"kind": "ready"})
    os.dup2(silence, 2)  # so far an import error would have had something to tell
    try:
        while True:
            _work(tasks.get(), results)
    except BrokenPipeError:  # the pool has gone
        os._exit(0)


def _work(task: dict[str, Any], results: BinaryIO) -> None:
    send(results, {"kind": "started"})
    track, spec = Track(**task["track"]), CutSpec(**task["spec"])
    for outcome in decode_track(track, spec, beat=lambda: send(results, {"kind": "beat"})):
        if isinstance(outcome, Segment):
            send(results, outcome_head(outcome), outcome.wave)
        else:
            send(results, outcome_head(outcome))


def _take_tasks(pipe: BinaryIO, tasks: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Queue what arrives; at the end of the pipe leave at once, also from the midst of a decode."""
    while True:
        try:
            tasks.put(receive(pipe)[0])
        except (EOFError, OSError):
            os._exit(0)


def _limit_memory(memory_mb: int) -> None:
    """Cap the address space where the system can (Linux): what a lying header asks for is refused by malloc (E_OOM)."""
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/statm") as statm:
        in_use = int(statm.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = in_use + (max(1, memory_mb - _BASE_MB) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


if __name__ == "__main__":
    main()
