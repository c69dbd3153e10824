"""Bring published weights into the cache: resumable, checked, atomic, and never without being asked.

The cache is ``$AUDIOPATCH_CACHE``, else ``$HF_HOME/audiopatch``, else ``~/.cache/audiopatch``. Hub repositories go
through huggingface_hub and share its cache with other programs (unless ``AUDIOPATCH_CACHE`` says otherwise).
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from ssl import SSLError
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from audiopatch.errors import EnvironmentProblem, UsageError, WeightsError, first_line
from audiopatch.models.card import ModelCard, Weights
from audiopatch.storage.place import at_home, cache_folder, sha256_of

_log = logging.getLogger("audiopatch")
CONFIG_FILE, PREPROCESSOR_FILE = "config.json", "preprocessor_config.json"
WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")  # the first that is there is read

Progress = Callable[[int, int], None]  # bytes so far, bytes in all (0 while unknown)
_CHUNK_BYTES = 1 << 20
_ATTEMPTS = 5
_TIMEOUT_S = 30.0
_BY_HAND = ("drive.google.com",)  # hosts that answer programs with a page for humans
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
        raise WeightsError(
            f"the weights of '{card.name}' are not cached, and downloads are off (offline); fetch them once where "
            f"there is a network, with: audiopatch models download {card.name}"
        )
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


def transfer(weights: Weights, path: Path, progress: Progress) -> None:
    """Download to ``path.part``, resuming what is there, then check and rename."""
    if urlsplit(weights.url).hostname in _BY_HAND:
        raise WeightsError(
            f"{weights.url} can only be downloaded by hand: open it in a browser and save the file as {path}"
        )
    part = path.with_name(path.name + ".part")
    for attempt in range(_ATTEMPTS):
        started_at = part.stat().st_size if part.exists() else 0
        try:
            _append(weights, part, progress)
        except (URLError, HTTPException, TimeoutError, ConnectionError, SSLError) as error:
            if isinstance(error, HTTPError) and error.code == 416:  # nothing is left to send: what we have is odd
                part.unlink(missing_ok=True)
            elif isinstance(error, HTTPError) or attempt == _ATTEMPTS - 1:
                raise WeightsError(
                    f"{weights.url} cannot be downloaded ({_reason(error)}); without a network, fetch that address "
                    "elsewhere and name the file with --model FILE"
                ) from error
            continue  # resume where the connection was cut
        sha256 = sha256_of(part)
        if sha256.startswith(weights.sha256):
            note_of(path).write_text(sha256 + "\n", encoding="utf-8")
            _settle(part, path)
            return
        part.unlink()
        if not started_at:  # a resumed file may have changed on the server in between; a fresh one is wrong
            raise WeightsError(f"{weights.url} is not the file its card describes: its sha256 differs")
    raise WeightsError(f"{weights.url} cannot be downloaded: what came in {_ATTEMPTS} attempts does not fit together")


def _append(weights: Weights, part: Path, progress: Progress) -> None:
    """Append what is missing to ``part``; fewer bytes than announced are a ConnectionError."""
    validator = part.with_name(part.name + ".etag")
    n_done = part.stat().st_size if part.exists() else 0
    seen = validator.read_text("utf-8") if validator.is_file() else ""
    headers = {"User-Agent": "audiopatch"}
    if n_done and (seen or weights.sha256):
        headers |= {"Range": f"bytes={n_done}-"} | ({"If-Range": seen} if seen else {})
    with _open(Request(weights.url, headers=headers)) as response:
        if response.status != 206:
            n_done = 0  # the server sends all of it
            validator.write_text(response.headers.get("ETag") or response.headers.get("Last-Modified") or "", "utf-8")
        n_total = n_done + int(response.headers.get("Content-Length") or 0)
        _check_size(n_total, weights, part)
        with part.open("ab" if n_done else "wb") as file:
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                n_done += len(chunk)
                progress(n_done, n_total)
    if n_done < n_total:
        raise ConnectionError(f"the connection was cut after {n_done} of {n_total} bytes")
    validator.unlink(missing_ok=True)


def _check_size(n_total: int, weights: Weights, part: Path) -> None:
    if weights.size_bytes and n_total and n_total != weights.size_bytes:
        part.unlink(missing_ok=True)
        raise WeightsError(f"{weights.url} has {n_total} bytes, its card says {weights.size_bytes}")


class _SafeRedirects(HTTPRedirectHandler):
    """Follows redirects, but never from https to anything weaker."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(request: Request) -> HTTPResponse:
    _check_url(request.full_url)
    return build_opener(_SafeRedirects).open(request, timeout=_TIMEOUT_S)


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not local:
        raise WeightsError(f"{url} is not https; weights are only downloaded over a secure connection")


def _settle(part: Path, path: Path) -> None:
    """Give a finished file its name, so that it survives a power cut whole or not at all."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)


def note_of(path: Path) -> Path:
    """Where the sha256 of a downloaded file is noted, for files whose authors publish none."""
    return path.with_name(path.name + ".sha256")


def is_offline(offline: bool = False) -> bool:
    """Whether downloads are forbidden, by the caller or by ``HF_HUB_OFFLINE``."""
    return offline or os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on")


def hub_folder(repository: str, *, offline: bool = False) -> Path:
    """``owner/name[@revision]`` -> the folder of its config and weights in the hub's cache.

    What is cached is taken as it is, without asking the hub for news.
    """
    name, _, revision = repository.partition("@")
    config = _hub_file(name, CONFIG_FILE, revision or None, offline=True)
    if config is not None and _has_weights(config.parent):
        return config.parent
    if is_offline(offline):
        raise WeightsError(f"'{name}' is not cached, and downloads are off (offline); run once without --offline")
    config = _hub_file(name, CONFIG_FILE, revision or None)
    if config is None:
        raise WeightsError(f"'{name}' has no {CONFIG_FILE}: it is no model in the hub's usual layout")
    commit = config.parent.name  # so that all files are of one revision, even if the repository changes now
    _hub_file(name, PREPROCESSOR_FILE, commit)
    if not any(_hub_file(name, file, commit) for file in WEIGHTS_FILES):
        raise WeightsError(f"'{name}' has none of the weights audiopatch reads: {', '.join(WEIGHTS_FILES)}")
    return config.parent


def _hub_file(name: str, file: str, revision: str | None, *, offline: bool = False) -> Path | None:
    """One file of a hub repository in its cache; None where the repository (or, offline, the cache) lacks it."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    cache = os.environ.get("AUDIOPATCH_CACHE")
    place = {"cache_dir": at_home(cache) / "hub" if cache else None, "revision": revision}
    try:
        if offline:  # hf_hub_download asks the hub which agents there are, also for files that are here
            found = try_to_load_from_cache(name, file, **place)
            return Path(found) if isinstance(found, str) else None
        return Path(hf_hub_download(name, file, endpoint=os.environ.get("HF_ENDPOINT"), **place))
    except HFValidationError as error:
        raise UsageError(f"'{name}' is no hub repository; write hf://owner/name") from error
    except LocalEntryNotFoundError as error:
        raise WeightsError(f"'{name}' cannot be fetched: the hub cannot be reached") from error
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise WeightsError(f"'{name}' cannot be fetched from the hub: {first_line(error)}") from error


def _has_weights(folder: Path) -> bool:
    return any((folder / file).is_file() for file in WEIGHTS_FILES)


def verify_hub_folder(folder: Path) -> str:
    """The hub names each large file in its cache by its sha256."""
    for name in WEIGHTS_FILES:
        blob = (folder / name).resolve()
        if blob.is_file() and len(blob.name) == 64:
            return "ok" if sha256_of(blob) == blob.name else "corrupt"
    return "unpublished hash"


def _reason(error: Exception) -> str:
    """``Connection refused``, not ``<urlopen error [Errno 111] Connection refused>``."""
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or first_line(cause if isinstance(cause, Exception) else error)
