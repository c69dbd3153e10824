"""Walk inputs (files, folders, globs, playlists; here or in a store) and find the tracks in them, one at a time."""

# Paths stay strings here: os does as it is told, and a library of millions is spared as many Path objects.
# ruff: noqa: PTH100, PTH109, PTH112, PTH116, PTH118, PTH120, PTH207

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from pathspec import GitIgnoreSpec

from audiopatch.audio.file import os_code
from audiopatch.audio.lists import is_list, read_list, text_lines
from audiopatch.audio.names import (
    IGNORE_FILE,
    OUTPUT_NAMES,
    Area,
    is_hidden,
    is_passed_over,
    looks_like_audio,
    parse,
    verdict,
)
from audiopatch.audio.walk_remote import expand_remote, reachable, tracks_below
from audiopatch.errors import UsageError
from audiopatch.storage.place import common_folder, inside, is_remote, named
from audiopatch.storage.store import About, about_all
from audiopatch.types import Track

# Of the ignore files above a folder, the nearest first: how much of a path is above the file, and its rules.
Scopes = tuple[tuple[int, GitIgnoreSpec], ...]
OnError = Callable[[str, OSError], None]

# What nanoseconds in 64 bits can tell: from 1677 to 2262. File systems know times before and after.
_OLDEST_NS, _NEWEST_NS = -(2**63), 2**63 - 1
_LOOKED_UP = 512  # names of a list whose sizes and times are asked for at once


def walk(
    inputs: Iterable[str | os.PathLike[str]],
    *,
    listed: Iterable[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    root: str | None = None,
    area: Area | None = None,
    report: OnError = lambda path, error: None,
    left_out: Callable[[str], None] = lambda path: None,
) -> Iterator[Track]:
    """The tracks of all inputs, lazily, each path once, in an order that does not change between runs.

    An input is a file, a folder, a glob, or a list (m3u, m3u8, pls, xspf, txt, csv, tsv), by its path or by its address
    in a store (``s3://bucket/music``); ``listed`` are further ones (``--files-from``), which need not exist. Folders
    are walked in the order of their names, without our own tables, what is hidden by convention and what
    ``.audiopatchignore`` files, ``exclude`` and ``include`` (patterns as in .gitignore, counted from the folder) leave
    out; only names that look like audio are taken there. A file named as input or in a list is always taken, also one
    that is missing: decoding will say so.
    Memory: one folder's entries, or a page of a store's, plus about 100 bytes per listed path.

    Ids are of paths relative to ``root``, which defaults to the folder that holds all inputs. ``area`` limits what is
    looked at in folders. Folders and files that cannot be looked at go to ``report``, and what was left out for its
    name (bins, versions, MIDI) goes to ``left_out``; a store that cannot be listed to its end raises
    ``EnvironmentProblem``. Raises ``UsageError``, at once, for an input that is not there.
    """
    places, folders = [], []
    for given in (named(os.fspath(given)) for given in inputs):
        folder, found = expand_remote(given) if is_remote(given) else _expand(given)
        places += found
        folders.append(folder)
    base = _base(folders) if root is None else root if is_remote(root) else os.path.abspath(root)
    return _Walk(base, parse(include), parse(exclude), area, report, left_out).tracks(places, listed)


def track_id(path: str, root: str) -> str:
    """16 hex digits of BLAKE2b over the path relative to the root: the same on every machine, and in every store.

    An address that is not in the root counts as it is.
    """
    if is_remote(path) or is_remote(root):
        relative = os.fsencode(inside(path, root) or path)
    else:
        relative = os.fsencode(os.path.relpath(path, root)).replace(os.sep.encode(), b"/")
    return hashlib.blake2b(relative, digest_size=8).hexdigest()


def _base(folders: list[str]) -> str:
    """The folder that holds all of them; where some are here and some are not, of those that are here."""
    here = [folder for folder in folders if not is_remote(folder)]
    return common_folder(folders) if folders and not here else os.path.commonpath(here or [os.getcwd()])


def _expand(given: str) -> tuple[str, list[str]]:
    """The folder an input stands for, and the input as absolute paths: itself, or what it matches as a glob."""
    if os.path.lexists(given):
        path = os.path.abspath(given)
        return (path if os.path.isdir(path) else os.path.dirname(path)), [path]
    matched = sorted(glob.iglob(given, recursive=True), key=os.fsencode) if glob.has_magic(given) else []
    if not matched:
        raise UsageError(f"no such file or folder, and nothing it would match: {given}")
    fixed = given
    while glob.has_magic(fixed):
        fixed = os.path.dirname(fixed)
    found = [os.path.abspath(path) for path in matched if os.path.isdir(path) or looks_like_audio(path)]
    return os.path.abspath(fixed), found


class _Walk:
    """The state of one walk: what was named already, and which real folders are covered."""

    def __init__(
        self,
        base: str,
        include: GitIgnoreSpec,
        exclude: GitIgnoreSpec,
        area: Area | None,
        report: OnError,
        left_out: Callable[[str], None],
    ):
        self._base, self._include, self._exclude, self._area = base, include, exclude, area
        self._report, self._say_left_out = report, left_out
        self._named: set[int] = set()  # ids of files named by the user, which a folder must not give again
        self._tops: dict[str, None] = {}  # folders named by the user, each walked as its own and nowhere else
        self._real_tops: list[str] = []  # where those, and linked folders, really lie

    def tracks(self, places: list[str], listed: Iterable[str]) -> Iterator[Track]:
        """Named files first: only then is it known which of them a folder would repeat."""
        for place in places:
            if is_list(place) and not os.path.isdir(place):
                yield from self._take_all(self._read_list(place))
            else:
                yield from self._take_all([place])
        yield from self._take_all(path if is_remote(path) else os.path.abspath(path) for path in map(named, listed))
        self._real_tops = [os.path.realpath(top) for top in self._tops if not is_remote(top)]
        for top in self._tops:
            yield from self._below(top) if is_remote(top) else self._descend(top)

    def _take_all(self, paths: Iterable[str]) -> Iterator[Track]:
        paths = iter(paths)
        while some := list(islice(paths, _LOOKED_UP)):
            remote = [path for path in some if is_remote(path)]
            with reachable(remote[0] if remote else ""):
                known = about_all(remote)
            for path in some:
                yield from self._take(path, known.get(path))

    def _take(self, path: str, known: About | None) -> Iterator[Track]:
        if known.is_folder if known else os.path.isdir(path):
            self._tops[path] = None
            return
        track = self._track(path, known or _stat(path))
        if int(track.track_id, 16) not in self._named:
            self._named.add(int(track.track_id, 16))
            yield track

    def _below(self, top: str) -> Iterator[Track]:
        """The tracks in a folder of a store."""
        for address, known in tracks_below(top, self._include, self._exclude, list(self._tops), self._say_left_out):
            track = self._track(address, known)
            if int(track.track_id, 16) not in self._named:
                yield track

    def _read_list(self, path: str) -> Iterator[str]:
        """A list that cannot be read is reported; one in a store ends the run: it may be back in a minute."""
        if is_remote(path):
            with reachable(path):
                yield from read_list(path)
            return
        try:
            yield from read_list(path)
        except OSError as error:
            self._report(path, error)

    def _descend(self, top: str) -> Iterator[Track]:
        """Depth first, with a stack of our own: folders may be nested deeper than Python may recurse."""
        stack = [self._folder(top, "", ())]
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
            elif isinstance(step, Track):
                yield step
            else:
                stack.append(step)

    def _folder(self, folder: str, inside: str, scopes: Scopes) -> Iterator[Track | Iterator]:
        """Tracks of one folder, and for each folder in it the iterator over that."""
        entries = self._entries(folder)
        if {entry.name for entry in entries} >= OUTPUT_NAMES:
            return
        if any(entry.name == IGNORE_FILE for entry in entries):
            scopes = ((len(inside), self._read_rules(os.path.join(folder, IGNORE_FILE))), *scopes)
        for entry in entries:
            is_folder = _is(os.DirEntry.is_dir, entry)
            if self._left_out(inside + entry.name, is_folder, scopes):
                continue
            if _is_no_music(entry.name, is_folder):
                self._say_left_out(entry.path)
                continue
            if self._area and not (self._area.leads_on if is_folder else self._area.holds)(entry.path):
                continue
            if is_folder:
                if self._may_enter(entry):
                    yield self._folder(entry.path, f"{inside}{entry.name}/", scopes)
            elif looks_like_audio(entry.name) and (entry.is_symlink() or _is(os.DirEntry.is_file, entry)):
                try:
                    track = self._track(entry.path, _stat(entry))
                except OSError as error:  # its rows, if it has some, shall stay
                    self._report(entry.path, error)
                    continue
                if not self._named or int(track.track_id, 16) not in self._named:
                    yield track

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            self._report(folder, error)
            return []

    def _read_rules(self, path: str) -> GitIgnoreSpec:
        try:
            with open(path, "rb") as file:
                return parse(text_lines(file))
        except OSError as error:
            self._report(path, error)
            return parse(())

    def _left_out(self, path: str, is_folder: bool, scopes: Scopes) -> bool:
        """Whether patterns leave ``path`` (counted from the input folder) out; the nearest ignore file speaks first."""
        if verdict(self._exclude, path, is_folder):
            return True
        if self._include and not is_folder and not verdict(self._include, path, False):
            return True
        answers = (verdict(rules, path[depth:], is_folder) for depth, rules in scopes)
        return next((answer for answer in answers if answer is not None), False)

    def _may_enter(self, entry: os.DirEntry[str]) -> bool:
        """A link leads on only to what no input and no earlier link covers: loops end and nothing repeats."""
        if not entry.is_symlink():
            return entry.path not in self._tops
        target = os.path.realpath(entry.path)
        if any(_holds(top, target) or _holds(target, top) for top in self._real_tops):
            return False
        self._real_tops.append(target)
        return True

    def _track(self, path: str, about: About | None) -> Track:
        size_bytes, mtime_ns = (about.size_bytes, about.mtime_ns) if about else (0, 0)
        mtime_ns = max(_OLDEST_NS, min(mtime_ns, _NEWEST_NS))
        return Track(path, self._base, track_id(path, self._base), size_bytes, mtime_ns)


def _stat(place: str | os.DirEntry[str]) -> About | None:
    """None where it cannot be had (a broken link, a name too long): opening the track will tell why.

    OSError for trouble of the moment with what a folder lists.
    """
    try:
        found = place.stat() if isinstance(place, os.DirEntry) else os.stat(place)
    except OSError as error:
        if isinstance(place, os.DirEntry) and os_code(error) in ("E_IO", "E_NETWORK"):
            raise
        return None
    except ValueError:
        return None
    return About(found.st_size, found.st_mtime_ns)


def _is_no_music(name: str, is_folder: bool) -> bool:
    """Whether the name keeps out what would be music, or a folder that may hold some."""
    return is_hidden(name) if is_folder or looks_like_audio(name) else is_passed_over(name)


def _is(what: Callable[[os.DirEntry[str]], bool], entry: os.DirEntry[str]) -> bool:
    """No, where the system cannot say (a link that leads to itself)."""
    try:
        return what(entry)
    except OSError:
        return False


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
