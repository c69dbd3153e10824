"""Playlists as files that players read: m3u8, XSPF and JSPF, each in UTF-8."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes
from xml.etree import ElementTree

from audiopatch.catalog import unknown_name
from audiopatch.errors import UsageError
from audiopatch.library.playlist import Entry
from audiopatch.storage.place import is_remote

_XSPF = "http://xspf.org/ns/0/"


@dataclass(frozen=True)
class WrittenList:
    """What came into a playlist file; ``left_out`` are paths that its format cannot hold."""

    n_tracks: int
    left_out: tuple[str, ...]


def write_playlist(entries: Sequence[Entry], file: str | os.PathLike[str], *, relative: bool = False) -> WrittenList:
    """Write ``file`` in the format of its suffix: .m3u8, .xspf or .jspf. An existing one is replaced.

    ``relative`` names tracks from the folder of ``file`` on, so that both can move together; else paths are absolute.
    An m3u8 holds lines of UTF-8: it leaves out paths that are none, and says so in the result.
    """
    path = Path(file)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise UsageError(f"{path}: {unknown_name('playlist format', suffix, FORMATS)}")
    fits = [entry for entry in entries if suffix != "m3u8" or _is_line(entry.path)]
    base = os.path.abspath(path.parent) if relative else None  # noqa: PTH100 (names as they are)
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(FORMATS[suffix](fits, base), encoding="utf-8")
    unfinished.replace(path)
    return WrittenList(len(fits), tuple(entry.path for entry in entries if entry not in fits))


def m3u8(entries: Sequence[Entry], base: str | None = None) -> str:
    """Extended M3U: for each track its length in seconds, its name, and its path from the folder ``base`` on."""
    lines = ["#EXTM3U"]
    for entry in entries:
        path = _seen_from(entry.path, base)
        lines += [f"#EXTINF:{round(entry.duration_s)},{_line(_name(entry))}", f"./{path}" if path[:1] == "#" else path]
    return "\n".join(lines) + "\n"


def xspf(entries: Sequence[Entry], base: str | None = None) -> str:
    """XML Shareable Playlist Format, version 1; lengths in milliseconds."""
    ElementTree.register_namespace("", _XSPF)
    top = ElementTree.Element(f"{{{_XSPF}}}playlist", version="1")
    tracks = ElementTree.SubElement(top, f"{{{_XSPF}}}trackList")
    for entry in entries:
        track = ElementTree.SubElement(tracks, f"{{{_XSPF}}}track")
        for name, text in _xspf_fields(entry, base).items():
            ElementTree.SubElement(track, f"{{{_XSPF}}}{name}").text = str(text)
    ElementTree.indent(top)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(top, encoding="unicode")}\n'


def jspf(entries: Sequence[Entry], base: str | None = None) -> str:
    """The same as JSON, as xspf.org/jspf has it."""
    tracks = []
    for entry in entries:
        about = _xspf_fields(entry, base)
        tracks.append(about | {"location": [about["location"]]})
    return json.dumps({"playlist": {"track": tracks}}, indent=2, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[Sequence[Entry], str | None], str]] = {"m3u8": m3u8, "xspf": xspf, "jspf": jspf}


def _xspf_fields(entry: Entry, base: str | None) -> dict[str, str | int]:
    """In the order that the format asks for; what is not known is not there."""
    words = {"title": entry.title or _stem(entry), "creator": entry.artist, "album": entry.album}
    shown = {name: _line(text) for name, text in words.items() if text}
    return {"location": _uri(entry.path, base), **shown, "duration": round(entry.duration_s * 1000)}


def _uri(path: str, base: str | None) -> str:
    """A file's URI, or a reference relative to the playlist; bytes that are no UTF-8 are escaped like any other."""
    if is_remote(path):
        return path
    seen = os.fsencode(_seen_from(path, base))
    return quote_from_bytes(seen) if base is not None else f"file://{quote_from_bytes(seen)}"


def _seen_from(path: str, base: str | None) -> str:
    return path if base is None or is_remote(path) else os.path.relpath(path, base)


def _name(entry: Entry) -> str:
    title = entry.title or _stem(entry)
    return f"{entry.artist} - {title}" if entry.artist else title


def _stem(entry: Entry) -> str:
    """The name of the file, for a track whose file has no title."""
    return Path(entry.path).stem.encode(errors="replace").decode()


def _line(text: str) -> str:
    """Text that cannot end its line or be refused by XML."""
    return "".join(char if char.isprintable() else " " for char in text)


def _is_line(path: str) -> bool:
    """Whether a path is UTF-8 and a single line."""
    return path.encode(errors="replace").decode() == path and len(path.splitlines()) == 1
