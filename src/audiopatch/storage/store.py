"""Whatever fsspec reaches, opened once per process, with the few requests we make of it; all of them are patient."""

from __future__ import annotations

import io
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from zlib import crc32

from audiopatch.errors import AudioPatchError, EnvironmentProblem, UsageError, missing_extra
from audiopatch.storage.place import is_remote, scheme_of, without_secrets

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


# Where a package of ours brings the client; fsspec itself names those of the other stores.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
# One layer repeats failed requests, ours; a request that is stuck is given up and made again.
_S3 = {"config_kwargs": {"connect_timeout": 10, "read_timeout": 20, "retries": {"total_max_attempts": 1}}}
_OPTIONS: dict[str, dict[str, Any]] = {"s3": _S3, "s3a": _S3}
_LOOKUPS = 16  # at once: a request is mostly waiting


@dataclass(frozen=True)
class About:
    """What a store tells of a name. Times it does not tell are 0."""

    size_bytes: int
    mtime_ns: int
    is_folder: bool = False


@cache
def store(scheme: str) -> Any:
    """The fsspec file system for a scheme; credentials and addresses come from where its client looks for them."""
    import fsspec

    try:
        fs = fsspec.filesystem(scheme, use_listings_cache=False, **_OPTIONS.get(scheme, {}))
    except ImportError as error:
        if scheme in _EXTRAS:
            raise missing_extra(f"{scheme}://", _EXTRAS[scheme]) from error
        raise EnvironmentProblem(f"{scheme}:// needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise UsageError(f"{scheme}:// is no file system that fsspec knows") from error
    except OSError as error:  # hdfs without Java
        raise EnvironmentProblem(f"{scheme}:// cannot be opened here: {error}") from error
    if scheme in ("s3", "s3a"):
        fs.retries = 1
        _check_endpoint(fs.s3.meta.endpoint_url)
    return fs


def _check_endpoint(url: str) -> None:
    """Music, tags and what signs the requests go over the network: encrypted, unless somebody says otherwise."""
    parts = urlsplit(url)
    trusted = parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not trusted and os.environ.get("AUDIOPATCH_ALLOW_HTTP") != "1":
        raise UsageError(f"{parts.scheme}://{parts.netloc} is not https; AUDIOPATCH_ALLOW_HTTP=1 allows it")


def about(url: str) -> About | None:
    """What there is under a name; None where nothing is."""
    try:
        return about_of(patiently(lambda: store(scheme_of(url)).info(url), url))
    except FileNotFoundError:
        return None


def exists(place: str | bytes) -> bool:
    """Whether a file is still there, here or in a store; what cannot be reached is taken to be."""
    try:
        if isinstance(place, str) and is_remote(place):
            return about(place) is not None
        os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # no right to look, or a network disk that does not answer
        return True
    return True


def about_all(urls: Iterable[str]) -> dict[str, About | None]:
    """``about`` of many names at once; what may not be looked at counts as missing."""
    urls = list(urls)
    if not urls:
        return {}

    def look(url: str) -> About | None:
        try:
            return about(url)
        except PermissionError:
            return None

    with ThreadPoolExecutor(min(_LOOKUPS, len(urls))) as pool:
        return dict(zip(urls, pool.map(look, urls), strict=True))


def about_of(info: dict[str, Any]) -> About:
    """fsspec's description of a file as ours.

    Stores that tell whole seconds get the rest from the checksum, so that an object replaced within one is seen.
    """
    times = (info.get(name) for name in ("LastModified", "mtime", "last_modified", "updated", "modified", "created"))
    mtime_ns = _nanoseconds(next((time for time in times if time is not None), 0))
    tag = info.get("ETag") or info.get("etag")
    if tag and mtime_ns % 1_000_000_000 == 0:
        mtime_ns += crc32(str(tag).strip('"').encode()) % 1_000_000_000
    return About(int(info.get("size") or 0), mtime_ns, info.get("type") == "directory")


def _nanoseconds(time: Any) -> int:
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    if isinstance(time, datetime):
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        return int(time.timestamp()) * 1_000_000_000 + time.microsecond * 1000
    return int(time * 1_000_000_000)


def read(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """All of a file, or its bytes from ``start`` to before ``end``."""
    return patiently(lambda: store(scheme_of(url)).cat_file(url, start=start, end=end), url)


def write(url: str, data: bytes, *, only_if_new: bool = False) -> None:
    """A file as a whole. ``only_if_new`` raises FileExistsError where there is one.

    Stores decide that themselves where they can (S3 and GCS do); with others it is looked up first.
    """
    mode = "create" if only_if_new else "overwrite"
    patiently(lambda: store(scheme_of(url)).pipe_file(url, data, mode=mode), url)


def upload(path: Path, url: str) -> None:
    """A file of this machine, as a whole, in several requests where it is large."""
    patiently(lambda: store(scheme_of(url)).put_file(str(path), url), url)


def copy(url: str, to: str) -> None:
    """Within a store, without the bytes coming here."""
    patiently(lambda: store(scheme_of(url)).cp_file(url, to), url)


def delete(urls: Iterable[str]) -> None:
    """Files that may be gone already."""
    for url in urls:
        try:
            patiently(lambda url=url: store(scheme_of(url)).rm_file(url), url)
        except FileNotFoundError:
            continue


def files_below(folder: str) -> Iterator[tuple[str, About]]:
    """(name relative to ``folder``, about it) in an order that does not change; raises where a page does not come."""
    fs = store(scheme_of(folder))
    return _by_pages(fs, folder) if hasattr(fs, "call_s3") else _by_folders(fs, folder)


def _by_pages(fs: Any, folder: str) -> Iterator[tuple[str, About]]:
    """S3 lists whole trees, a thousand objects per request, with their sizes and times."""
    bucket, key, _ = fs.split_path(folder)
    where = {"Bucket": bucket, "Prefix": f"{key}/" if key else "", **fs.req_kw}
    while True:
        page = patiently(lambda: fs.call_s3("list_objects_v2", **where), folder)
        for item in page.get("Contents", ()):
            name = item["Key"].removeprefix(where["Prefix"])
            if name and not name.endswith("/"):  # what consoles make for an empty folder
                yield name, about_of({**item, "size": item["Size"]})
        if not page.get("IsTruncated"):
            return
        where["ContinuationToken"] = page["NextContinuationToken"]


def _by_folders(fs: Any, folder: str) -> Iterator[tuple[str, About]]:
    """The others are asked folder by folder, depth first."""
    top = fs._strip_protocol(folder)
    stack = [top]
    while stack:
        place = stack.pop()
        entries = patiently(lambda: fs.ls(place, detail=True), folder)  # noqa: B023 (called at once)
        inner = []
        for entry in sorted(entries, key=lambda entry: entry["name"]):
            known = about_of(entry)
            if known.is_folder and entry["name"] != place:
                inner.append(entry["name"])
            elif not known.is_folder:
                yield entry["name"].removeprefix(top).lstrip("/"), known
        stack += reversed(inner)


# Who reads all of it pays for requests, who looks here and there for bytes.
_WHOLE_BYTES = (4 << 20, 8 << 20)  # the first range, and the largest
_PIECES_BYTES = (64 << 10, 512 << 10)
_KEPT = 3  # ranges: decoders go back and forth between the head, the tail and where they are


class RemoteFile(io.RawIOBase):
    """``size_bytes`` of ``url``; ranges grow while reading goes straight on. With ``whole`` the next is fetched ahead.

    Memory: at most five ranges. Raises as ``storage.store.read`` does.
    """

    def __init__(self, url: str, size_bytes: int, *, whole: bool):
        self.name: str = url.rpartition("/")[2]  # decoders look at the ending
        self.whole = whole
        self._url, self._size = url, size_bytes
        self._first, self._largest = _WHOLE_BYTES if whole else _PIECES_BYTES
        self._at, self._length = 0, 0
        self._ranges: list[tuple[int, bytes]] = []  # (start, data), the latest last
        self._end = -1  # of the range fetched last: who reads on from there reads straight on
        self._ahead: tuple[int, Future[bytes]] | None = None
        self._helper = ThreadPoolExecutor(1, "audiopatch-ahead") if whole else None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer) -> int:
        """Perhaps less than asked for, as files may."""
        if self._at >= self._size:
            return 0
        start, data = self._range()
        piece = memoryview(data)[self._at - start :][: len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        if self._helper is not None:
            self._helper.shutdown(wait=False, cancel_futures=True)
        self._ranges, self._ahead = [], None
        super().close()

    def _range(self) -> tuple[int, bytes]:
        """The range that holds the position, from memory or from the store."""
        for kept in reversed(self._ranges):
            if kept[0] <= self._at < kept[0] + len(kept[1]):
                return kept
        start = self._at
        self._length = min(2 * self._length, self._largest) if start == self._end else self._first
        data = self._awaited(start)
        if not data:
            raise OSError("the file is shorter than it was")
        self._end = start + len(data)
        self._ranges = [*self._ranges[1 - _KEPT :], (start, data)]
        if self._helper is not None and self._end < self._size:
            self._ahead = self._end, self._helper.submit(self._fetch, self._end, self._largest)
        return start, data

    def _awaited(self, start: int) -> bytes:
        if self._ahead is not None and self._ahead[0] == start:
            return self._ahead[1].result()
        return self._fetch(start, self._length)

    def _fetch(self, start: int, length: int) -> bytes:
        return read(self._url, start, min(start + length, self._size))
