"""A labelled dataset as the quality axis."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from audiopatch.bench.contender import Case, from_tagger
from audiopatch.bench.quality import Labelled
from audiopatch.errors import UsageError
from audiopatch.models.config import HeadConfig
from audiopatch.models.tagger import Tagger
from audiopatch.types import Segment, Track
from audiopatch.zoo import find_card, load_model

pytest.importorskip("sklearn")
MINI = Path(__file__).parents[1] / "mini" / "folder"


@pytest.fixture
def labelled(tmp_path, monkeypatch) -> Labelled:
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path))
    return Labelled("folder", MINI)


def contender(tagger: Tagger, **case):
    n_samples = round(tagger.card.segment_s * tagger.frontend.sample_rate)
    wave = torch.randn(n_samples, generator=torch.Generator().manual_seed(0)).numpy() * 0.1
    return from_tagger(Case("tiny", **case), tagger, [Segment(Track("a", "/", "0", 1, 1), 0, 0.0, 10.0, wave)])


@torch.inference_mode()
def test_one_who_always_says_jazz_is_right_about_jazz(labelled):
    card = replace(find_card("tiny-random"), head=HeadConfig(n_classes=2), labels="classes-2", multilabel=False)
    tagger = Tagger(card, labelled.dataset.labels).eval().requires_grad_(False)
    tagger.head[1].bias.copy_(torch.tensor([100.0, -100.0]))
    truth = [item.labels == (labelled.dataset.labels[0],) for item in labelled.dataset.items("test")]
    quality = labelled.quality(contender(tagger))
    assert quality == (pytest.approx(sum(truth) / len(truth)), "folder accuracy")


@pytest.mark.parametrize("block", [None, 1])
def test_embeddings_and_models_with_other_labels_are_judged_by_a_probe(labelled, block):
    tagger = load_model("tiny-random", device="cpu")
    quality = labelled.quality(contender(tagger, patchout="F3T2", block=block))
    assert quality.name == "folder accuracy of a probe" and 0 <= quality.value <= 1
    assert quality == labelled.quality(contender(tagger, patchout="F3T2", block=block))


def test_a_missing_dataset_says_what_was_expected(tmp_path):
    with pytest.raises(UsageError, match=r"ESC-10: expected meta/esc50.csv or meta.csv in"):
        Labelled("esc10", tmp_path)
    with pytest.raises(UsageError, match="did you mean 'gtzan'"):
        Labelled("gtzann", tmp_path)
