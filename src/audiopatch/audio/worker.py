"""A decode worker: the process in which FFmpeg may crash. Run by the pool as ``python -m audiopatch.audio.worker``.

What travels between the two is a line of JSON and, behind it, samples as raw bytes. JSON rather than pickle: a worker
that a hostile file has taken over cannot make its parent run anything.
"""

from __future__ import annotations

import json
import os
import queue
import struct
import sys
import threading
from collections.abc import Mapping
from dataclasses import fields
from typing import IO, Any, BinaryIO

import numpy as np

from audiopatch.audio.decode import Outcome, decode_track
from audiopatch.types import CutSpec, Decoded, Failed, Segment, Track

_BASE_MB = 64  # what a worker holds before its first track
_SIZES = struct.Struct("<II")  # bytes of JSON, bytes of samples
_KINDS = {"segment": Segment, "decoded": Decoded, "failed": Failed}
_NO_WAVE = np.empty(0, np.float32)


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
            head, _ = receive(pipe)
            tasks.put(head)
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


def send(pipe: IO[bytes], head: Mapping[str, Any], wave: np.ndarray = _NO_WAVE) -> None:
    """Write one message; blocks while the reader is behind, which is what bounds a worker's lead."""
    text = json.dumps(head).encode("ascii")  # lone surrogates of undecodable paths become \\udcXX
    for part in (_SIZES.pack(len(text), wave.nbytes) + text, wave.data.cast("B") if wave.size else b""):
        rest = memoryview(part)
        while rest:
            rest = rest[pipe.write(rest) :]


def receive(pipe: IO[bytes]) -> tuple[dict[str, Any], np.ndarray]:
    """Read one message -> (head, wave (S,) float32); EOFError where the other side is gone."""
    n_text, n_wave = _SIZES.unpack(_read(pipe, bytearray(_SIZES.size)))
    head = json.loads(_read(pipe, bytearray(n_text)))
    wave = np.empty(n_wave // 4, np.float32)
    if n_wave:
        _read(pipe, wave)
    return head, wave


def _read(pipe: IO[bytes], into: Any) -> Any:
    rest = memoryview(into).cast("B")
    while rest:
        n_read = pipe.readinto(rest)  # type: ignore[attr-defined]
        if not n_read:
            raise EOFError
        rest = rest[n_read:]
    return into


def outcome_head(outcome: Outcome) -> dict[str, Any]:
    """An outcome without its track, which the pool knows, and its wave, which follows the head."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(outcome, cls))
    names = [field.name for field in fields(outcome) if field.name not in ("track", "wave")]
    return {"kind": kind} | {name: getattr(outcome, name) for name in names}


def outcome_from(head: dict[str, Any], wave: np.ndarray, track: Track) -> Outcome:
    """The inverse of ``outcome_head``."""
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in head.items()}
    cls = _KINDS[values.pop("kind")]
    return cls(track=track, wave=wave, **values) if cls is Segment else cls(track=track, **values)


if __name__ == "__main__":
    main()
