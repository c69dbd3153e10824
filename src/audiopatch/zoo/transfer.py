"""One published file: resumed where it was cut, checked, and only then there under its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from ssl import SSLError
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from audiopatch.cache import sha256_of
from audiopatch.errors import WeightsError, first_line
from audiopatch.models.card import Weights

Progress = Callable[[int, int], None]  # bytes so far, bytes in all (0 while unknown)
_CHUNK_BYTES = 1 << 20
_ATTEMPTS = 5
_TIMEOUT_S = 30.0
_BY_HAND = ("drive.google.com",)  # hosts that answer programs with a page for humans


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
                raise WeightsError(f"{weights.url} cannot be downloaded: {first_line(error)}") from error
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
