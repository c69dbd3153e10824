"""Follow folders: which of their paths the system says have changed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiopatch.audio.names import is_hidden

_TICK_MS = 1000
_TOGETHER_MS = 400  # changes that come closer than this are reported as one
_STEP_MS = 100


@dataclass(frozen=True)
class Changes:
    """Absolute paths of what is new, was written to, moved or deleted; some of those ``deleted`` may be back again."""

    paths: frozenset[str]
    deleted: frozenset[str]


def follow(folders: Sequence[str], stop: threading.Event, *, leave_out: Sequence[str] = ()) -> Iterator[Changes]:
    """What changed in the folders since the last answer, once a second, also when it is nothing; until ``stop``.

    Names hidden by convention and what is below ``leave_out`` do not count. OSError where the system cannot watch so
    many folders. A system tells what is done on it: not what other machines do to a network disk.
    """
    from watchfiles import Change, watch

    tops = [os.path.abspath(folder) for folder in folders]  # noqa: PTH100
    apart = tuple(os.path.join(os.path.abspath(folder), "") for folder in leave_out)  # noqa: PTH100, PTH118

    def counts(change: Change, path: str) -> bool:
        top = next((top for top in tops if path.startswith(os.path.join(top, ""))), None)  # noqa: PTH118
        if top is None or path.startswith(apart):
            return False
        return not any(map(is_hidden, path[len(top) :].split(os.sep)))  # noqa: PTH206

    for found in watch(
        *(top for top in tops if Path(top).is_dir()),
        watch_filter=counts,
        debounce=_TOGETHER_MS,
        step=_STEP_MS,
        rust_timeout=_TICK_MS,
        yield_on_timeout=True,
        stop_event=stop,
        raise_interrupt=False,
        ignore_permission_denied=True,
    ):
        deleted = frozenset(path for change, path in found if change is Change.deleted)
        yield Changes(frozenset(path for _, path in found), deleted)
