"""Where each container keeps a field, and how several values: by mutagen, one small class per way to tag.

A field has a name in capitals: GENRE, MOOD, COMMENT, GROUPING, or any other, which goes where a container keeps names
of one's own. What else is in the tags keeps its bytes: mutagen finds the place and makes the room.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from audiopatch.audio.packets import Packets, packets_of
from audiopatch.errors import first_line, missing_extra
from audiopatch.writing.containers.pieces import id3v2_size
from audiopatch.writing.replace import Refused


class Tags(Protocol):
    """The tags of one file as they were when it was opened."""

    def read(self, field: str) -> tuple[str, ...]:
        """The values of a field, empty where it is not there."""
        ...

    def rest(self, fields: Collection[str]) -> Any:
        """All the tags hold but these fields, to be compared before and after."""
        ...

    def body(self, path: str) -> Any:
        """What else is in a file that has these tags, by its hashes; None where even that is written anew (Ogg)."""
        ...

    def save(self, path: str, values: Mapping[str, Sequence[str]]) -> None:
        """Write fields into a file that has these tags; one without values is taken out."""
        ...


@dataclass(frozen=True)
class Kind:
    """A container: its name, those FFmpeg has for it, and what opens its tags (path, whether to upgrade old ones).

    ``audio_end`` finds where tags begin that FFmpeg would take for the end of the last packet.
    """

    name: str
    ffmpeg: tuple[str, ...]
    open: Callable[[str, bool], Tags]
    audio_end: Callable[[str], int] | None = None

    def packets(self, path: str, *, container: str | None = None) -> Packets:
        """The hashes of all packets; Refused where FFmpeg takes the file for something else."""
        found = packets_of(path, container=container, end=self.audio_end(path) if self.audio_end else None)
        if found.container not in self.ffmpeg:
            raise Refused(f"looks like {self.name} to one reader and like {found.container} to another")
        return found


def open_tags(path: str, *, named: str | None = None, upgrade: bool = False) -> tuple[Kind, Tags]:
    """The tags of a file, by its content and the ending of its name (or of ``named``). Refused for what has none."""
    from mutagen import MutagenError

    with open(path, "rb") as file:
        kind = _kind_of(file, os.path.splitext(named or path)[1].lower())  # noqa: PTH122
    try:
        return kind, kind.open(path, upgrade)
    except (Refused, OSError):
        raise
    except MutagenError as error:
        raise Refused(f"its tags cannot be read: {first_line(error)}") from None
    except Exception as error:  # whatever a tag reader does with a hostile file, it is one file
        raise Refused(f"its tags cannot be read: {type(error).__name__}: {first_line(error)}") from None


def can_write(path: str) -> bool:
    """Whether the name is that of a container that is written, as far as a name tells."""
    return os.path.splitext(path)[1].lower()[1:] in _ENDINGS  # noqa: PTH122


def check_installed() -> None:
    """EnvironmentProblem where mutagen is missing."""
    try:
        import mutagen  # noqa: F401
    except ImportError:
        raise missing_extra("writing tags", "write") from None


def _id3(kind: str) -> Callable[[str, bool], Tags]:
    def open_id3(path: str, upgrade: bool) -> Tags:
        from audiopatch.writing.containers.id3 import Id3Tags

        return Id3Tags(path, kind, upgrade=upgrade)

    return open_id3


def _vorbis(codec: str) -> Callable[[str, bool], Tags]:
    def open_vorbis(path: str, upgrade: bool) -> Tags:
        from audiopatch.writing.containers.vorbis import FlacTags, OggTags

        return FlacTags(path) if codec == "flac" else OggTags(path, codec)

    return open_vorbis


def _mp4(path: str, upgrade: bool) -> Tags:
    from audiopatch.writing.containers.mp4 import Mp4Tags

    return Mp4Tags(path)


def _ape(path: str, upgrade: bool) -> Tags:
    from audiopatch.writing.containers.ape import ApeTags

    return ApeTags(path)


def _ape_end(path: str) -> int:
    from audiopatch.writing.containers.ape import tag_start

    return tag_start(path)


def _asf(path: str, upgrade: bool) -> Tags:
    from audiopatch.writing.containers.asf import AsfTags

    return AsfTags(path)


_MP3 = Kind("MP3", ("mp3",), _id3("mp3"))
_FLAC = Kind("FLAC", ("flac",), _vorbis("flac"))
_TTA = Kind("TTA", ("tta",), _id3("tta"))
_OGG = {
    b"\x01vorbis": Kind("Ogg Vorbis", ("ogg",), _vorbis("vorbis")),
    b"OpusHead": Kind("Opus", ("ogg",), _vorbis("opus")),
    b"Speex   ": Kind("Speex", ("ogg",), _vorbis("speex")),
    b"\x7fFLAC": Kind("FLAC in Ogg", ("ogg",), _vorbis("oggflac")),
}
# How a file begins -> what it is; with a place where more must stand.
_BEGINS: tuple[tuple[bytes, int, bytes, Kind], ...] = (
    (b"fLaC", 0, b"", _FLAC),
    (b"RIFF", 8, b"WAVE", Kind("WAV", ("wav",), _id3("wav"))),
    (b"FORM", 8, b"AIF", Kind("AIFF", ("aiff",), _id3("aiff"))),
    (b"DSD ", 0, b"", Kind("DSF", ("dsf",), _id3("dsf"))),
    (b"TTA1", 0, b"", _TTA),
    (b"", 4, b"ftyp", Kind("MP4", ("mov,mp4,m4a,3gp,3g2,mj2",), _mp4)),
    (b"MAC ", 0, b"", Kind("Monkey's Audio", ("ape",), _ape, _ape_end)),
    (b"wvpk", 0, b"", Kind("WavPack", ("wv",), _ape)),
    (b"MP+", 0, b"", Kind("Musepack", ("mpc",), _ape)),
    (b"MPCK", 0, b"", Kind("Musepack", ("mpc8",), _ape)),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 0, b"", Kind("WMA", ("asf",), _asf)),
)
_ENDINGS = frozenset(
    """
    mp3 mp2 mp1 flac ogg oga opus spx m4a m4b mp4 m4r 3gp wma asf ape wv mpc mp+ aif aiff aifc wav wave dsf
    tta
    """.split()  # noqa: SIM905 (twenty quoted words are hard to read)
)


def _kind_of(file: BinaryIO, ending: str) -> Kind:
    head = file.read(128)
    if head[:4] == b"OggS":
        return next((kind for name, kind in _OGG.items() if name in head), None) or _refuse(ending)
    if head[:3] == b"ID3" and len(head) > 10:
        file.seek(id3v2_size(file))
        after = file.read(4)
        if after in (b"fLaC", b"TTA1"):
            return _FLAC if after == b"fLaC" else _TTA
        return _MP3 if ending in (".mp3", ".mp2", ".mp1") or _is_mpeg(after) else _refuse(ending)
    for begin, at, more, kind in _BEGINS:
        if head.startswith(begin) and head[at : at + len(more)] == more:
            return kind
    return _MP3 if ending == ".mp3" or _is_mpeg(head) else _refuse(ending)


def _is_mpeg(head: bytes) -> bool:
    """Whether a frame of MPEG audio begins here: its sync word, and a layer, which AAC's has not."""
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0


def _refuse(ending: str) -> Kind:
    raise Refused(f"tags are not written into such files ({ending[1:] or 'of no known format'})")
