"""One run per folder in a store: an object that says who holds it, renewed while the holder lives.

Stores lock nothing, so a lock can only be a promise. It is created only where there is none (S3 and GCS see to that
themselves), and a holder whose object stays the same for long enough counts as dead; no clocks are compared. A holder
that was only stalled and comes back can do no harm: see ``history``.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from audiopatch.errors import OutputMismatchError
from audiopatch.storage.store import delete, read, write

_NAME = ".lock"
_RENEWED_S, _DEAD_AFTER_S, _LOOK_S = 10.0, 60.0, 1.0


class Holder:
    """The lock in our hands; ``lost`` is set when somebody else took it."""

    def __init__(self, url: str):
        self.url: str = f"{url}/{_NAME}"
        self.token: str = uuid.uuid4().hex
        self.lost: threading.Event = threading.Event()
        self._ended = threading.Event()
        self._n_renewals = 0
        self._thread = threading.Thread(target=self._renew, name="audiopatch-lock", daemon=True)

    def body(self) -> bytes:
        """Who we are; different every time, so that others see us alive."""
        self._n_renewals += 1
        return json.dumps({**_ourselves(), "token": self.token, "renewals": self._n_renewals}).encode()

    def keep(self) -> None:
        self._thread.start()

    def release(self) -> None:
        """Whatever happens here, the lock dies with us."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            if not self.lost.is_set() and _said(self.url).get("token") == self.token:
                delete([self.url])

    def _renew(self) -> None:
        while not self._ended.wait(_RENEWED_S):
            with suppress(OSError):  # a network that is away for long enough loses us the lock
                if _said(self.url).get("token") != self.token:
                    self.lost.set()
                    return
                write(self.url, self.body())


@contextmanager
def held(url: str) -> Iterator[Holder]:
    """Holds the folder at ``url`` for this process, or an OutputMismatchError that names who holds it."""
    holder = Holder(url)
    while not _taken(holder, only_if_new=True):
        other = _said(holder.url)
        if other and not _is_dead(other, holder.url):
            raise OutputMismatchError(
                f"{url} is in use by another run ({_name(other)}); wait for it to end, or choose another folder with -o"
            )
        if other and _taken(holder, only_if_new=False):
            break
    holder.keep()
    try:
        yield holder
    finally:
        holder.release()


def _taken(holder: Holder, *, only_if_new: bool) -> bool:
    """Whether the object is ours afterwards; of two who take over at once, the later one stays."""
    try:
        write(holder.url, holder.body(), only_if_new=only_if_new)
    except FileExistsError:
        pass  # perhaps our own, if the answer to a first attempt was lost
    else:
        if not only_if_new:
            time.sleep(_LOOK_S)
    return _said(holder.url).get("token") == holder.token


def _is_dead(other: dict[str, Any], url: str) -> bool:
    """Known at once of a process of this machine; of others it takes until they have not shown themselves for long."""
    us = _ourselves()
    if other.get("machine") == us["machine"] and sys.platform != "win32":
        return _started(other.get("process")) != other.get("started")
    give_up = time.monotonic() + _DEAD_AFTER_S
    while time.monotonic() < give_up:
        time.sleep(_LOOK_S)
        now = _said(url)
        if now != other:
            return not now
    return True


def _ourselves() -> dict[str, Any]:
    namespace = ""
    with suppress(OSError):  # process numbers mean something only within it (Linux)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return {
        "process": os.getpid(),
        "started": _started(os.getpid()),
        "host": socket.gethostname(),
        "machine": f"{socket.gethostname()} {namespace}".strip(),
    }


def _started(process: Any) -> str | None:
    """When a process of this machine began, so that a number used again is not taken for it; None where it is gone.

    Not asked on Windows, where signal 0 is a Ctrl-C.
    """
    if sys.platform == "win32":
        return "unknown"
    try:
        os.kill(int(process), 0)
        return Path(f"/proc/{int(process)}/stat").read_text().rpartition(")")[2].split()[19]
    except PermissionError:
        return "another user's"
    except FileNotFoundError:  # no /proc: it lives, and that is all there is to know
        return "unknown"
    except (OSError, TypeError, ValueError):
        return None


def _said(url: str) -> dict[str, Any]:
    """What the lock says; nothing where there is none, and where it is not one of ours."""
    try:
        said = json.loads(read(url))
        return said if isinstance(said, dict) else {}
    except FileNotFoundError:
        return {}
    except ValueError:
        return {"host": "unknown"}


def _name(other: dict[str, Any]) -> str:
    return f"process {other.get('process', 'unknown')} on {other.get('host', 'unknown')}"
