"""Whole tracks: every sample once, whoever decodes, and a bad file in its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiopatch.audio.walk import walk
from audiopatch.audio.whole import Whole, decode_whole
from audiopatch.types import Failed


@pytest.mark.parametrize("workers", [0, 2])
def test_tracks_come_back_whole_and_in_order(tmp_path, workers):
    rng = np.random.default_rng(0)
    waves = {f"{name}.wav": rng.uniform(-0.5, 0.5, n).astype(np.float32) for name, n in (("a", 584_123), ("b", 9_000))}
    for name, wave in waves.items():  # the longer one is two runs of the decoder, and a rest
        soundfile.write(tmp_path / name, wave, 8000, subtype="FLOAT")
    (tmp_path / "broken.wav").write_bytes(b"no audio at all")
    outcomes = {Path(each.track.path).name: each for each in decode_whole(walk([tmp_path]), 8000, workers=workers)}
    assert outcomes.keys() == {*waves, "broken.wav"}
    assert isinstance(outcomes.pop("broken.wav"), Failed)
    for name, whole in outcomes.items():
        assert isinstance(whole, Whole) and np.array_equal(whole.wave, waves[name])
