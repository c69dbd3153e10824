"""The audio of a dataset, decoded once: mono 16-bit samples at the model's rate in one memory-mapped file.

Training visits every clip many times; decoding it each time would cost more than the model. Log-mels are made from
these samples at every visit: that takes 0.6 % of a training step of the default model on a CPU and 0.1 % of PaSST's, so
a cache of mels would save nothing but disk (float16 mels of MAEST are 43 MB an hour, these samples 115 at 16 kHz), need
one copy per front-end, and end gain, roll and mixup of waveforms.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from audiopatch.audio.pool import decode_whole
from audiopatch.datasets.recipe import Dataset, Item, LeftOut
from audiopatch.errors import NoAudioError
from audiopatch.types import Failed, Track

OnProgress = Callable[[int, int], None]  # clips done, clips in all
_SAMPLES, _INDEX = "samples.i16", "index.json"


def quiet(done: int, total: int) -> None:
    """A report for nobody."""


@dataclass(frozen=True)
class Waves:
    """Decoded clips by path; ``failed`` says why a clip has none. Cheap to copy to another process."""

    folder: Path
    sample_rate: int
    spans: dict[str, tuple[int, int]]
    failed: dict[str, str]

    def __contains__(self, path: Path) -> bool:
        return str(path) in self.spans

    def n_samples(self, path: Path) -> int:
        return self.spans[str(path)][1]

    def read(self, path: Path, start: int = 0, n_samples: int | None = None) -> np.ndarray:
        """(S,) float32 in [-1, 1] from sample ``start`` of a clip; at most ``n_samples``, fewer at its end."""
        first, length = self.spans[str(path)]
        length = max(0, length - start) if n_samples is None else max(0, min(n_samples, length - start))
        count = np.dtype(np.int16).itemsize
        raw = np.fromfile(self.folder / _SAMPLES, np.int16, length, offset=(first + start) * count)
        return raw.astype(np.float32) / 32768

    def clips(self, items: Sequence[Item], report: OnProgress = quiet) -> Iterator[np.ndarray]:
        """Whole waveforms (S,) in the order of ``items``; ``report`` hears of each that has been asked for."""
        for number, item in enumerate(items):
            report(number, len(items))
            yield self.read(item.path)
        report(len(items), len(items))


def decode_waves(
    paths: Iterable[Path],
    sample_rate: int,
    cache: Path,
    *,
    workers: int = 0,
    report: OnProgress = quiet,
) -> Waves:
    """Decode all clips, or find them decoded in ``cache`` (keyed by rate, paths, sizes and times of change).

    ``report`` is called with clips done and clips in all. No readable clip at all is a NoAudioError.
    """
    tracks = [_track(path) for path in sorted(set(paths))]
    folder = cache / "waves" / _key(tracks, sample_rate)
    if not (folder / _INDEX).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(mkdtemp(dir=folder.parent, prefix="unfinished-"))
        try:
            _write(unfinished, tracks, sample_rate, workers, report)
            if not (folder / _INDEX).is_file():  # another process may have been faster
                unfinished.replace(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    spans = {path: (first, length) for path, (first, length) in index["spans"].items()}
    if not spans:
        reason = next(iter(index["failed"].values()), "there are none")
        raise NoAudioError(f"none of {len(tracks)} clips could be decoded; the first one because: {reason}")
    return Waves(folder, sample_rate, spans, index["failed"])


def with_audio(dataset: Dataset, waves: Waves) -> Dataset:
    """The dataset without the clips that could not be decoded, which are listed as left out."""
    splits, gaps = {}, list(dataset.left_out)
    for split, items in dataset.splits.items():
        splits[split] = tuple(item for item in items if item.path in waves)
        gaps += [LeftOut(item.path, split, waves.failed[str(item.path)]) for item in items if item.path not in waves]
    return replace(dataset, splits=splits, left_out=tuple(gaps))


def _track(path: Path) -> Track:
    about = path.stat()
    return Track(
        str(path),
        str(path.parent),
        hashlib.blake2b(os.fsencode(path), digest_size=8).hexdigest(),
        about.st_size,
        about.st_mtime_ns,
    )


def _key(tracks: Iterable[Track], sample_rate: int) -> str:
    digest = hashlib.blake2b(str(sample_rate).encode(), digest_size=16)
    for track in tracks:
        digest.update(os.fsencode(track.path) + f"|{track.size_bytes}|{track.mtime_ns}\n".encode())
    return digest.hexdigest()


def _write(folder: Path, tracks: list[Track], sample_rate: int, workers: int, report: OnProgress) -> None:
    """Each track's samples in one run; tracks lie in the order they ended."""
    spans: dict[str, tuple[int, int]] = {}
    failed: dict[str, str] = {}
    written = 0
    with (folder / _SAMPLES).open("wb") as file:
        for outcome in decode_whole(tracks, sample_rate, workers=workers):
            if isinstance(outcome, Failed):
                failed[outcome.track.path] = f"{outcome.code}: {outcome.message}"
            else:
                np.round(outcome.wave * 32768).clip(-32768, 32767).astype(np.int16).tofile(file)
                spans[outcome.track.path] = (written, len(outcome.wave))
                written += len(outcome.wave)
            report(len(spans) + len(failed), len(tracks))
    text = json.dumps({"spans": spans, "failed": failed})
    (folder / _INDEX).write_text(text, encoding="utf-8")
