"""A music library made ready for distillation: albums to learn from, albums held out, the audio of both as pieces."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from audiopatch.distill.pieces import BYTES_PER_SAMPLE, Pieces, copies, prepare
from audiopatch.errors import UsageError
from audiopatch.types import Track

HELD_OUT_SHARE = 10  # one album of so many


@dataclass(frozen=True)
class Library:
    """Tracks by album folder (relative to the library): those to learn from, and those only ever measured on."""

    train: dict[str, list[Track]]
    held: dict[str, list[Track]]

    @classmethod
    def of(cls, tracks: Iterable[Track], held_out: Sequence[str] = ()) -> Library:
        """``held_out`` are folders, by the end of their path; without any, one album of ten, by a hash of its name.

        Whole albums, since tracks of one album are too alike to tell what was learnt from what was remembered; of a
        library without sub-folders, single tracks. A UsageError where nothing would be left on either side.
        """
        albums = _by_album(list(tracks))
        chosen = [name for name in albums if _inside(name, held_out)] if held_out else _some(albums)
        if not chosen or len(chosen) == len(albums):
            raise UsageError("nothing to hold out, or nothing to learn from: give a library of at least two tracks")
        held = {name: albums.pop(name) for name in chosen}
        return cls(albums, held)

    @property
    def tracks(self) -> list[Track]:
        return [track for part in (self.held, self.train) for album in part.values() for track in album]

    def prepare(
        self,
        folder: Path,
        sample_rate: int,
        *,
        workers: int,
        on_skip: Callable[[Track, str], None],
        report: Callable[[int, int], None],
        stop: Callable[[], bool],
    ) -> bool:
        """Decode everything into pieces in ``folder``; False where ``stop`` came first.

        Albums that are there already are not decoded again. Held-out albums come first, so that what sounds as they do
        among the others is left out, whatever its codec, level or sample rate.
        """
        seen: set[str] = set()
        done = count(1)
        held, train = self._places(folder)
        for albums, apart_from in ((held, []), (train, list(held))):
            options = {"sample_rate": sample_rate, "workers": workers, "seen": seen, "apart_from": apart_from}
            with closing(prepare(albums, **options, on_skip=on_skip)) as tracks:
                for _ in tracks:
                    report(next(done), len(self.tracks))
                    if stop():
                        return False
        return True

    def pieces(self, folder: Path) -> tuple[Pieces, Pieces]:
        """What ``prepare`` left in ``folder``: held out, to learn from."""
        held, train = (Pieces(list(albums)) for albums in self._places(folder))
        return held, train

    def copies(self, folder: Path) -> dict[str, str]:
        """The tracks that ``prepare`` left out as they sound in held-out music, too, and in which track."""
        return copies(list(self._places(folder)[1]))

    def _places(self, folder: Path) -> tuple[dict[Path, list[Track]], dict[Path, list[Track]]]:
        """Held out, to learn from: the tracks of each album by the folder of its pieces."""

        def place(kind: str, name: str) -> Path:
            return folder / kind / hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()

        held = {place("held", name): tracks for name, tracks in self.held.items()}
        return held, {place("train", name): tracks for name, tracks in self.train.items()}


def piece_bytes(audio_s: float, sample_rate: int) -> int:
    """What the pieces of so much audio take on a disk."""
    return round(audio_s * sample_rate) * BYTES_PER_SAMPLE


def _by_album(tracks: Sequence[Track]) -> dict[str, list[Track]]:
    albums: dict[str, list[Track]] = defaultdict(list)
    for track in tracks:
        albums[str(Path(_name(track)).parent)].append(track)
    return dict(albums) if len(albums) > 1 else {_name(track): [track] for track in tracks}


def _some(albums: Iterable[str]) -> list[str]:
    by_chance = sorted(albums, key=lambda name: hashlib.blake2b(os.fsencode(name)).digest())
    return by_chance[: max(1, len(by_chance) // HELD_OUT_SHARE)]


def _inside(album: str, folders: Sequence[str]) -> bool:
    parts = Path(album).parts
    return any(folder in parts or album == folder.rstrip("/") for folder in folders)


def _name(track: Track) -> str:
    return os.path.relpath(track.path, track.root)
