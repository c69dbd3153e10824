"""Requests that may fail for a while: throttled, cut off, timed out."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import TypeVar

from audiopatch.errors import AudioPatchError, EnvironmentProblem
from audiopatch.storage.place import without_secrets

T = TypeVar("T")

_FIRST_S, _LONGEST_S = 0.25, 15.0


class Unreachable(EnvironmentProblem, ConnectionError):
    """The store did not give what was asked for, however often: for who reads a file as any other trouble with it."""


def patience_s() -> float:
    """For how long a failing request is repeated before it counts as failed: AUDIOPATCH_PATIENCE_S, or a minute."""
    return float(os.environ.get("AUDIOPATCH_PATIENCE_S", 60))


def patiently(request: Callable[[], T], what: str) -> T:
    """The answer to ``request``, repeated with growing pauses (by chance, so that many do not come at once).

    What the store says of the object itself is no reason to ask again: ``FileNotFoundError``, ``PermissionError`` and
    ``FileExistsError`` are raised at once. The rest becomes ``Unreachable`` when patience ends.
    """
    give_up, pause_s = time.monotonic() + patience_s(), _FIRST_S
    while True:
        try:
            return request()
        except AudioPatchError:
            raise
        except Exception as error:
            answer = _answer(error)
            if answer is not None:
                raise answer from error
            wait_s = random.uniform(pause_s / 2, pause_s)
            if time.monotonic() + wait_s > give_up:
                raise Unreachable(f"cannot reach {without_secrets(what)}: {_reason(error)}") from error
        time.sleep(wait_s)
        pause_s = min(2 * pause_s, _LONGEST_S)


# What cannot get better by waiting, by the names their packages give them: none of those is imported here.
_DENIED = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "DefaultCredentialsError",
           "ProfileNotFound", "TokenRetrievalError", "UnauthorizedSSOTokenError", "RefreshError"}  # fmt: skip


def _answer(error: Exception) -> OSError | None:
    """What the store has said for good, if it has."""
    if isinstance(error, FileNotFoundError | FileExistsError | PermissionError | IsADirectoryError):
        return error
    if type(error).__name__ in _DENIED:
        return PermissionError(_reason(error))
    return None


def _reason(error: Exception) -> str:
    """One line of it, shortened: some clients put whole answers in."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 300 else f"{text[:297]}..."
