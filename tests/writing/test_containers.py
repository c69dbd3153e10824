"""Every container: values land where other programs read them, and whatever else is in the file keeps its bytes."""

from __future__ import annotations

import base64
import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import mutagen
import pytest
from mutagen.apev2 import APEv2, APEValue
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, CHAP, CTOC, PRIV, TIT2, TXXX, TYER, UFID, USLT
from mutagen.mp4 import MP4, MP4Cover, MP4FreeForm
from mutagen.oggvorbis import OggVorbis

from audiopatch.audio.packets import packets_of
from audiopatch.errors import TrackError
from audiopatch.writing.containers import open_tags
from audiopatch.writing.replace import Refused
from containers import CONTAINERS, make
from fabricate import encode, music

VALUES = {
    "GENRE": ("Zydeco", "Härdcore"),
    "MOOD": ("Wistfül",),
    "COMMENT": ("Nöte",),
    "INSTRUMENT": ("Hurdy gurdy",),
    "AUDIOPATCH_MODEL": ("made-up 1",),
}
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(40_000)


def _run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, check=False)
    return done.stdout.decode(errors="replace")


def _mutagen(path: Path) -> str:
    file = mutagen.File(path)
    return "\n".join(
        b.decode() if isinstance(b, bytes) else str(b)
        for value in file.tags.values()
        for b in (value if isinstance(value, list) else getattr(value, "text", None) or str(value).split("\0"))
    )


def _av(path: Path) -> str:
    with av.open(str(path)) as file:
        return json.dumps([file.metadata, [stream.metadata for stream in file.streams]], ensure_ascii=False)


# Each gives text in which values are found as they are.
READERS: dict[str, Callable[[Path], str]] = {
    "mutagen": _mutagen,
    "PyAV": _av,
    "ffprobe": lambda path: _run("ffprobe", "-v", "error", "-show_entries", "format_tags:stream_tags", path),
    "mediainfo": lambda path: _run("mediainfo", path),
    "exiftool": lambda path: _run("exiftool", "-a", "-charset", "utf8", path),
    "id3v2": lambda path: _run("id3v2", "-l", path),
    "metaflac": lambda path: _run("metaflac", "--export-tags-to=-", "--no-utf8-convert", path),
    "vorbiscomment": lambda path: _run("vorbiscomment", "-l", "-R", path),
}
# Beside mutagen, who reads a container's fields at all: PyAV, and the programs of Debian 12.
READ_BY = {
    "mp3": "PyAV ffprobe mediainfo exiftool", "flac": "PyAV ffprobe mediainfo exiftool metaflac",
    "ogg": "PyAV ffprobe mediainfo exiftool vorbiscomment", "opus": "PyAV ffprobe mediainfo exiftool",
    "oga": "PyAV ffprobe exiftool", "spx": "PyAV ffprobe", "m4a": "PyAV ffprobe mediainfo exiftool",
    "alac.m4a": "PyAV ffprobe mediainfo exiftool", "wma": "PyAV ffprobe mediainfo exiftool",
    "ape": "PyAV ffprobe mediainfo exiftool", "wv": "PyAV ffprobe mediainfo", "mpc": "mediainfo",
    "aiff": "PyAV ffprobe mediainfo exiftool", "wav": "mediainfo exiftool", "dsf": "PyAV ffprobe mediainfo",
    "tta": "exiftool",
}  # fmt: skip


def write(path: Path, values=VALUES, **how):
    """Write as ``apply`` does, but in place; everything else must be as before."""
    kind, tags = open_tags(str(path), **how)
    before = kind.packets(str(path))
    body = tags.body(str(path))
    tags.save(str(path), values)
    _, now = open_tags(str(path))
    assert now.rest(values) == tags.rest(values)
    assert now.body(str(path)) == body
    assert kind.packets(str(path), container=before.container) == before
    return now


@pytest.mark.parametrize("kind", CONTAINERS)
def test_values_are_read_back(kind, tmp_path):
    path = make(tmp_path, kind)
    now = write(path)
    assert {field: now.read(field) for field in VALUES} == VALUES
    assert set(_mutagen(path).split("\n")) >= {text for texts in VALUES.values() for text in texts}
    if "PyAV" in READ_BY[kind]:
        assert "Zydeco" in _av(path) and "Nöte" in _av(path)


_COMMON = {"mp3", "flac", "ogg", "m4a"}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in _COMMON else pytest.mark.slow) for kind in CONTAINERS]
)
def test_other_programs_read_the_values(kind, tmp_path):
    """Those of Debian that are installed; together with mutagen at least two read each container."""
    path = make(tmp_path, kind)
    write(path)
    names = [name for name in READ_BY[kind].split() if name != "PyAV"]
    assert names
    installed = [name for name in names if shutil.which(name)]
    for name in installed:
        said = READERS[name](path)
        assert "Zydeco" in said and "Nöte" in said, f"{name} does not read {kind}: {said}"
    if not installed:
        pytest.skip(f"none of {', '.join(names)} is installed")


@pytest.mark.parametrize("kind", CONTAINERS)
def test_values_change_and_go_again(kind, tmp_path):
    path = make(tmp_path, kind)
    write(path)
    now = write(path, {"GENRE": ("Jazz",), "MOOD": (), "COMMENT": ("x" * 5000,)})
    assert (now.read("GENRE"), now.read("MOOD"), now.read("COMMENT")) == (("Jazz",), (), ("x" * 5000,))
    assert now.read("INSTRUMENT") == VALUES["INSTRUMENT"]


def _id3_size(data: bytes) -> int:
    return 10 + sum((data[6 + i] & 0x7F) << (21 - 7 * i) for i in range(4))


def _mp3(tmp_path: Path, *frames, version: int, v1: bool = True) -> Path:
    """An MP3 with these frames, an unknown one, a frame that is there twice, and perhaps an ID3v1 tag."""
    path = make(tmp_path, "mp3")
    tag = mutagen.id3.ID3()
    for frame in frames:
        tag.add(frame)
    tag.save(path, v2_version=version, v1=2 if v1 else 0, v23_sep=None)
    data = path.read_bytes()
    size = _id3_size(data)
    own = [name + struct.pack(">IH", 5, 0) + b"\0same" for name in (b"XSOT", b"TPE2", b"TPE2")]
    known = [frame.packed(version) for frame in open_tags(str(path))[1]._frames]
    body = b"".join([*known, *own, bytes(300)])
    total = bytes((len(body) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(data[:6] + total + body + data[size:])
    return path


_RICH = (
    TIT2(encoding=1, text="Title"), TXXX(encoding=0, desc="replaygain_track_gain", text="-6.10 dB"),
    UFID(owner="http://musicbrainz.org", data=b"8f3471b5"), PRIV(owner="WM/UniqueFileIdentifier", data=b"\1\2"),
    APIC(encoding=0, mime="image/png", type=3, desc="", data=_PNG), USLT(encoding=1, lang="eng", desc="", text="la la"),
    CHAP(element_id="c0", start_time=0, end_time=500, start_offset=2**32 - 1, end_offset=2**32 - 1, sub_frames=[]),
    CTOC(element_id="toc", flags=3, child_element_ids=["c0"], sub_frames=[]),
)  # fmt: skip


@pytest.mark.parametrize("version", [3, 4])
def test_every_other_id3_frame_keeps_its_bytes_and_the_tag_its_version(version, tmp_path):
    path = _mp3(tmp_path, *_RICH, TYER(encoding=0, text="1999"), version=version)
    before = path.read_bytes()
    frames = [frame.packed(version) for frame in open_tags(str(path))[1]._frames]
    assert len(frames) == len(_RICH) + 4
    write(path)
    after = path.read_bytes()
    assert after[3] == version
    assert all(frame in after for frame in frames)
    assert after[-128:-1] == before[-128:-31] + b"N\xf6te".ljust(28, b"\0") + before[-3:-1]  # ID3v1 in step
    write(path, {"GENRE": ("Jazz",)})
    assert path.read_bytes()[-1] == 8
    with av.open(str(path)) as file:
        assert "8" != file.metadata["genre"] == "Jazz"


def test_id3v2_3_has_several_values_in_one_text_and_our_evidence_whole(tmp_path):
    path = _mp3(tmp_path, TIT2(encoding=0, text="Title"), version=3)
    now = write(path, VALUES | {"AUDIOPATCH_GENRE": ("Zydeco 0.80; Härdcore 0.60",)})
    assert (now.read("GENRE"), now.read("AUDIOPATCH_GENRE")) == (VALUES["GENRE"], ("Zydeco 0.80; Härdcore 0.60",))
    tag = mutagen.id3.ID3(path, translate=False)
    assert (
        tag.version == (2, 3, 0) and tag["TCON"].text == ["Zydeco; Härdcore"] and tag["TXXX:MOOD"].text == ["Wistfül"]
    )


def test_padding_is_used_and_kept(tmp_path):
    for kind in ("mp3", "flac", "m4a"):
        path = make(tmp_path, kind)
        write(path)
        size = path.stat().st_size
        write(path, {"GENRE": ("Drum and bass",), "MOOD": ("Happy",)})
        assert path.stat().st_size == size, kind


def test_an_mp3_with_id3v1_alone_gets_its_fields_in_the_new_tag(tmp_path):
    path = make(tmp_path, "mp3")
    v1 = (
        b"TAG"
        + b"Old title".ljust(30, b"\0")
        + b"Old artist".ljust(30, b"\0")
        + bytes(30)
        + b"1998"
        + bytes(30)
        + b"\x11"
    )
    data = path.read_bytes()
    size = _id3_size(data)
    path.write_bytes(data[size:] + v1)
    assert open_tags(str(path))[1].read("GENRE") == ("Rock",)
    write(path, {"MOOD": ("Happy",)})
    tag = mutagen.id3.ID3(path, load_v1=False)
    assert (str(tag["TIT2"]), str(tag["TPE1"]), tag["TCON"].genres) == ("Old title", "Old artist", ["Rock"])
    assert path.read_bytes()[-128:] == v1


def test_an_old_id3_tag_is_left_alone_unless_it_may_be_upgraded(tmp_path):
    path = make(tmp_path, "mp3")
    data = path.read_bytes()
    size = _id3_size(data)
    frame = b"TT2\0\0\x06\0Title" + b"TCO\0\0\x05\0(17)"
    path.write_bytes(b"ID3\2\0\0\0\0\0" + bytes([len(frame)]) + frame + data[size:])
    with pytest.raises(Refused, match=r"version 2\.2"):
        open_tags(str(path))
    tags = open_tags(str(path), upgrade=True)[1]
    assert tags.read("GENRE") == ("Rock",)
    tags.save(str(path), {"GENRE": ("Metal",)})
    tag = mutagen.id3.ID3(path)
    assert tag.version == (2, 4, 0) and (str(tag["TIT2"]), tag["TCON"].genres) == ("Title", ["Metal"])


@pytest.mark.parametrize("what", ["extended header", "footer", "something that is no frame"])
def test_id3_tags_that_would_lose_something_are_refused(what, tmp_path):
    path = make(tmp_path, "mp3")
    data = path.read_bytes()
    flags, body = {
        "extended header": (b"\x40", b"\0\0\0\6\1\0" + data[10:100]),
        "footer": (b"\x10", data[10:100]),
        "something that is no frame": (b"\0", b"TIT2\0\0\0\2\0\0\0A" + b"junk\xff" * 10),
    }[what]
    path.write_bytes(data[:5] + flags + b"\0\0\0" + bytes([len(body)]) + body + data[_id3_size(data) :])
    with pytest.raises(Refused, match=what):
        open_tags(str(path))


def test_unsynchronised_tags_keep_their_values(tmp_path):
    path = make(tmp_path, "mp3")
    data = path.read_bytes()
    size = _id3_size(data)
    content = b"\0owner\0\xff\xe0\xff\0"
    frame = b"PRIV" + struct.pack(">IH", len(content), 0) + content
    raw = frame.replace(b"\xff\0", b"\xff\0\0").replace(b"\xff\xe0", b"\xff\0\xe0")
    path.write_bytes(b"ID3\3\0\x80\0\0\0" + bytes([len(raw)]) + raw + data[size:])
    write(path)
    assert mutagen.id3.ID3(path).getall("PRIV")[0].data in content


def test_flac_keeps_pictures_cue_sheet_unknown_blocks_and_broken_text(tmp_path):
    path = make(tmp_path, "flac")
    file = FLAC(path)
    picture = Picture()
    picture.data, picture.mime, picture.type = _PNG, "image/png", 3
    file.add_picture(picture)
    file["artist"] = "Somebody"
    file.save()
    data = path.read_bytes()
    odd = b"NAME=caf\xe9"  # Latin-1, as old programs wrote it
    at = data.index(b"artist=Somebody")
    path.write_bytes(data[: at - 4] + struct.pack("<I", 15) + odd.ljust(15, b"!") + data[at + 15 :])
    unknown = b"\x02" + (8).to_bytes(3, "big") + b"appltest"
    first = struct.pack(">QB", 0, 1) + bytes(26) + b"\1" + struct.pack(">QB", 0, 1) + bytes(3)
    lead_out = struct.pack(">QB", 44_100, 170) + bytes(26) + b"\0"
    sheet = b"1234567890123".ljust(128, b"\0") + struct.pack(">QB", 88_200, 128) + bytes(258) + b"\2" + first + lead_out
    cue = b"\x05" + len(sheet).to_bytes(3, "big") + sheet
    data = path.read_bytes()
    path.write_bytes(data[:42] + unknown + cue + data[42:])
    write(path)
    after = path.read_bytes()
    assert all(piece in after for piece in (_PNG, odd, unknown, cue))


def test_a_comment_of_many_pages_moves_all_pages_after_it(tmp_path):
    path = make(tmp_path, "ogg", seconds=3)
    file = OggVorbis(path)
    file["metadata_block_picture"] = base64.b64encode(bytes(range(256)) * 600).decode()
    file["lyrics"] = "la " * 30_000
    file.save(padding=lambda info: 0)
    write(path, VALUES | {"COMMENT": ("x" * 70_000,)})
    now = OggVorbis(path)
    assert now["lyrics"] == ["la " * 30_000] and now["genre"] == list(VALUES["GENRE"])


def test_mp4_keeps_covers_freeform_and_unknown_items_and_reads_numbered_genres(tmp_path):
    path = make(tmp_path, "m4a")
    file = MP4(path)
    file["covr"] = [MP4Cover(_PNG, MP4Cover.FORMAT_PNG)]
    file["----:com.apple.iTunes:MusicBrainz Track Id"] = MP4FreeForm(b"8f34")
    file["\xa9lyr"], file["trkn"], file["cpil"] = ["la la"], [(3, 12)], True
    file["\xa9gen"], file["\xa9xyz"] = ["Rock"], ["unknown to all"]
    file.save()
    data = path.read_bytes()
    item = struct.pack(">I4sI4sII", 28, b"\xa9gen", 20, b"data", 1, 0) + b"Rock"
    number = struct.pack(">I4sI4sII", 28, b"gnre", 20, b"data", 0, 0) + b"\0\0\0\x0a"
    assert item in data
    path.write_bytes(data.replace(item, number))
    kept = [item for item in open_tags(str(path))[1]._items if item[0] != b"gnre"]
    assert open_tags(str(path))[1].read("GENRE") == ("Metal",)
    now = write(path, {"MOOD": ("Happy",)})
    assert all(item in now._items for item in kept) and now.read("GENRE") == ("Metal",)
    now = write(path, {"GENRE": ("Jazz",)})
    assert all(item in now._items for item in kept) and now.read("GENRE") == ("Jazz",)
    assert MP4(path)["covr"] == [_PNG] and MP4(path)["trkn"] == [(3, 12)]


@pytest.mark.parametrize("kind", ["wv", "ape"])
def test_what_stands_behind_an_ape_tag_stays(kind, tmp_path):
    path = make(tmp_path, kind)
    tag = APEv2()
    tag["Title"], tag["Cover Art (Front)"] = "Title", APEValue(b"cover.png\0" + _PNG, 1)
    tag.save(path)
    v1 = b"TAG" + b"Title".ljust(30, b"\0") + bytes(95)
    with path.open("ab") as file:
        file.write(v1)
    write(path)
    assert path.read_bytes()[-128:] == v1 and APEv2(path)["Cover Art (Front)"].value == b"cover.png\0" + _PNG


def test_other_chunks_of_wav_stay_and_riff_info_is_left_alone(tmp_path):
    path = make(tmp_path, "wav")
    info = b"INFO" + b"IGNR" + struct.pack("<I", 6) + b"Polka\0"
    chunks = b"LIST" + struct.pack("<I", len(info)) + info + b"xtra" + struct.pack("<I", 3) + b"odd\0"
    data = path.read_bytes() + chunks
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    write(path)
    assert chunks in path.read_bytes()


@pytest.mark.parametrize("name", ["song.mka", "song.aac", "text.mp3", "empty.flac"])
def test_what_is_not_written_says_so(name, tmp_path):
    path = tmp_path / name
    if name.startswith("song"):
        encode(path, music(0.5))
    else:
        path.write_bytes(b"no music\n" * 40 if name.startswith("text") else b"")
    with pytest.raises((Refused, TrackError), match=r"not written|no file|FFmpeg cannot open"):
        open_tags(str(path))
        packets_of(str(path))
