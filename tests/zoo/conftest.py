"""Small state dicts in every published format, and the recorded waveforms."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

import published

GOLDEN = Path(__file__).parents[1] / "golden"


def golden_wave(name: str) -> Tensor:
    """A recorded waveform, (1, S) float32 in [-1, 1]."""
    samples, _ = soundfile.read(GOLDEN / name, dtype="int16")
    return torch.from_numpy(samples.astype(np.float32) / 32768)[None]


def assert_parity(found: Tensor, recorded: np.ndarray) -> None:
    """The tolerance of the recorded outputs: 2e-4 absolute, 5e-5 relative L2."""
    got = found.numpy()
    assert got.shape == recorded.shape
    assert np.abs(got - recorded).max() <= 2e-4
    assert np.linalg.norm(got - recorded) <= 5e-5 * np.linalg.norm(recorded)


@pytest.fixture(scope="session")
def states() -> SimpleNamespace:
    """The builders of ``published``."""
    return SimpleNamespace(
        passt=published.passt_state,
        ast=published.ast_state,
        audiomae=published.audiomae_state,
        hub=published.hub_state,
        ced=published.ced_state,
        eat=published.eat_state,
        musicnn=published.musicnn_state,
        vgg=published.vgg_state,
        efficientat=published.efficientat_state,
    )


@pytest.fixture(scope="session")
def golden() -> SimpleNamespace:
    """``wave`` reads a recorded waveform, ``arrays`` recorded outputs; ``folder`` is where they lie."""
    return SimpleNamespace(wave=golden_wave, arrays=lambda name: np.load(GOLDEN / name), folder=GOLDEN)


@pytest.fixture(scope="session")
def parity() -> Callable[[Tensor, np.ndarray], None]:
    return assert_parity


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """save(content, name) -> the path of a torch file."""

    def write(content: object, name: str = "weights.pt") -> Path:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write
