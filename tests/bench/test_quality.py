"""How much of the full model's answer is kept."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from audiopatch.bench.contender import Case
from audiopatch.bench.quality import Unreduced, agreement, log_odds, relative_error
from audiopatch.inference.extract import find_plan
from audiopatch.types import Segment, Track
from audiopatch.zoo import load_model


def test_tags_kept_by_hand():
    reference = torch.arange(50.0).repeat(2, 1)  # ten best: 40..49
    outputs = reference.clone()
    outputs[0, 45:] = -1.0  # five of them fall out in one of two segments
    assert agreement(reference * 3 + 1, reference, scores=True) == 1.0
    assert agreement(outputs, reference, scores=True) == pytest.approx((0.5 + 1.0) / 2)


def test_few_labels_compare_a_fifth_of_them():
    reference = torch.arange(10.0)[None]  # two best: 8, 9
    outputs = reference.clone()
    outputs[0, 9] = -1.0
    assert agreement(outputs, reference, scores=True) == 0.5


def test_embeddings_compare_by_angle():
    reference = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    outputs = torch.tensor([[3.0, 0.0], [1.0, 0.0]])
    assert agreement(outputs, reference, scores=False) == pytest.approx(0.5)
    assert relative_error(reference * 1.1, reference) == pytest.approx(0.1)


def test_log_odds_are_logits_and_stay_finite():
    logits = torch.linspace(-15, 10, 60)
    assert relative_error(log_odds(logits.sigmoid()), logits) < 1e-4
    assert log_odds(torch.tensor([0.0, 1.0])).abs() == pytest.approx(16, abs=0.2)


@pytest.mark.parametrize("block", [None, 1])
def test_the_error_is_that_of_what_the_extraction_gives(block):
    tagger = load_model("tiny-random", device="cpu", dtype="float32")
    n_samples = round(tagger.card.segment_s * tagger.frontend.sample_rate)
    waves = np.random.default_rng(0).normal(0, 0.1, (2, n_samples)).astype(np.float32)
    segments = [Segment(Track("a", "/", "0", 1, 1), index, 0.0, 10.0, wave) for index, wave in enumerate(waves)]

    def outputs(patchout: str) -> torch.Tensor:
        mel, plan = tagger.frontend(torch.from_numpy(waves)), find_plan(tagger, patchout)
        return tagger(mel, plan).logits if block is None else tagger.stacks(mel, (block,), plan)[block].flatten(1)

    def contender(patchout: str) -> SimpleNamespace:
        return SimpleNamespace(case=Case("tiny-random", patchout, dtype="float32", block=block), tagger=tagger)

    judge = Unreduced({"tiny-random": segments}, "cpu")
    with torch.inference_mode():
        reduced, full = outputs("F4T10"), outputs("F0T0")
    assert relative_error(reduced, full) > 1e-3
    assert judge.error(contender("F4T10")) == pytest.approx(relative_error(reduced, full), rel=1e-3)
    kept = agreement(reduced, full, scores=block is None)
    assert judge.quality(contender("F4T10")).value == pytest.approx(kept, abs=1e-6)
    assert judge.quality(contender("F0T0")).value == pytest.approx(1) and judge.error(contender("F0T0")) < 1e-6
