"""Make small audio files of every format, and bad files of every kind, with real encoders: no fixtures to download.

``music`` gives samples, ``encode`` writes them in the format of the file's extension, ``bad_files`` fills a folder with
everything a disk may hold and says how each should end.
"""

from __future__ import annotations

import hashlib
import os
import struct
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import soundfile

# extension -> encoder inside PyAV; None: libsndfile writes it (PyAV's wheels have no good Vorbis encoder)
ENCODERS = {
    "wav": "pcm_s16le",
    "flac": "flac",
    "mp3": "libmp3lame",
    "ogg": None,
    "opus": "libopus",
    "m4a": "aac",
    "aac": "aac",
    "wma": "wmav2",
    "wv": "wavpack",
    "tta": "tta",
    "aiff": "pcm_s16be",
    "au": "pcm_s16be",
    "mka": "flac",
    "caf": "alac",
    "ac3": "ac3",
    "mp2": "mp2",
}


@lru_cache(maxsize=64)
def music(seconds: float, sample_rate: int = 44_100, n_channels: int = 2, seed: int = 0) -> np.ndarray:
    """(C, S) float32 in [-1, 1], read-only: decaying chords that change twice a second over soft noise; channels
    differ."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    beat = (t * 2).astype(int)
    pitches = 110 * 2 ** (rng.integers(0, 36, (beat.max(initial=0) + 1, n_channels + 2)) / 12)
    envelope = np.exp(-4 * (t * 2 - beat))
    voices = [0.2 * envelope * np.sin(2 * np.pi * pitches[beat, v] * t) for v in range(n_channels + 2)]
    channels = [voices[c] + voices[c + 1] + voices[c + 2] for c in range(n_channels)]
    wave = (np.stack(channels) + 0.01 * rng.standard_normal((n_channels, t.size))).astype(np.float32)
    wave.setflags(write=False)
    return wave


def encode(
    path: Path, wave: np.ndarray, sample_rate: int = 44_100, *, codec: str = "", layout: str = "", **metadata: str
) -> Path:
    """Write wave (C, S) float32 in the format of the path's extension; ``metadata`` such as ``artist="..."``.

    What was encoded before is written again as it was.
    """
    content = hashlib.blake2b(np.ascontiguousarray(wave)).digest()
    wanted = (path.suffix, wave.shape, content, sample_rate, codec, layout, *sorted(metadata.items()))
    if wanted in _ENCODED:
        path.write_bytes(_ENCODED[wanted])
        return path
    _encode(path, wave, sample_rate, codec, layout, metadata)
    if path.stat().st_size <= _KEPT_BYTES:
        _ENCODED[wanted] = path.read_bytes()
    return path


_ENCODED: dict[tuple[object, ...], bytes] = {}
_KEPT_BYTES = 1_000_000


def _encode(path: Path, wave: np.ndarray, sample_rate: int, codec: str, layout: str, metadata: dict[str, str]) -> None:
    chosen = codec or ENCODERS[path.suffix[1:]]
    if chosen is None:
        soundfile.write(path, wave.T, sample_rate)
        return
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata)
        layout = layout or {1: "mono", 2: "stereo", 6: "5.1"}[len(wave)]
        stream = container.add_stream(chosen, rate=48_000 if chosen == "libopus" else sample_rate, layout=layout)
        stream.bit_rate = 160_000  # for the lossy ones
        for start in range(0, wave.shape[1], sample_rate):
            chunk = np.ascontiguousarray(wave[:, start : start + sample_rate])
            frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = sample_rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def retag(path: Path) -> None:
    """Other tags around the same packets, as taggers write them."""
    other = path.with_name(f"other{path.suffix}")
    with av.open(str(path)) as before, av.open(str(other), "w") as after:
        after.metadata.update({"artist": "After", "title": "A much longer title than there was before"})
        stream = after.add_stream_from_template(before.streams.audio[0])
        for packet in before.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                after.mux(packet)
    other.replace(path)


def flipped(data: bytes, every: int = 25_000, after: int = 12_000) -> bytes:
    """The data with one byte in every so many turned over, headers spared."""
    damaged = bytearray(data)
    for i in range(after, len(damaged), every):
        damaged[i] ^= 0xFF
    return bytes(damaged)


def wav_header(data_bytes: int, sample_rate: int = 44_100, channels: int = 2) -> bytes:
    """A 16-bit PCM header that promises ``data_bytes``, whatever follows it."""
    fmt = struct.pack("<IHHIIHH", 16, 1, channels, sample_rate, sample_rate * 2 * channels, 2 * channels, 16)
    riff_bytes = min(data_bytes + 36, 0xFFFFFFFF)
    return b"RIFF" + struct.pack("<I", riff_bytes) + b"WAVEfmt " + fmt + b"data" + struct.pack("<I", data_bytes)


def wavex(
    samples: np.ndarray | bytes, sample_rate: int, *, n_channels: int = 0, container: int = 16, valid: int = 0,
    bits: int = 0, mask: int = 0, extensible: bool = True,
) -> bytes:  # fmt: skip
    """A PCM WAV of samples (S, C) or bytes, with whatever its header is to say of words, bits and places."""
    n_channels = n_channels or np.asarray(samples).shape[1]
    data = samples if isinstance(samples, bytes) else samples.tobytes()
    block = n_channels * container // 8
    tag = 0xFFFE if extensible else 1
    fmt = struct.pack("<HHIIHH", tag, n_channels, sample_rate, sample_rate * block, block, bits or container)
    if extensible:
        guid = struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
        fmt += struct.pack("<HHI", 22, valid or container, mask) + guid
    head = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data))
    return b"RIFF" + struct.pack("<I", len(head) + len(data)) + head + data


def bad_files(folder: Path, seconds: float = 6.0) -> dict[str, str]:
    """Fill ``folder`` with files as disks hold them; name -> how it should end: "ok", "damaged" or an error code.

    Where FFmpeg's own tolerance decides (flipped bits), "damaged|ok" is the answer: audio, and no failure.
    """
    wave = music(seconds)
    kinds = ("wav", "flac", "mp3", "ogg", "opus", "m4a")
    good = {ext: encode(folder / f"good.{ext}", wave).read_bytes() for ext in kinds}
    expected = {f"good.{ext}": "ok" for ext in good}
    noise = np.random.default_rng(1).bytes(100_000)

    def put(name: str, data: bytes, ends: str) -> None:
        (folder / name).write_bytes(data)
        expected[name] = ends

    for ext in ("flac", "mp3"):
        put(f"truncated.{ext}", good[ext][: len(good[ext]) // 2], "damaged")
    put("truncated.ogg", good["ogg"][: len(good["ogg"]) // 2], "damaged|ok")  # Ogg declares no length
    put("truncated.m4a", good["m4a"][: len(good["m4a"]) // 2], "E_DECODE")  # its index is at the end
    for ext in ("flac", "mp3", "ogg", "opus", "wav"):
        put(f"flipped.{ext}", flipped(good[ext]), "damaged|ok")
    put("empty.mp3", b"", "E_EMPTY")
    put("random.mp3", noise, "E_DECODE")
    put("random.flac", b"fLaC" + noise, "E_DECODE")
    put("text.mp3", b"not music, but words\n" * 500, "E_DECODE")
    put("playlist.mp3", b"#EXTM3U\n#EXTINF:10,\n/etc/hostname\n#EXT-X-ENDLIST\n", "E_DECODE")
    put("id3_only.mp3", b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10), "E_DECODE")
    put("mp3_called.ogg", good["mp3"], "ok")
    put("flac_called.mp3", good["flac"], "ok")
    put("no_samples.wav", wav_header(0), "E_EMPTY")
    put("huge_declared.wav", wav_header(0xFFFFFFFF) + good["wav"][44:], "ok")
    put("huge_declared_2.wav", wav_header(0x7FFFFF00) + good["wav"][44:], "damaged|ok")
    put("one_hertz.wav", wav_header(len(noise), sample_rate=1) + noise, "E_DECODE")
    put("many_channels.wav", wav_header(len(noise), channels=20_000) + noise, "E_DECODE")
    _odd_but_good(folder, wave, expected)
    return expected


def _odd_but_good(folder: Path, wave: np.ndarray, expected: dict[str, str]) -> None:
    """Unusual samples, rates, channels and names."""

    def sound(name: str, samples: np.ndarray, ends: str, sample_rate: int = 44_100, subtype: str = "PCM_16") -> None:
        soundfile.write(folder / name, samples.T, sample_rate, subtype)
        expected[name] = ends

    holed = wave.copy()
    holed[:, 1000:1010] = np.nan
    holed[0, 2000] = np.inf
    sound("20ms.wav", wave[:, :882], "E_TOO_SHORT")
    sound("dc.wav", np.full_like(wave, 0.5), "ok")
    sound("silence.wav", np.zeros_like(wave), "ok")
    sound("some_nan.wav", holed, "damaged", subtype="FLOAT")
    sound("all_nan.wav", np.full_like(wave, np.nan), "E_NAN", subtype="FLOAT")
    sound("float64.wav", wave, "ok", subtype="DOUBLE")
    sound("u8.wav", wave, "ok", subtype="PCM_U8")
    sound("24bit_96k.wav", wave, "ok", 96_000, "PCM_24")
    sound("24bit_96k.flac", wave, "ok", 96_000, "PCM_24")
    sound("surround.wav", np.concatenate([wave] * 3), "ok")
    sound("surround.flac", np.concatenate([wave] * 3), "ok")
    encode(folder / "tags.mp3", wave, artist="An Artist", album="An Album", title="A Title", genre="Ambient")
    expected["tags.mp3"] = "ok"
    _with_cover(folder / "cover.mp3", folder / "tags.mp3")
    expected["cover.mp3"] = "ok"
    name = os.fsdecode(b"caf\xe9 \xff.wav")
    Path(os.path.join(folder, name)).write_bytes((folder / "good.wav").read_bytes())  # noqa: PTH118
    expected[name] = "ok"


def _with_cover(path: Path, plain: Path) -> None:
    """A picture in an ID3v2.3 tag before the audio of ``plain``."""
    picture = b"\x00image/png\x00\x03\x00" + b"\x89PNG\r\n\x1a\n" + bytes(5_000)
    frame = b"APIC" + struct.pack(">IH", len(picture), 0) + picture
    size = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    data = plain.read_bytes()
    own = 10 + sum((data[6 + i] & 0x7F) << (21 - 7 * i) for i in range(4)) if data[:3] == b"ID3" else 0
    path.write_bytes(b"ID3\x03\x00\x00" + size + frame + data[own:])
