"""Make a small bundle of a large music library: pieces of every track as Opus, for a machine without the library.

    python scripts/bundle_music.py MUSIC BUNDLE --megabytes 30

Each track gives pieces of 20 s, evenly spread, as many as its share of the size allows (long tracks more, every track
one while there is room). Folders stay as they are, so that ``audiopatch train distill BUNDLE --held-out ...`` works as
on the library itself. Pieces of the ``--held-out`` folders are written first, and a file that is in them again
elsewhere is left out. Mono.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from fetch_free_music import AUDIO, HELD_OUT

SAMPLE_RATE, PIECE_S, MIN_S = 48_000, 20.0, 20.0


def main() -> None:
    arguments = _parser().parse_args()
    held, rest, seen = [], [], set()
    for album in sorted(arguments.music.iterdir(), key=lambda path: path.name not in arguments.held_out):
        for path in sorted(path for path in album.rglob("*") if path.suffix.lower() in AUDIO):
            digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
            if digest not in seen and _duration_s(path) >= MIN_S:
                (held if album.name in arguments.held_out else rest).append(path)
            seen.add(digest)
    n_held, n_rest = arguments.held_out_pieces, round(arguments.megabytes * 8e6 / arguments.bitrate / PIECE_S)
    for paths, n_pieces in ((held, n_held), (rest, n_rest)):
        for path, n in zip(paths, shares([_duration_s(path) for path in paths], n_pieces), strict=True):
            _write(path, n, arguments)
    files = list(arguments.bundle.rglob("*.opus"))
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    print(f"{len(files)} pieces of {len(held)} + {len(rest)} tracks, {megabytes:.1f} MB")


def shares(durations_s: list[float], n_pieces: int) -> list[int]:
    """Pieces per track, by the root of its duration and never more than fit: one for each before a second for any."""
    if n_pieces < len(durations_s):
        chosen = set(np.linspace(0, len(durations_s) - 1, n_pieces).astype(int))
        return [int(number in chosen) for number in range(len(durations_s))]
    roots = np.sqrt(durations_s)
    return [
        min(int(duration // PIECE_S), max(1, round(share)))
        for duration, share in zip(durations_s, roots / roots.sum() * n_pieces, strict=True)
    ]


def _duration_s(path: Path) -> float:
    try:
        return soundfile.info(path).duration
    except soundfile.LibsndfileError:
        return 0.0


def _write(path: Path, n: int, arguments: argparse.Namespace) -> None:
    """``n`` pieces of a track, each a file beside its album's others."""
    name = path.relative_to(arguments.music)
    folder = arguments.bundle / name.parts[0]
    folder.mkdir(parents=True, exist_ok=True)
    tag = hashlib.blake2b(str(name).encode(), digest_size=4).hexdigest()
    room = _duration_s(path) - PIECE_S
    for number in range(n):
        place = (number + 0.5) / n
        with soundfile.SoundFile(path) as file:
            file.seek(int(place * room * file.samplerate))
            wave = file.read(int(PIECE_S * file.samplerate), dtype="float32", always_2d=True).mean(axis=1)
            wave = soxr.resample(wave, file.samplerate, SAMPLE_RATE)
        write_opus(folder / f"{tag}-{number}.opus", wave, arguments.bitrate)


def write_opus(path: Path, wave: np.ndarray, bitrate: int) -> None:
    """wave (S,) float at 48 kHz -> a mono Opus file."""
    pcm = np.rint(np.clip(wave, -1, 1) * 32767).astype(np.int16)
    with av.open(str(path), "w", format="ogg") as container:
        options = {"application": "audio", "vbr": "constrained", "compression_level": "7"}
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, options=options)
        stream.bit_rate = bitrate
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("music", type=Path, help="where fetch_free_music.py put the packages")
    parser.add_argument("bundle", type=Path, help="where the pieces go")
    parser.add_argument("--megabytes", type=float, default=30.0)
    parser.add_argument("--bitrate", type=int, default=22_000)
    parser.add_argument("--held-out", nargs="*", default=list(HELD_OUT), help="folders that are only measured on")
    parser.add_argument("--held-out-pieces", type=int, default=30)
    return parser


if __name__ == "__main__":
    sys.exit(main())
