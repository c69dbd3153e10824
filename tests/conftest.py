"""Small real audio for tests: written by libsndfile, read by the same decoders that users have."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for ``from fabricate import music`` in any folder

# jsonschema would load it for a format that no schema here names: it compiles a grammar, for seconds.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
# Tests import OpenVINO themselves to see whether it is there; with this beside it, it would call an analytics service
# from a hundred processes for every program that it makes.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

from fault_table import pytest_configure, pytest_runtest_setup, pytest_terminal_summary  # noqa: E402, F401 (hooks)

RATE = 16_000


def write_tone(path: Path, *, seconds: float = 3.0, frequency: float = 440.0, rate: int = RATE) -> Path:
    """A decaying tone with a little noise; the suffix chooses the format."""
    t = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(int(frequency)).normal(size=len(t))
    wave = 0.4 * np.sin(2 * np.pi * frequency * t) * np.exp(-t / 5) + 0.02 * noise
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave.astype(np.float32), rate)
    return path


@pytest.fixture(scope="session")
def tone() -> Callable[..., Path]:
    return write_tone


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine sound tracks of several formats and lengths, one truncated and two that are no audio. Do not write to it."""
    folder = tmp_path_factory.mktemp("music")
    for number, suffix in enumerate(("wav", "flac", "ogg", "wav", "mp3", "flac", "wav", "ogg")):
        write_tone(
            folder / f"album {number % 2}" / f"track {number}.{suffix}", seconds=1 + number, frequency=200 + 50 * number
        )
    write_tone(folder / "long.wav", seconds=23)
    (folder / "empty.mp3").touch()
    (folder / "text.ogg").write_text("this is no audio\n" * 100)
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch computes with one thread: sums do not depend on how many share them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
