"""A folder of tables in a store, made of the objects that a numbered record of every change names (as Delta Lake).

A store cannot rename, nor change two objects at once. So the objects of a change are written first, under names that
nobody reads yet, and then one record says which names they have from now on: that put is the instant of the change.
The record of a change is numbered after the last one and may only be created, never replaced: of two writers who
have seen the same state, one succeeds.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from audiopatch.errors import EnvironmentProblem, OutputMismatchError
from audiopatch.storage.place import without_secrets
from audiopatch.storage.store import RemoteFile, Unreachable, copy, delete, files_below, read, upload, write
from audiopatch.tables.folder import Stored
from audiopatch.tables.remote_lock import Holder, held
from audiopatch.tables.schema import TABLES

_FETCHED_WHOLE_BYTES = 4 << 20


@dataclass(frozen=True)
class StoredObject:
    """A file by the object it is in."""

    url: str
    name: str
    object: Object

    def open(self) -> BinaryIO:
        if self.object.size_bytes <= _FETCHED_WHOLE_BYTES:
            return io.BytesIO(read(self.url, 0, self.object.size_bytes))
        return io.BufferedReader(RemoteFile(self.url, self.object.size_bytes, whole=False))

    def size_bytes(self) -> int:
        return self.object.size_bytes

    def written(self) -> int:
        return self.object.number


@dataclass(frozen=True)
class StoredText:
    """A small text, kept in the record of the change that wrote it."""

    text: str

    def open(self) -> BinaryIO:
        return io.BytesIO(self.text.encode())

    def size_bytes(self) -> int:
        return len(self.text.encode())

    def written(self) -> int:
        return 0


@dataclass
class RemoteChange:
    """Files staged on this machine, moves and deletions to come; nothing of it is in the store before ``commit``."""

    aside: Path
    staged: dict[str, Path] = field(default_factory=dict)
    moved: dict[str, StoredObject | StoredText] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)

    def stage(self, name: str) -> Path:
        self.staged[name] = self.aside / str(len(self.staged))
        return self.staged[name]

    def move(self, file: StoredObject | StoredText, name: str) -> None:
        self.moved[name] = file

    def delete(self, name: str) -> None:
        self.deleted.append(name)


class RemoteFolder:
    """The objects under ``url`` that its history names. What the history does not name is not there."""

    spool = None

    def __init__(self, url: str, holder: Holder | None = None):
        self._url, self._holder = url, holder
        self._state: State | None = None  # what nobody else may change: known while we hold the lock
        self._inner: dict[str, RemoteFolder] = {}

    def __str__(self) -> str:
        return self._url

    def files(self, inside: str) -> dict[str, Stored]:
        state, begin = self._now(), f"{inside}/"
        found = ((name.removeprefix(begin), name) for name in state.files if name.startswith(begin))
        return {short: self._stored(state, name) for short, name in found if "/" not in short}

    def find(self, name: str) -> StoredObject | StoredText | None:
        state = self._now()
        if name in state.texts:
            return StoredText(state.texts[name])
        return self._stored(state, name) if name in state.files else None

    def read_text(self, name: str) -> str | None:
        with store_errors(self._url):
            return self._now().texts.get(name)

    def write_text(self, name: str, text: str) -> None:
        """The record is what counts; the object of that name is for people."""
        with store_errors(self._url):
            self._commit({}, {name: text})

    @contextmanager
    def change(self) -> Iterator[RemoteChange]:
        with store_errors(self._url), tempfile.TemporaryDirectory(prefix="audiopatch-") as aside:
            change = RemoteChange(Path(aside))
            yield change
            self._apply(change)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with ExitStack() as stack:
            with store_errors(self._url):
                self._holder = stack.enter_context(held(self._url))
                self.prepare()
            try:
                yield
            finally:
                self._state = self._holder = None
                self._inner.clear()

    def shortcoming(self) -> str | None:
        return None

    def below(self, name: str) -> RemoteFolder:
        if name not in self._inner:
            self._inner[name] = RemoteFolder(f"{self._url}/{name}", self._holder)
        return self._inner[name]

    def prepare(self) -> None:
        """An empty change first: from then on no earlier holder can commit, and what it left can be cleared away."""
        with store_errors(self._url):
            self._state = load(self._url)
            self._commit({}, {})
            for name, text in self._state.texts.items():
                write(f"{self._url}/{name}", text.encode())
            known = {file.key for file in self._state.files.values()}
            for table in TABLES:
                delete(f"{self._url}/{key}" for key in self._listed(table) if key not in known)

    def clear(self) -> None:
        """The history first: without it, the rest is nothing but leftovers."""
        with store_errors(self._url):
            for inside in (HISTORY, ""):
                delete([f"{self._url}/{key}" for key in self._listed(inside)])
        self._state = None

    def _listed(self, inside: str) -> list[str]:
        begin = f"{inside}/" if inside else ""
        try:
            return [begin + name for name, _ in files_below(f"{self._url}/{inside}".rstrip("/"))]
        except FileNotFoundError:
            return []

    def _now(self) -> State:
        return load(self._url) if self._state is None else self._state

    def _stored(self, state: State, name: str) -> StoredObject:
        return StoredObject(f"{self._url}/{state.files[name].key}", name, state.files[name])

    def _apply(self, change: RemoteChange) -> None:
        """Objects first, then the record, then what it made superfluous goes."""
        state = self._now()
        files: dict[str, Object | None] = {}
        for name, path in change.staged.items():
            if path.exists() and (file := self._new(name, _content(path), path.stat().st_size)) is not None:
                upload(path, f"{self._url}/{file.key}")
                files[name] = file
        for name, moved in change.moved.items():
            if isinstance(moved, StoredObject) and (file := self._new(name, moved.object.content, moved.size_bytes())):
                copy(moved.url, f"{self._url}/{file.key}")
                files[name] = file
        own = [moved for moved in change.moved.values() if isinstance(moved, StoredObject) and self._is_own(moved)]
        gone = [*change.deleted, *(moved.name for moved in own)]
        kept = change.staged.keys() | change.moved.keys()
        files |= {name: None for name in gone if name in state.files and name not in kept}
        self._commit(files, {name: text.text for name, text in change.moved.items() if isinstance(text, StoredText)})
        delete(f"{self._url}/{state.files[name].key}" for name in files if name in state.files)

    def _new(self, name: str, content: str, size_bytes: int) -> Object | None:
        """The object for new content of ``name``; None where that is its content already.

        An object that a reader may have in hand is never written to: new content gets a new key.
        """
        state = self._now()
        before = state.files.get(name)
        if before is not None and before.content == content:
            return None
        stem, dot, suffix = name.rpartition(".")
        key = name if before is None else f"{stem}.{content[:8]}{dot}{suffix}"
        return Object(key, size_bytes, content, state.number + 1)

    def _is_own(self, file: StoredObject) -> bool:
        return file.url == f"{self._url}/{file.object.key}"

    def _commit(self, files: dict[str, Object | None], texts: dict[str, str]) -> None:
        assert self._holder is not None, "a folder is changed under its lock"
        if self._holder.lost.is_set():
            raise OutputMismatchError(f"another run has taken over {self._url}; what this one had finished is safe")
        self._state = commit(self._url, self._now(), files, texts, self._holder.token)
        for name, text in texts.items():
            write(f"{self._url}/{name}", text.encode())


@contextmanager
def store_errors(url: str) -> Iterator[None]:
    """What a store refuses, as a sentence for the user."""
    place = without_secrets(url)
    try:
        yield
    except Unreachable as error:
        raise EnvironmentProblem(f"{error}; what was finished is safe: run the same command again") from error
    except PermissionError as error:
        raise EnvironmentProblem(f"no access to {place}: {error}; credentials come from the environment") from error
    except FileNotFoundError as error:
        raise EnvironmentProblem(f"no such bucket, or something in it has gone: {place}: {error}") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise EnvironmentProblem("no space left for temporary files on this machine; see TMPDIR") from error
        raise EnvironmentProblem(f"{place} cannot be used: {error}") from error


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


_RECORD = re.compile(r"\d{12}(\.whole)?\.json")
HISTORY = ".history"
_WHOLE_EVERY = 64  # this often a record holds the state instead of a change, so that readers need not go further back
_ATTEMPTS = 20


@dataclass(frozen=True)
class Object:
    """Where a file of the folder is: ``key`` relative to the folder, its size, a hash of its content, its change."""

    key: str
    size_bytes: int
    content: str
    number: int


@dataclass(frozen=True)
class State:
    """The folder after change ``number``: its files, and its small texts (kept in the records themselves), by name."""

    number: int = 0
    files: dict[str, Object] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def after(self, files: dict[str, Object | None], texts: dict[str, str]) -> State:
        """With these changed; None means gone."""
        merged = {name: file for name, file in (self.files | files).items() if file is not None}
        return State(self.number + 1, merged, self.texts | texts)


def load(url: str) -> State:
    """The latest state of the folder at ``url``; an empty one where there is none."""
    for _ in range(_ATTEMPTS):
        try:
            return _load(url)
        except FileNotFoundError:  # a record that was listed and is now part of a later one
            continue
    raise EnvironmentProblem(f"{url} changes faster than it can be read")


def _load(url: str) -> State:
    state = State()
    for name in _since_whole(sorted(_records(url))):
        record = _parsed(read(f"{url}/{HISTORY}/{name}"), f"{url}/{HISTORY}/{name}")
        before = State(number=int(name[:12]) - 1) if record["whole"] else state
        if before.number != int(name[:12]) - 1:
            raise FileNotFoundError(f"a record before {name}")
        state = before.after(record["files"], record["texts"])
    return state


def commit(url: str, state: State, files: dict[str, Object | None], texts: dict[str, str], writer: str) -> State:
    """The state after a change, durably; ``OutputMismatchError`` where another writer was faster."""
    after = state.after(files, texts)
    whole = after.number % _WHOLE_EVERY == 0
    if whole:
        files, texts = dict(after.files), after.texts
    about = {name: file and astuple(file) for name, file in files.items()}
    record = {"writer": writer, "whole": whole, "files": about, "texts": texts}
    address = f"{url}/{HISTORY}/{_name(after.number, whole)}"
    data = json.dumps(record).encode()
    try:
        write(address, data, only_if_new=True)
    except FileExistsError:
        if read(address) != data:  # it is ours where the answer to a first attempt was lost
            raise OutputMismatchError(f"another run writes to {url}; what this one had finished is safe") from None
    if whole:
        _forget(url, before=after.number - _WHOLE_EVERY)
    return after


def _forget(url: str, *, before: int) -> None:
    """Records that a whole one made superfluous go, but not the latest of them: somebody may be reading there."""
    delete(f"{url}/{HISTORY}/{name}" for name in _records(url) if int(name[:12]) < before)


def _records(url: str) -> list[str]:
    try:
        return [name for name, _ in files_below(f"{url}/{HISTORY}") if _RECORD.fullmatch(name)]
    except FileNotFoundError:
        return []


def _since_whole(names: list[str]) -> list[str]:
    last = max((n for n, name in enumerate(names) if name.endswith(".whole.json")), default=0)
    return names[last:]


def _name(number: int, whole: bool) -> str:
    return f"{number:012d}{'.whole' if whole else ''}.json"


def _parsed(data: bytes, address: str) -> dict[str, Any]:
    try:
        record = json.loads(data)
        files = {name: file and Object(*file) for name, file in record["files"].items()}
        if any(file and (file.key.startswith("/") or ".." in file.key.split("/")) for file in files.values()):
            raise ValueError("it leads out of the folder")
        return {"whole": record["whole"], "files": files, "texts": dict(record["texts"])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputMismatchError(f"{address} is no record of audiopatch; choose another folder with -o") from error
