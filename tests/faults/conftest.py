"""Some music to ruin, and a run in this process with decoders in theirs."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from audiopatch.audio.inputs import Inputs
from audiopatch.events import silent
from audiopatch.inference.pipeline import RunResult, run_to_folder
from audiopatch.inference.settings import Analysis, Runtime

N_TRACKS = 16


@pytest.fixture
def music(tone, tmp_path) -> Path:
    """Sixteen short tracks; a test may do to them what it likes."""
    chance = random.Random(0)
    for number in range(N_TRACKS):
        tone(tmp_path / "music" / f"{number:02d}.flac", seconds=chance.uniform(1, 4), frequency=100 + number)
    return tmp_path / "music"


@pytest.fixture
def run() -> Callable[..., RunResult]:
    """run(music, output, observer=..., model=..., anything of Runtime) with a commit every other track."""

    def go(music: Path, output: Path, *, observer=silent, model: str = "tiny-random", **how) -> RunResult:
        how = {"threads": 1, "workers": 1, "batch": 4, "commit_every_n": 2, "commit_every_s": 0.1, **how}
        analysis = Analysis(model=model, embeddings=True, timeline=True, vectors="float32")
        return run_to_folder(Inputs([str(music)]), output, analysis, Runtime(**how), observer=observer)

    return go
