"""EfficientAT: published names in and out, and numbers that do not drift."""

import math

import pytest
import torch

from audiopatch.models.tagger import Tagger
from audiopatch.zoo import CARDS, load_model
from audiopatch.zoo.efficientat import efficientat_card
from audiopatch.zoo.labels import load_labels


def published_state(tagger: Tagger) -> dict[str, torch.Tensor]:
    """The tensors of a Tagger under EfficientAT's names."""
    heads = {"head.0.": "classifier.2.", "head.3.": "classifier.5.", "backbone.": ""}
    state = {}
    for key, value in tagger.state_dict().items():
        old = next(old for old in heads if key.startswith(old))
        state[heads[old] + key.removeprefix(old)] = value
    return state


def fill(tagger: Tagger) -> Tagger:
    """Weights from a formula, so that no random generator's history matters."""
    for number, value in enumerate(tagger.state_dict().values()):
        if value.is_floating_point():
            wiggle = torch.sin(torch.arange(value.numel(), dtype=torch.float64) * 0.7 + number).reshape(value.shape)
            spread = 1.4 / math.sqrt(value[0].numel()) if value.ndim > 1 else 0.1
            value.copy_(wiggle * spread + (value.ndim == 1) * 0.5)
    return tagger.eval()


@pytest.mark.parametrize("width", [0.1, 0.4])
def test_published_names_go_in_and_width_is_read_off_them(save, width: float):
    tagger = Tagger(efficientat_card("mn", width=width, n_classes=527), load_labels("audioset")).eval()
    again = load_model(save(published_state(tagger), "mn.pt"), device="cpu")
    assert again.card.backbone == tagger.card.backbone and again.card.head == tagger.card.head
    mel = torch.randn(1, 128, 64)
    assert torch.equal(again(mel).logits, tagger(mel).logits)


def test_the_zoo_knows_the_size_of_its_mn04():
    tagger = Tagger(CARDS["mn04_as"], load_labels("audioset"))
    assert sum(parameter.numel() for parameter in tagger.parameters()) == 983_599  # "0.983 M" in the README


def test_the_forward_pass_does_not_drift():
    tagger = fill(Tagger(efficientat_card("mn", width=0.1, n_classes=8), load_labels("classes-8")))
    mel = torch.sin(torch.arange(128 * 300, dtype=torch.float64) * 0.013).reshape(1, 128, 300).float()
    with torch.inference_mode():
        prediction = tagger(mel)
    recorded = [0.674504, -0.135280, 0.241773, 1.037690, 0.654263, 0.020501, 0.561671, 1.129022]
    torch.testing.assert_close(prediction.logits, torch.tensor([recorded]), atol=1e-4, rtol=0)
    assert prediction.features.shape == (1, 96)
