"""Two thousand tracks in a row: memory is what it was after the first few hundred."""

from __future__ import annotations

import itertools
import os
import random
from pathlib import Path

import numpy as np
import psutil
import pytest

from audiopatch.audio.inputs import Inputs
from audiopatch.events import TrackDone
from audiopatch.inference.pipeline import run_to_folder
from audiopatch.inference.settings import Analysis, Runtime
from decode_workers import held_by_decode_workers_bytes
from fabricate import encode, music
from soundness import assert_counted, assert_sound

FORMATS = ("wav", "flac", "mp3", "ogg", "opus", "m4a")
N_TRACKS = int(os.environ.get("AUDIOPATCH_SOAK_TRACKS", "2000"))
_MODEL = os.environ.get("AUDIOPATCH_MODEL", "tiny-random")
_MAY_GROW_MB = 16


class _Scales:
    """MB of this process and of its decoders together, by the number of finished tracks."""

    def __init__(self):
        self.main_mb: list[float] = []
        self.decoders_mb: list[float] = []

    def __call__(self, event):
        if not isinstance(event, TrackDone):
            return
        if (event.counts.n_ok + event.counts.n_failed) % max(1, N_TRACKS // 200) == 0:
            self.main_mb.append(psutil.Process().memory_info().rss / 2**20)
            self.decoders_mb.append(held_by_decode_workers_bytes() / 2**20)


def _library(folder: Path) -> None:
    """Short tracks of every length and format, one in fifty cut off in the middle."""
    chance = random.Random(0)
    folder.mkdir()
    for number, form in zip(range(N_TRACKS), itertools.cycle(FORMATS), strict=False):
        path = folder / f"{number:05d}.{form}"
        encode(path, music(chance.uniform(0.5, 3.0), n_channels=1, seed=number))
        if number % 50 == 49:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _growth_mb(samples: list[float]) -> float:
    """From the second quarter of the run to the last, by medians."""
    quarter = len(samples) // 4
    return float(np.median(samples[-quarter:]) - np.median(samples[quarter : 2 * quarter]))


@pytest.mark.slow
@pytest.mark.fault("two thousand tracks in a row")
def test_memory_is_flat(tmp_path, record_property):
    """``AUDIOPATCH_SOAK_TRACKS`` is another number of them."""
    _library(tmp_path / "music")
    scales = _Scales()
    runtime = Runtime(threads=1, workers=2, commit_every_s=1.0)
    analysis = Analysis(model=_MODEL, embeddings=True, timeline=True)
    counts = run_to_folder(
        Inputs([str(tmp_path / "music")]), tmp_path / "out", analysis, runtime, observer=scales
    ).counts
    assert_counted(counts, N_TRACKS)
    assert_sound(tmp_path / "out", (tmp_path / "music").iterdir())
    main, decoders = _growth_mb(scales.main_mb), _growth_mb(scales.decoders_mb)
    record_property(
        "note",
        f"{N_TRACKS} tracks, {_MODEL}: main process {scales.main_mb[len(scales.main_mb) // 4]:.0f} MiB, {main:+.1f} "
        f"to the end; two decoders {scales.decoders_mb[len(scales.main_mb) // 4]:.0f} MiB, {decoders:+.1f}",
    )
    assert main < _MAY_GROW_MB and decoders < _MAY_GROW_MB, (scales.main_mb, scales.decoders_mb)
