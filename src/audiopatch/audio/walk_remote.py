"""Inputs in stores: what an address stands for, and the tracks below a folder, from as few listings as there can be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO

from pathspec import GitIgnoreSpec

from audiopatch.audio.lists import text_lines
from audiopatch.audio.names import IGNORE_FILE, is_hidden, is_passed_over, looks_like_audio, parse, verdict
from audiopatch.errors import EnvironmentProblem, UsageError
from audiopatch.storage.place import parent, without_secrets
from audiopatch.storage.store import About, Unreachable, about, files_below, read

_MAGIC = re.compile(r"[*?[]")


def expand_remote(url: str) -> tuple[str, list[str]]:
    """The folder an address stands for, and itself, or the audio it matches as a glob; as ``walk._expand`` does."""
    with reachable(url):
        found = about(url)
        if found is not None:
            return (url if found.is_folder else parent(url)), [url]
        fixed = url
        while _MAGIC.search(fixed):
            fixed = parent(fixed)
        if fixed == url or fixed.endswith("/"):
            raise UsageError(f"no such file or folder: {without_secrets(url)}")
        pattern = parse(["/" + url.removeprefix(f"{fixed}/")])
        names = (name for name, _ in files_below(fixed) if looks_like_audio(name) and verdict(pattern, name, False))
        matched = [f"{fixed}/{name}" for name in names]
    if not matched:
        raise UsageError(f"no such file or folder, and nothing it would match: {without_secrets(url)}")
    return fixed, matched


def tracks_below(
    folder: str, include: GitIgnoreSpec, exclude: GitIgnoreSpec, tops: Sequence[str], left_out: Callable[[str], None]
) -> Iterator[tuple[str, About]]:
    """(address, about it) of the audio below a folder, without what names (``left_out``) and patterns keep out.

    One ``.audiopatchignore`` counts, that of the folder itself: listings of whole trees do not come folder by folder.
    Those of ``tops`` that lie in it are listed on their own.
    """
    ignored = _Ignored(include, exclude, _rules(folder))
    others = tuple(f"{top}/" for top in tops if top.startswith(f"{folder}/"))
    n_listed = 0
    with reachable(folder, lambda: f" after {n_listed} files"):
        for name, known in files_below(folder):
            n_listed += 1
            address = f"{folder}/{name}"
            if not (looks_like_audio(name) or is_passed_over(name)) or ignored(name) or address.startswith(others):
                continue
            if is_passed_over(name) or any(map(is_hidden, name.split("/"))):
                left_out(address)
            else:
                yield address, known


@contextmanager
def reachable(url: str, how_far: Callable[[], str] = str) -> Iterator[None]:
    """A listing that fails ends the run: half of a library must not pass for all of it."""
    place = without_secrets(url)
    try:
        yield
    except Unreachable as error:
        raise EnvironmentProblem(f"listing {place} failed{how_far()}: {error}; run the same command again") from error
    except PermissionError as error:
        raise EnvironmentProblem(f"may not list {place}: {error}; credentials come from the environment") from error
    except FileNotFoundError as error:
        raise UsageError(f"no such bucket or folder: {place}") from error
    except OSError as error:
        raise EnvironmentProblem(f"cannot list {place}: {error}") from error


def _rules(folder: str) -> GitIgnoreSpec:
    with reachable(folder):
        try:
            return parse(text_lines(BytesIO(read(f"{folder}/{IGNORE_FILE}"))))
        except FileNotFoundError:
            return parse(())


class _Ignored:
    """Whether a name (relative to the folder) is left out, by itself or by a folder it is in."""

    def __init__(self, include: GitIgnoreSpec, exclude: GitIgnoreSpec, rules: GitIgnoreSpec):
        self._include, self._exclude, self._rules = include, exclude, rules
        self._folder, self._folder_is_out = "", False  # files of one folder come together

    def __call__(self, name: str) -> bool:
        folder = name.rpartition("/")[0]
        if folder != self._folder:
            parts = folder.split("/")
            above = ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
            self._folder, self._folder_is_out = folder, any(self._is_out(place, True) for place in above)
        return self._folder_is_out or self._is_out(name, False)

    def _is_out(self, name: str, is_folder: bool) -> bool:
        if verdict(self._exclude, name, is_folder):
            return True
        if self._include and not is_folder and not verdict(self._include, name, False):
            return True
        return bool(verdict(self._rules, name, is_folder))
