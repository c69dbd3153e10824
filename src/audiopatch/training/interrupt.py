"""Ctrl-C during training: finish the step, save, leave."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_requested(n_processes: int = 1, heard: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether SIGINT or SIGTERM came; a second signal acts as it always does.

    With several processes this one listens and the function, handed to the others, tells them too: Ctrl-C reaches all
    of them on a terminal, but ``kill`` only one. ``heard`` is called once, when the first signal comes.
    """
    stop = threading.Event() if n_processes == 1 else multiprocessing.get_context("spawn").Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop.is_set  # only the main thread hears signals
        return
    before = {}

    def handle(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[number])
        heard()

    before.update({number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)})
    try:
        yield stop.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_to_parent() -> None:
    """In one of several processes: Ctrl-C is the first process's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
