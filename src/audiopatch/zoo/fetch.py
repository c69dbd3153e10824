"""Bring published weights into the cache: resumable, checked, atomic, and never without being asked.

The cache is ``$AUDIOPATCH_CACHE``, else ``$HF_HOME/audiopatch``, else ``~/.cache/audiopatch``. Hub repositories go
through huggingface_hub and share its cache with other programs (unless ``AUDIOPATCH_CACHE`` says otherwise).
"""

from __future__ import annotations

import errno
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audiopatch.cache import cache_folder, sha256_of
from audiopatch.errors import EnvironmentProblem, UsageError, WeightsError
from audiopatch.models.card import ModelCard, Weights
from audiopatch.zoo.hub_cache import hub_folder, is_offline, verify_hub_folder
from audiopatch.zoo.transfer import Progress, note_of, transfer

_log = logging.getLogger("audiopatch")
_LOCK_WAIT_S = 3600.0


def cached(card: ModelCard) -> Path | None:
    """The card's weights in the cache (a file, or a hub folder); None where they are not there yet."""
    weights = _weights_of(card)
    if not weights.hub:
        path = cache_folder() / card.name / weights.filename
        return path if path.is_file() else None
    try:
        return hub_folder(weights.hub, offline=True)
    except WeightsError:
        return None


def download(card: ModelCard, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """The card's weights, from the cache or from where its authors publish them.

    A cut download is resumed, also by a later run; the sha256 is checked before the file appears under its name;
    of two processes one downloads and the other waits. Without network or card a WeightsError says what to do.
    """
    weights = _weights_of(card)
    if (present := cached(card)) is not None:
        return present
    if is_offline(offline):
        raise WeightsError(f"the weights of '{card.name}' are not cached, and downloads are off (offline)")
    _log.warning("%s", licence_notice(card))
    if weights.hub:
        return hub_folder(weights.hub)
    path = cache_folder() / card.name / weights.filename
    with _folder_errors(path.parent), _lock(path):
        if not path.is_file():  # unless another process has finished it meanwhile
            transfer(weights, path, progress or _silent)
    return path


def verify(card: ModelCard) -> str:
    """What the cache holds of a card, in a word or two: "ok", "missing", "corrupt", or "unpublished hash" where
    the authors publish none, and the file is at least still the one that was downloaded."""
    path = cached(card)
    if path is None:
        return "missing"
    weights = _weights_of(card)
    if weights.hub:
        return verify_hub_folder(path)
    noted = note_of(path)
    expected = weights.sha256 or (noted.read_text("utf-8").strip() if noted.is_file() else "")
    sha256 = sha256_of(path)
    if not expected or not sha256.startswith(expected):
        return "corrupt" if expected else "unpublished hash"
    return "ok" if weights.sha256 else "unpublished hash"


def licence_notice(card: ModelCard) -> str:
    """What a user should know before the weights arrive."""
    size = f", {_weights_of(card).size_bytes / 1e6:.0f} MB" if _weights_of(card).size_bytes else ""
    return f"Downloading '{card.name}'{size}. Licence: {card.licence}. {card.paper}"


def progress_bar(card: ModelCard) -> Progress:
    """A tqdm bar that appears with the first byte, for the Python API."""
    bar: Any = None

    def update(n_done: int, n_total: int) -> None:
        nonlocal bar
        if bar is None:
            from tqdm.auto import tqdm

            bar = tqdm(desc=card.name, unit="B", unit_scale=True, unit_divisor=1024)
        bar.total = n_total or None
        bar.update(n_done - bar.n)
        if n_total and n_done >= n_total:
            bar.close()

    return update


def _weights_of(card: ModelCard) -> Weights:
    if card.weights is None:
        raise UsageError(f"'{card.name}' has no published weights; there is nothing to download")
    return card.weights


@contextmanager
def _lock(path: Path) -> Any:
    from filelock import FileLock, Timeout

    try:
        with FileLock(path.with_name(path.name + ".lock"), timeout=_LOCK_WAIT_S):
            yield
    except Timeout as error:
        raise WeightsError(f"another process has been downloading {path.name} for an hour; stop it first") from error


@contextmanager
def _folder_errors(folder: Path) -> Any:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))
        raise EnvironmentProblem(
            f"the cache {folder} {'is full' if full else 'cannot be written'}: {error.strerror}; "
            "AUDIOPATCH_CACHE names another place"
        ) from error


def _silent(n_done: int, n_total: int) -> None:
    pass
