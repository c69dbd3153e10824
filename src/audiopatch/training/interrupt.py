"""Ctrl-C or SIGTERM during training: finish the step, save, leave."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_requested(
    n_processes: int = 1, heard: Callable[[int], None] = lambda number: None
) -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether SIGINT or SIGTERM came; a second signal acts as it always does.

    With several processes this one listens and the function, handed to the others, tells them too: a terminal or a
    scheduler signals all of them, but ``kill`` only one. ``heard`` is called once, with the first signal's number.
    """
    stop = threading.Event() if n_processes == 1 else multiprocessing.get_context("spawn").Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop.is_set  # only the main thread hears signals
        return
    before = {}

    def handle(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[number])
        heard(number)

    before.update({number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)})
    try:
        yield stop.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_to_parent(stop: Callable[[], bool]) -> Callable[[], bool]:
    """In one of several processes signals are the first one's business; where that is gone, ``stop`` is true, too."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    return lambda: stop() or (parent is not None and not parent.is_alive())
