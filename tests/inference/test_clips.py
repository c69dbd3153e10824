"""One engine: audio at hand, a labelled clip and a file of the same samples get the same scores, or the same words."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import audiopatch
from audiopatch.datasets.recipe import Dataset, Item
from audiopatch.datasets.waves import decode_waves
from audiopatch.errors import UsageError
from audiopatch.evaluation.evaluate import Evaluation, compare, evaluate
from audiopatch.inference.clips import clip_rows
from audiopatch.inference.settings import Analysis
from audiopatch.reducers.plan import parse_plan
from audiopatch.types import TrackRow
from audiopatch.zoo import load_model

RATE = 16_000  # of tiny-random, whose segments are of ten seconds
SECONDS = (3.0, 10.0, 15.0, 0.01)  # shorter than a segment, exactly one, one and a half; too short


@pytest.fixture(scope="module")
def tagger():
    return load_model("tiny-random", device="cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    """16-bit samples at the model's rate, so that nothing is lost between a file and the clips of a dataset."""
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    paths = [folder / f"{number}.wav" for number in range(len(SECONDS))]
    for path, seconds in zip(paths, SECONDS, strict=True):
        soundfile.write(path, rng.uniform(-0.4, 0.4, int(seconds * RATE)), RATE, subtype="PCM_16")
    return paths


def _evaluated(tagger, paths, tmp_path, **how) -> Evaluation:
    items = tuple(Item(path, (tagger.labels[number],)) for number, path in enumerate(paths))
    dataset = Dataset("clips", tagger.labels, True, ("map_macro",), {"test": items})
    return evaluate(tagger, dataset, decode_waves(paths, RATE, tmp_path / "cache"), **how)


@pytest.mark.parametrize("patchout", [None, "F3T2", "random:0.5"])
@pytest.mark.parametrize("batch", [1, 4])
def test_tag_and_evaluate_agree_on_the_same_clips(tagger, clips, tmp_path, patchout, batch):
    how = {"patchout": patchout, "dense": True, "top": 0, "threads": 1, "workers": 0}
    tables = audiopatch.tag([os.fspath(path) for path in clips], tmp_path / "out", model="tiny-random", **how)
    found = _evaluated(tagger, clips, tmp_path, plan=parse_plan(patchout), batch_size=batch)
    assert len(found.items) == 3
    for item, scores in zip(found.items, found.scores, strict=True):
        said = tables.tags[tables.tags.path == str(item.path)].set_index("label").score
        np.testing.assert_allclose(scores, said[list(tagger.labels)], atol=1e-6, rtol=0)
    (error,) = tables.errors.itertuples()  # too short for one, too short for the other, said alike
    (gap,) = found.left_out
    assert (str(gap.path), gap.reason) == (error.path, f"{error.code}: {error.message}")
    assert error.code == "E_TOO_SHORT"


def test_a_waveform_gets_what_its_file_gets(tagger, clips, tmp_path):
    how = {"model": "tiny-random", "threads": 1, "workers": 0, "vectors": "float32", "patchout": "random:0.5"}
    stereo = tmp_path / "stereo.wav"  # another rate, another shape
    sound = np.random.default_rng(1).uniform(-0.4, 0.4, (44_100 * 12, 2)).astype(np.float32)
    soundfile.write(stereo, sound, 44_100, subtype="FLOAT")
    mono, rate = soundfile.read(clips[2], dtype="float32")
    for path, wave, sample_rate in ((clips[2], mono, rate), (stereo, sound, 44_100), (stereo, sound.T, 44_100)):
        out = tmp_path / f"{path.stem}-{wave.ndim}"
        tags = audiopatch.tag(path, out / "tags", top=0, pool="max", **how).tags.set_index("label").score
        scores = tagger.tag(wave, sample_rate, patchout="random:0.5", pool="max")
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
        np.testing.assert_allclose(tags[list(scores)], list(scores.values()), atol=1e-6, rtol=0)
        for block in (None, 2):
            (vector,) = audiopatch.embed(path, out / f"e{block}", block=block, **how).embeddings.embedding
            found = tagger.embed(wave, sample_rate, block=block, patchout="random:0.5")
            np.testing.assert_allclose(vector, found, atol=1e-5, rtol=1e-5)


def test_what_is_no_waveform_is_said(tagger):
    for wave, rate, words in (
        (np.zeros(100, np.float32), RATE, "6 ms of audio; the model needs"),
        (np.zeros((2, 3, 4), np.float32), RATE, "`wave` is of shape"),
        (np.zeros(RATE, np.int16), RATE, "int16"),
        (np.zeros(RATE, np.float32), 0, "`sample_rate`"),
    ):
        with pytest.raises(UsageError, match=words):
            tagger.tag(wave, rate)
    with pytest.raises(UsageError, match="block 9 does not exist"):
        tagger.embed(np.zeros(RATE, np.float32), RATE, block=9)


def test_out_of_memory_halves_the_batch_of_clips_too(tagger, monkeypatch):
    rng = np.random.default_rng(0)
    waves = [rng.uniform(-0.4, 0.4, RATE * 10).astype(np.float32) for _ in range(6)]
    whole = clip_rows(tagger, waves, Analysis(model="tiny-random"), batch_size=1).scores
    real = type(tagger).forward

    def small(self, mel, *args, **kwargs):
        if len(mel) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, mel, *args, **kwargs)

    monkeypatch.setattr(type(tagger), "forward", small)
    found = clip_rows(tagger, waves, Analysis(model="tiny-random"), batch_size=6)
    assert all(isinstance(row, TrackRow) for row in found.rows)
    np.testing.assert_allclose(found.scores, whole, atol=1e-5)


def test_models_are_compared_on_the_clips_that_both_can_score(tagger, clips, tmp_path):
    both = _evaluated(tagger, clips, tmp_path)
    fewer = replace(both.only([item.path for item in both.items[:2]]))
    difference = compare(both, fewer, n_resamples=20)
    assert all(found.value == pytest.approx(0, abs=1e-9) for found in difference.values() if found.value == found.value)
