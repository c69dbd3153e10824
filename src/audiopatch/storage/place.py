"""Names of places: a path on this machine, or a URL such as ``s3://bucket/music``."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from posixpath import commonpath
from urllib.parse import unquote_to_bytes, urlsplit

from audiopatch.errors import UsageError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
# Readable by anybody on the way, without a listing or times that could be relied on.
NO_STORES = {"http", "https", "ftp", "data"}


def is_remote(place: str) -> bool:
    """Whether it is a URL; ``local`` has seen to it that those of this machine are not."""
    return _URL.match(place) is not None


def scheme_of(url: str) -> str:
    """``s3`` of ``s3://bucket/music``."""
    match = _URL.match(url)
    return match[1].lower() if match else "file"


def at_home(path: str | os.PathLike[str]) -> Path:
    """A path whose ``~`` no shell has replaced; as it stands where nobody knows a home (a user id without an entry)."""
    text = os.fspath(path)
    return Path(text if not text.startswith("~") or os.path.lexists(text) else os.path.expanduser(text))  # noqa: PTH111


def named(place: str) -> str:
    """A place as the user names it -> a path, or a URL without a slash at its end.

    ``file://`` is a path. Raises ``UsageError`` for what must not be written into tables (a password) and for what
    is no store.
    """
    if not is_remote(place):
        return str(at_home(place)) if place.startswith("~") else place
    scheme, rest = scheme_of(place), place.partition("://")[2]
    if scheme == "file":
        return os.fsdecode(unquote_to_bytes(os.fsencode(urlsplit(place).path)))
    if re.match(r"[^/@]*:[^/@]*@", rest):
        raise UsageError(
            f"{without_secrets(place)}: an address must not hold a password, it would be written into the tables; "
            "give credentials by the environment"
        )
    if scheme in NO_STORES:
        raise UsageError(f"{without_secrets(place)}: {scheme} is no file system; download it, or use s3, gs, hdfs, ...")
    return f"{scheme}://{rest.rstrip('/')}"


def without_secrets(url: str) -> str:
    """For messages: what stands before an @, and behind a ? where addresses are signed, is left out."""
    head, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{head}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def inside(url: str, folder: str) -> str | None:
    """The name of ``url`` relative to ``folder``; None where it is not in it."""
    if url == folder:
        return ""
    folder = folder if folder.endswith("://") else folder + "/"
    return url.removeprefix(folder) if url.startswith(folder) else None


def parent(url: str) -> str:
    """The folder that holds it."""
    head, _, rest = url.partition("://")
    return f"{head}://{rest.rpartition('/')[0]}"


def common_folder(urls: Iterable[str]) -> str:
    """The deepest folder that holds all of them; ``UsageError`` where they are in different kinds of store."""
    urls = list(urls)
    schemes = {scheme_of(url) for url in urls}
    if len(schemes) > 1:
        raise UsageError(f"inputs in different places cannot share one run: {', '.join(sorted(schemes))}")
    rests = [url.partition("://")[2] for url in urls]
    return f"{schemes.pop()}://{commonpath(rests)}"


def cache_folder() -> Path:
    """``$AUDIOPATCH_CACHE``, else ``$HF_HOME/audiopatch``, else ``~/.cache/audiopatch``. It need not exist yet."""
    if own := os.environ.get("AUDIOPATCH_CACHE"):
        return at_home(own)
    if hub := os.environ.get("HF_HOME"):
        return at_home(hub) / "audiopatch"
    folder = at_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if str(folder).startswith("~"):  # a user id without an entry, and no HOME: a container
        folder = Path(tempfile.gettempdir()) / f"audiopatch-cache-{os.getuid()}"
    return folder / "audiopatch"


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
