"""Make a small bundle of a large music library: pieces of every track as Opus, for a machine without the library.

    python scripts/bundle_music.py MUSIC BUNDLE

Each track gives pieces of 12 s, evenly spread, as many as its share of the size allows (long tracks more, every track
one while there is room). Folders stay as they are, so that ``audiopatch train distill BUNDLE --held-out ...`` works as
on the library itself. Recordings too short for a piece are joined: spoken prompts in ``speech``, the others in
``sounds``. Pieces of the ``--held-out`` folders are written first; what is in them again elsewhere is left out, by its
bytes and by its print (``audiopatch.distill.prints``). Mono.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from fetch_free_music import AUDIO, HELD_OUT

from audiopatch.distill.prints import Prints, print_of

SAMPLE_RATE, PIECE_S, MIN_S = 48_000, 12.0, 20.0
SPEECH = "asterisk-core-sounds"  # the packages of spoken prompts
N_JOINED = 120  # pieces of each kind


def main() -> None:
    arguments = _parser().parse_args()
    held, rest, short, seen = [], [], [], set()
    for album in sorted(arguments.music.iterdir(), key=lambda path: path.name not in arguments.held_out):
        for path in sorted(path for path in album.rglob("*") if path.suffix.lower() in AUDIO):
            digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
            if digest not in seen:
                kind = short if duration_s(path) < MIN_S else held if album.name in arguments.held_out else rest
                kind.append(path)
            seen.add(digest)
    known = Prints((path.name, print_of(read(path), SAMPLE_RATE)) for path in held)
    n_held, n_rest = arguments.held_out_pieces, round(arguments.megabytes * 8e6 / arguments.bitrate / PIECE_S)
    for paths, n_pieces, others in ((held, n_held, Prints([])), (rest, n_rest, known)):
        for path, n in zip(paths, shares([duration_s(path) for path in paths], n_pieces), strict=True):
            _write(path, n, arguments, others)
    spoken = [path for path in short if path.relative_to(arguments.music).parts[0].startswith(SPEECH)]
    sounds = [path for path in short if path not in set(spoken) and duration_s(path) > 0.3]
    for name, paths in (("speech", spoken), ("sounds", sounds)):
        join(paths, arguments.bundle / name, arguments.bitrate)
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


def duration_s(path: Path) -> float:
    """0 for a file that cannot be read."""
    try:
        return soundfile.info(path).duration
    except soundfile.LibsndfileError:
        return 0.0


def read(path: Path, start_s: float = 0.0, length_s: float | None = None) -> np.ndarray:
    """(S,) float32 at SAMPLE_RATE: a part of a file, its channels' mean."""
    with soundfile.SoundFile(path) as file:
        file.seek(int(start_s * file.samplerate))
        n_frames = -1 if length_s is None else int(length_s * file.samplerate)
        wave = file.read(n_frames, dtype="float32", always_2d=True).mean(axis=1)
        return soxr.resample(wave, file.samplerate, SAMPLE_RATE)


def _write(path: Path, n: int, arguments: argparse.Namespace, known: Prints) -> None:
    """``n`` pieces of a track, each a file beside its album's others, but none that sounds as one of ``known``."""
    name = path.relative_to(arguments.music)
    folder = arguments.bundle / name.parts[0]
    folder.mkdir(parents=True, exist_ok=True)
    tag = hashlib.blake2b(str(name).encode(), digest_size=4).hexdigest()
    room_s = duration_s(path) - PIECE_S
    for number in range(n):
        wave = read(path, (number + 0.5) / n * room_s, PIECE_S)
        if (original := known.find(print_of(wave, SAMPLE_RATE))) is not None:
            print(f"{name}: as in {original}, which is held out; left out", file=sys.stderr)
            return
        write_opus(folder / f"{tag}-{number}.opus", wave, arguments.bitrate)


def join(paths: Sequence[Path], folder: Path, bitrate: int) -> None:
    """Up to N_JOINED pieces of short recordings one after the other, with rests between, in an order of chance."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(2026)
    left = iter(rng.permutation(len(paths)).tolist())
    for number in range(N_JOINED):
        parts: list[np.ndarray] = []
        while sum(map(len, parts)) < PIECE_S * SAMPLE_RATE:
            if (place := next(left, None)) is None:
                return
            wave = read(paths[place], 0.0, PIECE_S)
            loudest = float(np.abs(wave).max(initial=0.0))
            if loudest > 0.01:
                rest = np.zeros(rng.integers(20_000), np.float32)
                parts += [wave / loudest * rng.uniform(0.3, 0.9), rest]
        write_opus(folder / f"{number:03d}.opus", np.concatenate(parts)[: round(PIECE_S * SAMPLE_RATE)], bitrate)


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
    parser.add_argument("--megabytes", type=float, default=200.0)
    parser.add_argument("--bitrate", type=int, default=64_000)
    parser.add_argument("--held-out", nargs="*", default=list(HELD_OUT), help="folders that are only measured on")
    parser.add_argument("--held-out-pieces", type=int, default=150)
    return parser


if __name__ == "__main__":
    main()
