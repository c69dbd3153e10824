"""A music library as a folder of raw audio pieces: the input of training loops that draw millions of random crops.

A piece is a headerless little-endian int16 mono file, small enough to copy around one by one; ``pieces.json`` names the
span of each track in it. A crop never crosses two tracks, and memory-mapping makes drawing one as cheap as a disk read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiopatch.audio.pool import Whole, decode_whole
from audiopatch.distill.prints import Prints, print_of
from audiopatch.errors import NoAudioError, UsageError
from audiopatch.types import Failed, Track

INDEX_NAME = "pieces.json"
MAX_PIECE_BYTES = 60_000_000
BYTES_PER_SAMPLE = 2


@dataclass(frozen=True)
class Span:
    """``n_samples`` of the track ``path`` (relative to its library), from sample ``start`` of the file ``piece``."""

    piece: str
    start: int
    n_samples: int
    path: str


class PieceWriter:
    """Appends tracks to pieces of bounded size; ``close`` writes the index, without which a folder has no pieces."""

    def __init__(self, folder: Path, sample_rate: int, *, max_piece_bytes: int = MAX_PIECE_BYTES):
        self.folder, self.sample_rate = Path(folder), sample_rate
        self._max_samples = max_piece_bytes // BYTES_PER_SAMPLE
        self.digests: list[str] = []
        self.copies: dict[str, str] = {}
        self._spans: list[Span] = []
        self._n_pieces = self._filled = 0
        self.folder.mkdir(parents=True, exist_ok=True)

    def add(self, path: str, wave: np.ndarray) -> None:
        """wave (S,) float in [-1, 1] or int16; a track that does not fit goes on in the next piece."""
        pcm = wave if wave.dtype == np.int16 else np.rint(np.clip(wave, -1, 1) * 32767).astype(np.int16)
        while len(pcm):
            if self._n_pieces == 0 or self._filled >= self._max_samples:
                self._n_pieces, self._filled = self._n_pieces + 1, 0
            part, pcm = np.split(pcm, [self._max_samples - self._filled])
            piece = f"piece-{self._n_pieces - 1:04d}.i16"
            with open(self.folder / piece, "wb" if self._filled == 0 else "ab") as file:
                file.write(part.astype("<i2").tobytes())
            self._spans.append(Span(piece, self._filled, len(part), path))
            self._filled += len(part)

    def close(self) -> None:
        in_order = sorted(self._spans, key=lambda span: span.path)  # decoders that run beside each other have none
        spans = [asdict(span) for span in in_order]
        index = {"sample_rate": self.sample_rate, "digests": self.digests, "copies": self.copies, "spans": spans}
        partial = self.folder / (INDEX_NAME + ".part")
        partial.write_text(json.dumps(index, ensure_ascii=False, indent=0), encoding="utf-8")
        partial.replace(self.folder / INDEX_NAME)


def prepare(
    albums: Mapping[Path, Sequence[Track]],
    *,
    sample_rate: int = 32_000,
    min_s: float = 10.0,
    workers: int,
    seen: set[str] | None = None,
    apart_from: Sequence[Path] = (),
    on_skip: Callable[[Track, str], None] = lambda track, reason: None,
) -> Generator[Track]:
    """Write the tracks of each folder into it as pieces, mono at ``sample_rate`` Hz; gives each once it is dealt with.

    Tracks shorter than ``min_s`` (a game's sound effects), tracks met before (the same audio under another name) and
    files that cannot be decoded are skipped; each is told to ``on_skip``. A folder with an index is left as it is,
    one without is begun again. ``seen`` holds digests of the audio met so far, also in other folders, and grows.
    Tracks that sound for nine seconds as one of the pieces in ``apart_from`` are skipped, too; ``copies`` tells them.
    """
    seen = set() if seen is None else seen
    writers = {folder: PieceWriter(folder, sample_rate) for folder in albums if not (folder / INDEX_NAME).exists()}
    for folder in albums.keys() - writers.keys():
        seen.update(_digests(folder))
        yield from albums[folder]
    home = {track.path: folder for folder in writers for track in albums[folder]}
    known = Prints(_prints(apart_from)) if writers and apart_from else None
    left = Counter(home.values())
    todo = (track for folder in writers for track in albums[folder])
    with closing(decode_whole(todo, sample_rate, workers=workers)) as outcomes:
        for outcome in outcomes:
            folder = home[outcome.track.path]
            if reason := _take(outcome, writers[folder], min_s, seen, known):
                on_skip(outcome.track, reason)
            left[folder] -= 1
            if not left[folder]:
                writers[folder].close()
            yield outcome.track


def _take(
    outcome: Whole | Failed, album: PieceWriter, min_s: float, seen: set[str], known: Prints | None
) -> str | None:
    """Add a track to its album, or say why not."""
    if isinstance(outcome, Failed):
        return outcome.message
    if len(outcome.wave) < min_s * album.sample_rate:
        return f"shorter than {min_s:g} s"
    path = os.path.relpath(outcome.track.path, outcome.track.root)
    if known is not None and (original := known.find(print_of(outcome.wave, album.sample_rate))):
        album.copies[path] = original
        return f"sounds as {original}, which is held out"
    digest = hashlib.blake2b(outcome.wave.tobytes(), digest_size=16).hexdigest()
    if digest in seen:
        return "the same audio as a track before"
    seen.add(digest)
    album.digests.append(digest)
    album.add(path, outcome.wave)
    return None


def copies(folders: Sequence[Path]) -> dict[str, str]:
    """Tracks that ``prepare`` left out as copies, and of which held-out track each is one."""
    return {path: original for folder in folders for path, original in _read_index(folder).get("copies", {}).items()}


class Pieces:
    """Random or fixed crops out of one or several folders of pieces.

    Each track is drawn with a chance in proportion to its length; tracks shorter than the crop are repeated to fill it.
    Tracks whose path ``leave_out`` picks are not there.
    """

    def __init__(self, folders: Path | Sequence[Path], *, leave_out: Callable[[str], bool] = lambda path: False):
        self.folders = [Path(folders)] if isinstance(folders, (str, Path)) else [Path(folder) for folder in folders]
        self.spans: list[Span] = []
        self._maps: list[np.memmap] = []
        rates = set()
        for folder in self.folders:
            index = _read_index(folder)
            rates.add(index["sample_rate"])
            spans = [Span(**span) for span in index["spans"] if not leave_out(span["path"])]
            maps = {name: np.memmap(folder / name, dtype="<i2", mode="r") for name in {span.piece for span in spans}}
            self.spans += spans
            self._maps += [maps[span.piece] for span in spans]
        if not self.spans:
            raise NoAudioError(
                "no usable track to learn from or to hold out: each is broken, too short, or the same as another; "
                "give more music, or other albums with --held-out"
            )
        if len(rates) != 1:
            raise UsageError(f"the folders of pieces differ in sample rate ({sorted(rates)} Hz); prepare them alike")
        self.sample_rate: int = rates.pop()
        lengths = np.array([span.n_samples for span in self.spans], dtype=np.float64)
        self.duration_s = lengths.sum() / self.sample_rate
        self._chance = lengths / lengths.sum()

    def crop(self, span: int, start: int, n_samples: int) -> np.ndarray:
        """(n_samples,) int16 of span number ``span``, from its sample ``start``."""
        where = self.spans[span]
        wave = self._maps[span][where.start + start : where.start + min(where.n_samples, start + n_samples)]
        return np.resize(wave, n_samples)  # repeats what is too short

    def random(self, rng: np.random.Generator, batch_size: int, n_samples: int) -> np.ndarray | Tensor:
        """(batch_size, n_samples) int16: crops at random places of random tracks."""
        places = zip(*self._draw(rng, batch_size, n_samples), strict=True)
        return np.stack([self.crop(span, start, n_samples) for span, start in places])

    def _draw(self, rng: np.random.Generator, batch_size: int, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Spans (batch_size,) and where in them the crops begin."""
        spans = rng.choice(len(self.spans), size=batch_size, p=self._chance)
        room = np.array([max(1, self.spans[span].n_samples - n_samples + 1) for span in spans])
        return spans, (rng.random(batch_size) * room).astype(np.int64)

    def on(self, device: torch.device) -> Pieces:
        """The same crops, cut where they are used: a GPU takes all audio into its memory, a CPU leaves it on disk."""
        return self if device.type == "cpu" else ResidentPieces(self.folders, device)

    def spread(self, n_samples: int, *, per_track: int) -> tuple[np.ndarray, np.ndarray]:
        """Up to ``per_track`` crops of every span, evenly spread, always the same ones.

        Gives the crops (N, n_samples) int16, and the numbers (N,) of their spans.
        """
        crops, spans = [], []
        for number, span in enumerate(self.spans):
            n = min(per_track, max(1, span.n_samples // n_samples))
            starts = np.linspace(0, max(0, span.n_samples - n_samples), n + 2)[1:-1].astype(np.int64)
            crops += [self.crop(number, start, n_samples) for start in starts]
            spans += [number] * n
        return np.stack(crops), np.array(spans)

    def in_a_row(self, n_samples: int, *, overlap: float, per_track: int) -> tuple[np.ndarray, np.ndarray]:
        """The same for up to ``per_track`` neighbouring crops in the middle of every span, as ``tag`` cuts it."""
        crops, spans = [], []
        step = round(n_samples * (1 - overlap))
        for number, span in enumerate(self.spans):
            n = min(per_track, 1 + max(0, span.n_samples - n_samples) // step)
            first = max(0, span.n_samples - n_samples - (n - 1) * step) // 2
            crops += [self.crop(number, first + place * step, n_samples) for place in range(n)]
            spans += [number] * n
        return np.stack(crops), np.array(spans)


class ResidentPieces(Pieces):
    """Pieces whose audio lies in the memory of ``device``; ``random`` gives the same crops, there."""

    def __init__(self, folders: Sequence[Path], device: torch.device):
        super().__init__(folders)
        whole = [
            np.asarray(self._maps[number][span.start : span.start + span.n_samples])
            for number, span in enumerate(self.spans)
        ]
        self._audio = torch.from_numpy(np.concatenate(whole)).to(device)
        lengths = torch.tensor([span.n_samples for span in self.spans], device=device)
        self._lengths, self._starts = lengths, lengths.cumsum(0) - lengths

    def random(self, rng: np.random.Generator, batch_size: int, n_samples: int) -> np.ndarray | Tensor:
        spans, starts = (
            torch.from_numpy(part).to(self._audio.device) for part in self._draw(rng, batch_size, n_samples)
        )
        place = starts[:, None] + torch.arange(n_samples, device=self._audio.device)
        return self._audio[self._starts[spans, None] + place % self._lengths[spans, None]]


def _prints(folders: Sequence[Path]) -> Iterator[tuple[str, Tensor]]:
    pieces = Pieces(folders)
    for number, span in enumerate(pieces.spans):
        wave = pieces.crop(number, 0, span.n_samples).astype(np.float32) / 32767
        yield span.path, print_of(wave, pieces.sample_rate)


def _digests(folder: Path) -> list[str]:
    index = _read_index(folder)
    if "digests" not in index:
        raise UsageError(f"{folder} was prepared by an older version; remove it, and it is prepared again")
    return index["digests"]


def _read_index(folder: Path) -> dict:
    path = folder / INDEX_NAME
    if not path.exists():
        raise UsageError(f"{folder} holds no audio pieces ({INDEX_NAME} is missing); prepare them first")
    return json.loads(path.read_text(encoding="utf-8"))
