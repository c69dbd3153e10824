"""EfficientAT: published names in and out, and numbers that do not drift."""

import math

import pytest
import torch

from audiopatch.errors import WeightsError
from audiopatch.models.cost import cost_of
from audiopatch.models.tagger import Tagger
from audiopatch.zoo import CARDS, load_model
from audiopatch.zoo.efficientat import efficientat_card
from audiopatch.zoo.labels import load_labels


def fill(tagger: Tagger) -> Tagger:
    """Weights from a formula, so that no random generator's history matters."""
    for number, value in enumerate(tagger.state_dict().values()):
        if value.is_floating_point():
            wiggle = torch.sin(torch.arange(value.numel(), dtype=torch.float64) * 0.7 + number).reshape(value.shape)
            spread = 1.4 / math.sqrt(value[0].numel()) if value.ndim > 1 else 0.1
            value.copy_(wiggle * spread + (value.ndim == 1) * 0.5)
    return tagger.eval()


@pytest.mark.parametrize(("width", "dynamic"), [(0.1, False), (0.4, False), (0.1, True)])
def test_published_names_go_in_and_width_is_read_off_them(states, save, width: float, dynamic: bool):
    card = efficientat_card("mn", width=width, n_classes=527, dynamic=dynamic)
    tagger = Tagger(card, load_labels("audioset")).eval()
    again = load_model(save(states.efficientat(tagger), "mn.pt"), device="cpu")
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


@pytest.mark.parametrize(
    ("name", "n_params", "macs"),
    [
        ("mn10_as", 4.88e6, 0.54e9),
        pytest.param("mn20_as", 17.91e6, 2.06e9, marks=pytest.mark.slow),
        ("mn40_as", 68.43e6, 8.03e9),
        ("dymn04_as", 1.97e6, 0.12e9),
        pytest.param("dymn10_as", 10.57e6, 0.58e9, marks=pytest.mark.slow),
        pytest.param("dymn20_as", 40.02e6, 2.2e9, marks=pytest.mark.slow),
    ],
)
def test_sizes_are_those_of_the_readme(name: str, n_params: float, macs: float):
    cost = cost_of(CARDS[name])
    assert cost.n_params == pytest.approx(n_params, rel=0.005)
    assert cost.macs == pytest.approx(macs, rel=0.03)


def test_a_dymn_gives_the_numbers_of_the_authors_code():
    """Recorded from fschmid56/EfficientAT's models/dymn on the same weights; one clip's context is its own."""
    tagger = fill(Tagger(efficientat_card("dymn", width=0.1, n_classes=8, dynamic=True), load_labels("classes-8")))
    mel = torch.sin(torch.arange(128 * 300, dtype=torch.float64) * 0.013).reshape(1, 128, 300).float()
    with torch.inference_mode():
        prediction = tagger(torch.cat([mel, mel.flip(2) * 3]))
    recorded = [0.949975, 0.162382, 0.228162, 0.913112, 0.645740, -0.083613, 0.270349, 1.021314]
    torch.testing.assert_close(prediction.logits[:1], torch.tensor([recorded]), atol=2e-5, rtol=0)
    assert float(prediction.features[0].norm()) == pytest.approx(1.207508, abs=1e-4)


def test_another_dynamic_relu_is_refused(states, save):
    card = efficientat_card("dymn", width=0.1, n_classes=8, dynamic=True)
    state = states.efficientat(Tagger(card, load_labels("classes-8")))
    state["layers.0.depth_act.lambdas"] = torch.ones(4)
    with pytest.raises(WeightsError, match=r"layers\.0\.depth_act\.lambdas' is not"):
        load_model(save(state, "dymn.pt"), device="cpu")


@pytest.mark.parametrize(
    ("name", "shape"),
    [("mn10_as_hop_15", (128, 667)), ("mn10_as_mels_40", (40, 1000)), ("mn10_as_mels_256", (256, 1000))],
)
def test_other_mels_are_told_by_the_files_name(states, save, name: str, shape: tuple[int, int]):
    tagger = Tagger(efficientat_card(name, width=0.1, n_classes=8), load_labels("classes-8"))
    again = load_model(save(states.efficientat(tagger), f"{name}_mAP_463.pt"), device="cpu")
    mel = again.frontend(torch.zeros(1, 320_000))
    assert mel.shape[1:] == shape and again(mel).logits.shape == (1, 8)
    assert again.card.frontend == CARDS[name].frontend
