"""A music library made ready for distillation: albums to learn from, albums held out, the audio of both as pieces."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiopatch.errors import UsageError
from audiopatch.training.pieces import BYTES_PER_SAMPLE, Pieces, prepare
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
        on_skip: Callable[[Track, str], None],
        report: Callable[[int, int], None],
    ) -> tuple[Pieces, Pieces]:
        """The pieces (to learn from, held out) in ``folder``; albums that are there already are not decoded again.

        Held-out albums first, so that the same audio among the others is left out.
        """
        seen: set[str] = set()
        done, places = 0, {"held": [], "train": []}
        for kind, albums in (("held", self.held), ("train", self.train)):
            for name, tracks in albums.items():
                place = folder / kind / hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()
                places[kind].append(prepare(tracks, place, sample_rate=sample_rate, seen=seen, on_skip=on_skip))
                done += len(tracks)
                report(done, len(self.tracks))
        return Pieces(places["train"]), Pieces(places["held"])


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
