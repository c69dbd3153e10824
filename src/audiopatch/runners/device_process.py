"""The process of one device: asks for tracks, sends back steps. Started by ``runners.devices``."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch

from audiopatch.audio.pool import decode_tracks
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.inference.stages import Stages
from audiopatch.types import CutSpec
from audiopatch.zoo import load_model


@dataclass(frozen=True)
class Job:
    """What one process has to do, with its own device, decoders and threads in ``runtime``.

    With ``once`` it sets tracks aside that begin like an earlier one of any process.
    """

    analysis: Analysis
    runtime: Runtime
    cut: CutSpec
    once: bool


def main() -> None:
    """The argument is a pipe's number.

    Through it go questions, each answered by one message: ("next",) by a track, or None at the end, and ("first", ...)
    as by ``Beginnings``. Other messages are steps, an error, and None when all is done.
    """
    pipe = Connection(int(sys.argv[1]))
    sending, asking = threading.Lock(), threading.Lock()

    def send(message: object) -> None:
        with sending:
            pipe.send(message)

    def ask(*question: object) -> Any:
        with asking:
            send(question)
            return pipe.recv()

    job: Job = pipe.recv()
    try:
        _work(job, ask, send)
        send(None)
    except (EOFError, ConnectionError):  # the run has gone
        os._exit(0)
    except Exception as error:
        send(error)


def _work(job: Job, ask: Callable[..., Any], send: Callable[[object], None]) -> None:
    wanted = job.runtime
    if wanted.threads:
        torch.set_num_threads(wanted.threads)
    tagger = load_model(
        job.analysis.model, device=wanted.device, dtype=wanted.dtype, engine=wanted.engine, offline=wanted.offline
    )
    stages = Stages(tagger, job.analysis, batch_size=wanted.batch_size)
    decoding = decode_tracks(
        iter(partial(ask, "next"), None),
        job.cut,
        workers=wanted.n_workers,
        timeout_s=wanted.decode_timeout_s,
        queue_segments=stages.queue_segments,
    )
    for step in stages.finished(decoding, threading.Event(), partial(ask, "first") if job.once else None):
        send(step)


if __name__ == "__main__":
    main()
