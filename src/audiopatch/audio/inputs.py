"""What a run is pointed at."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiopatch.audio.names import Area
from audiopatch.audio.walk import walk
from audiopatch.errors import NoAudioError, UsageError
from audiopatch.storage.place import is_remote, named
from audiopatch.types import Track


@dataclass(frozen=True)
class Inputs:
    """Files, folders, globs and playlists, further ``listed`` paths, and patterns to take or leave."""

    paths: Sequence[str]
    listed: Sequence[str] = ()
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def tracks(
        self,
        *,
        root: str | None = None,
        report: Callable[[str, OSError], None] = lambda path, error: None,
        left_out: Callable[[str], None] = lambda path: None,
    ) -> Iterator[Track]:
        """The tracks in them, lazily; none at all is a NoAudioError, at once.

        ``root`` is what the ids of earlier runs are relative to.
        """
        unread: list[str] = []

        def reported(path: str, error: OSError) -> None:
            unread.append(f"{path}: {error.strerror}")
            report(path, error)

        tracks = walk(
            self.paths,
            listed=self.listed,
            include=self.include,
            exclude=self.exclude,
            root=root,
            report=reported,
            left_out=left_out,
        )
        first = next(tracks, None)
        if first is None:
            why = f" ({'; '.join(unread[:3])})" if unread else ""
            raise NoAudioError(f"no audio found in {', '.join([*self.paths, *self.listed]) or 'an empty list'}{why}")
        return itertools.chain([first], tracks)

    @property
    def folders(self) -> list[str]:
        """Those of the paths that are folders, here or in a store, whose files may come and go."""
        paths = (named(path) if is_remote(path) else os.path.abspath(path) for path in self.paths)  # noqa: PTH100
        return [path for path in paths if is_remote(path) or Path(path).is_dir()]

    def check_watchable(self, *, force: bool) -> None:
        """Refuse at once what cannot be followed."""
        if force:
            raise UsageError("--watch cannot go with --force; recompute once without --watch, then watch")
        if self.listed or not self.paths:
            raise UsageError("--watch follows folders; name them instead of --files-from")
        for path in self.paths:
            if not Path(path).is_dir():
                raise UsageError(f"--watch follows folders, and {path} is none")

    def within(self, area: Area | None, *, root: str, report: Callable[[str, OSError], None]) -> Iterator[Track]:
        """The tracks that lie in some part of the inputs, or in all of them; perhaps none."""
        return walk(self.paths, include=self.include, exclude=self.exclude, root=root, area=area, report=report)
