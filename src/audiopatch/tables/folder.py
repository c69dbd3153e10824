"""Where tables are kept: a folder whose files change together or not at all, wherever it is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol


class Stored(Protocol):
    """One file of a folder, as it is at this moment; ``FileNotFoundError`` from any method means that it has gone."""

    def open(self) -> BinaryIO:
        """Its bytes, from anywhere in it."""
        ...

    def size_bytes(self) -> int: ...

    def written(self) -> Any:
        """Orders files by the time they were written."""
        ...


class FolderChange(Protocol):
    """What is to become of a folder, all at once; names are relative to it."""

    def stage(self, name: str, /) -> Path:
        """Where to write the file, on this machine, that will appear as ``name``."""
        ...

    def move(self, file: Any, name: str, /) -> None:
        """A stored file of this folder, or of one inside it, that will appear as ``name``."""
        ...

    def delete(self, name: str, /) -> None:
        """A file that will be gone, unless another takes its name."""
        ...


class Folder(Protocol):
    """Readers see every change as a whole; writers hold the lock."""

    @property
    def spool(self) -> str | None:
        """A place on this machine for files of a moment; None leaves the choice to the system."""
        ...

    def files(self, inside: str) -> dict[str, Stored]:
        """The files directly in a sub-folder by their names there, as the last change left them."""
        ...

    def find(self, name: str) -> Stored | None:
        """One file; without the lock it may be one that a change is about to replace."""
        ...

    def read_text(self, name: str) -> str | None: ...

    def write_text(self, name: str, text: str) -> None:
        """A small file, replaced as a whole, durably."""
        ...

    def change(self) -> AbstractContextManager[FolderChange]:
        """Commits at the end of the block; an exception inside it leaves the folder as it was."""
        ...

    def locked(self) -> AbstractContextManager[None]:
        """Holds the folder for this process, or an OutputMismatchError that names who holds it.

        Made if need be; what a crash interrupted is finished first.
        """
        ...

    def shortcoming(self) -> str | None:
        """A sentence on what this place cannot promise; None where it keeps all that is said here."""
        ...

    def below(self, name: str) -> Folder:
        """A folder inside this one, under the same lock."""
        ...

    def prepare(self) -> None:
        """Make it if need be, and finish what a crash interrupted. Call it under the lock."""
        ...

    def clear(self) -> None:
        """Take it away, with all that is in it."""
        ...
