"""ID3 tags, frame by frame: those we write are new, every other keeps its bytes.

mutagen finds the tag in each container, makes room for it and encodes new frames. It would also write every old frame
anew: unknown ones in another place, equal ones merged, empty ones dropped. So the old ones pass it by.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from mutagen.aiff import _IFFID3
from mutagen.dsf import _DSFID3
from mutagen.id3 import COMM, ID3, TCON, TXXX, Frames, ID3NoHeaderError, ID3UnsupportedVersionError
from mutagen.id3._id3v1 import find_id3v1
from mutagen.id3._tags import ID3Header, determine_bpi, save_frame
from mutagen.id3._util import BitPaddedInt, ID3SaveConfig, error, unsynch
from mutagen.wave import _WaveID3

from audiopatch.writing.containers.pieces import chunks_of, hash_of, id3v2_size, keep_padding
from audiopatch.writing.replace import Refused
from audiopatch.writing.rules import OWN

_UNSYNCHRONISED = 0x80  # the one flag of a tag's header that we can take away
_FRAME_UNSYNCHRONISED = 0x0002
_LATIN1, _UTF16, _UTF8 = 0, 1, 3
_JOIN = "; "  # ID3v2.3 has no several values in a frame
_OWN_FRAME = {"GENRE": "TCON", "MOOD": "TMOO", "GROUPING": "TIT1"}  # every other field is a TXXX of its name
_WHOLE = ("COMMENT", OWN)  # fields that begin so are one text, whatever is in it
_V1_COMMENT, _V1_GENRE = 97, 127


@dataclass(frozen=True)
class Frame:
    """A frame as it stands in the file, its size told apart: id, flags and content."""

    name: str
    flags: int
    content: bytes

    def packed(self, version: int) -> bytes:
        size = BitPaddedInt.to_str(len(self.content), width=4, bits=7 if version == 4 else 8)
        return self.name.encode("latin-1") + size + struct.pack(">H", self.flags) + self.content


class Id3Tags:
    """The ID3 tag of a file in a container of ``_KINDS``; where there is none yet, v2.4 is made."""

    def __init__(self, path: str, kind: str, *, upgrade: bool = False):
        self._kind = _KINDS[kind]
        with open(path, "rb") as file:
            self._v1 = _v1_of(file) if self._kind is ID3 else b""
            self._header = _header(file, self._kind)
            if self._header is None:
                self.version = 4
                self._frames = _frames_of(find_id3v1(file)[0] or {}, 4) if self._v1 else []
            elif self._header.version[1] == 2:
                self.version = 4
                self._frames = _upgraded(file, self._kind, upgrade)
            else:
                self.version: int = self._header.version[1]
                self._frames = list(_frames_in(file, self._header))

    def read(self, field: str) -> tuple[str, ...]:
        """The values of a field; without any, where there is none or it cannot be read."""
        found: list[str] = []
        for frame in self._frames:
            if (decoded := self._decoded(frame, field)) is not None:
                texts = decoded.genres if isinstance(decoded, TCON) else [str(text) for text in decoded.text]
                split = self.version == 3 and not field.startswith(_WHOLE)
                found += [value.strip() for text in texts for value in (text.split(";") if split else [text])]
        return tuple(dict.fromkeys(value for value in found if value))

    def rest(self, fields: Collection[str]) -> Any:
        """Everything the tag holds but these fields."""
        kept = [frame for frame in self._frames if all(self._decoded(frame, field) is None for field in fields)]
        v1 = bytearray(self._v1)
        if "GENRE" in fields:
            v1[_V1_GENRE:] = b""
        if "COMMENT" in fields:
            v1[_V1_COMMENT:125] = b""
        return kept, bytes(v1)

    def body(self, path: str) -> Any:
        with open(path, "rb") as file:
            if self._kind is ID3:
                return hash_of(file, id3v2_size(file), file.seek(0, 2) - len(self._v1))
            if self._kind is _DSFID3:
                file.seek(20)
                tag_at = int.from_bytes(file.read(8), "little")
                return hash_of(file, 28, tag_at or None)
            return list(chunks_of(file, "little" if self._kind is _WaveID3 else "big", "ID3"))

    def save(self, path: str, values: Mapping[str, Sequence[str]]) -> None:
        """Write these fields into a file whose tag this is; a field without values is taken out."""
        kept, _ = self.rest(values)
        new = [self._encoded(field, texts) for field, texts in values.items() if texts]
        body = b"".join([frame.packed(self.version) for frame in kept] + new)
        tag = self._kind()
        tag._header = self._header
        tag._write = lambda config: bytearray(body)  # type: ignore[method-assign]  # see above
        tag.save(path, v2_version=self.version, padding=keep_padding)
        if self._v1:
            self._save_v1(path, values)

    def _decoded(self, frame: Frame, field: str) -> Any:
        """mutagen's reading of a frame that holds the field; None for any other."""
        name = _OWN_FRAME.get(field, "COMM" if field == "COMMENT" else "TXXX")
        if frame.name not in (name, "TXXX") or not frame.content:
            return None
        try:
            decoded = Frames[frame.name]._fromData(_plain(self.version), frame.flags, frame.content)
        except (error, NotImplementedError, ValueError):  # one that nobody can read is not ours
            return None
        if frame.name == "TXXX":
            return decoded if decoded.desc.upper() == field else None
        return decoded if frame.name != "COMM" or not decoded.desc else None

    def _encoded(self, field: str, texts: Sequence[str]) -> bytes:
        values = list(texts) if self.version == 4 else [_JOIN.join(texts)]
        latin = all(ord(char) < 256 for char in "".join((field, *values)))
        how: dict[str, Any] = {"encoding": _LATIN1 if latin else _UTF8 if self.version == 4 else _UTF16, "text": values}
        name = _OWN_FRAME.get(field)
        if field == "COMMENT":
            frame = COMM(lang=self._language(), desc="", **how)
        elif name is None or (name == "TMOO" and self.version == 3):
            frame = TXXX(desc=field, **how)
        else:
            frame = Frames[name](**how)
        return save_frame(frame, config=ID3SaveConfig(self.version, None))

    def _language(self) -> str:
        comments: Any = (self._decoded(frame, "COMMENT") for frame in self._frames)
        return next((found.lang for found in comments if hasattr(found, "lang")), "eng")

    def _save_v1(self, path: str, values: Mapping[str, Sequence[str]]) -> None:
        """The old tag at the end of the file again, with the fields that it has, too, in step."""
        v1 = bytearray(self._v1)
        if genre := values.get("GENRE"):
            known = {name.casefold(): number for number, name in enumerate(TCON.GENRES)}
            v1[_V1_GENRE:] = bytes([known.get(genre[0].casefold(), 255)])
        if comment := values.get("COMMENT"):
            v1[_V1_COMMENT:125] = comment[0].encode("latin-1", "replace")[:28].ljust(28, b"\0")
        with open(path, "r+b") as file:
            file.seek(find_id3v1(file)[1], 2)
            file.truncate()
            file.write(v1)


_KINDS: dict[str, type[ID3]] = {"mp3": ID3, "tta": ID3, "wav": _WaveID3, "aiff": _IFFID3, "dsf": _DSFID3}


def _plain(version: int) -> ID3Header:
    """What mutagen asks of a tag to read one frame of it, the tag itself not being unsynchronised (any more)."""
    header = ID3Header()
    header.version = (2, version, 0)
    return header


def _header(file: BinaryIO, kind: type[ID3]) -> ID3Header | None:
    """The tag's header, the file left where its frames begin; None where there is no tag."""
    try:
        file.seek(0)
        kind()._pre_load_header(file)
        header = ID3Header(file)
    except ID3NoHeaderError:
        return None
    except ID3UnsupportedVersionError:
        raise Refused("its ID3 tag is of a version that nobody knows") from None
    if header._flags & ~_UNSYNCHRONISED:
        raise Refused("its ID3 tag has an extended header or a footer, which would be lost")
    return header


def _frames_in(file: BinaryIO, header: ID3Header) -> Iterator[Frame]:
    """All frames, as they stand. Refused where the tag is not made of frames to its end, or to its padding."""
    data, version = file.read(header.size - 10), header.version[1]
    if len(data) < header.size - 10:
        raise Refused("its ID3 tag is cut off")
    if version == 3 and header.f_unsynch:
        try:
            data = unsynch.decode(data)
        except ValueError:
            raise Refused("its ID3 tag is damaged (unsynchronisation)") from None
    number = int if version == 3 else determine_bpi(data, Frames)
    also = _FRAME_UNSYNCHRONISED if version == 4 and header.f_unsynch else 0
    at = 0
    while data[at : at + 4].strip(b"\0"):
        head = data[at : at + 10]
        if len(head) < 10:
            break
        name, size, flags = struct.unpack(">4sLH", head)
        size = int(number(size))
        if not name.isalnum() or at + 10 + size > len(data):
            break
        yield Frame(name.decode("latin-1"), flags | also, data[at + 10 : at + 10 + size])
        at += 10 + size
    if data[at:].strip(b"\0"):
        raise Refused("its ID3 tag holds something that is no frame, which would be lost")


def _upgraded(file: BinaryIO, kind: type[ID3], upgrade: bool) -> list[Frame]:
    """The frames of an ID3v2.2 tag as v2.4 has them."""
    if not upgrade:
        raise Refused("its ID3 tag is of version 2.2; --upgrade-id3 makes it 2.4")
    file.seek(0)
    tag: Any = kind(file, load_v1=False)
    if tag.unknown_frames:
        raise Refused("its ID3v2.2 tag has frames that 2.4 does not know")
    return _frames_of(tag, 4)


def _frames_of(tag: Mapping[str, Any], version: int) -> list[Frame]:
    packed = (save_frame(frame, config=ID3SaveConfig(version, None)) for frame in tag.values())
    return [Frame(raw[:4].decode(), *struct.unpack(">H", raw[8:10]), raw[10:]) for raw in packed if raw]


def _v1_of(file: BinaryIO) -> bytes:
    """The ID3v1 tag at the end of a file; empty where there is none."""
    tag, offset = find_id3v1(file)
    if tag is None:
        return b""
    file.seek(offset, 2)
    v1 = file.read()
    if len(v1) != 128:
        raise Refused("its ID3v1 tag is too short")
    return v1
