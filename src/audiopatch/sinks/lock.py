"""One run per folder on a disk: a lock that the system itself releases when its holder dies."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audiopatch.errors import EnvironmentProblem, OutputMismatchError
from audiopatch.sinks.transaction import disk_errors

_NAME = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds ``folder`` for this process, or an OutputMismatchError that names who holds it."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / _NAME, "a+b", buffering=0)  # noqa: SIM115 closed below, where it was locked
    with file:
        if not _try_lock(file.fileno()):
            file.seek(0)
            raise OutputMismatchError(
                f"{folder} is in use by another run ({file.read().decode(errors='replace').strip() or 'unknown'}); "
                "wait for it to end, or choose another folder with -o"
            )
        with disk_errors(folder):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        return _try_lock_windows(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some network disks
        raise EnvironmentProblem(
            f"the disk of the output cannot lock files ({error.strerror}), which keeps two runs apart; "
            "choose a folder on another with -o"
        ) from error
    return True


def _try_lock_windows(descriptor: int) -> bool:
    import msvcrt  # pyright: ignore

    os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # far past the text, which others must be able to read
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore
    except OSError:
        return False
    return True
