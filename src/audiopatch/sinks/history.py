"""Which objects of a store make up a folder of tables: numbered records of every change, as Delta Lake has them.

A store cannot rename, nor change two objects at once. So the objects of a change are written first, under names that
nobody reads yet, and then one record says which names they have from now on: that put is the instant of the change.
The record of a change is numbered after the last one and may only be created, never replaced: of two writers who
have seen the same state, one succeeds.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass, field
from typing import Any

from audiopatch.errors import EnvironmentProblem, OutputMismatchError
from audiopatch.storage.store import delete, files_below, read, write

FOLDER = ".history"
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
        record = _parsed(read(f"{url}/{FOLDER}/{name}"), f"{url}/{FOLDER}/{name}")
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
    address = f"{url}/{FOLDER}/{_name(after.number, whole)}"
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
    delete(f"{url}/{FOLDER}/{name}" for name in _records(url) if int(name[:12]) < before)


def _records(url: str) -> list[str]:
    try:
        return [name for name, _ in files_below(f"{url}/{FOLDER}") if name[:12].isdigit() and name.endswith(".json")]
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
