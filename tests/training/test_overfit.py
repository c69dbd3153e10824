"""Eight clips are learned by heart, by every architecture under every reduction."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from audiopatch.models.card import ModelCard
from audiopatch.models.config import (
    BackboneConfig,
    FrontendConfig,
    HamConfig,
    HeadConfig,
    MobileNetConfig,
    TransformerConfig,
)
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import parse_plan
from audiopatch.training.initialise import _random_start

COMMON = {"n_mels": 96, "grid": (6, 6), "dim": 64, "depth": 2, "patch_stride": (16, 16)}
HAM = TransformerConfig(**COMMON, positions="full")
ARCHITECTURES: dict[str, BackboneConfig] = {
    "maest": TransformerConfig(**COMMON),
    "ast": TransformerConfig(**COMMON, positions="full"),
    "audiomae": TransformerConfig(**COMMON, positions="full", prefix=1, pool="patch", final_norm=False),
    "both": TransformerConfig(**COMMON, pool="both"),
    "separated": TransformerConfig(**COMMON, pool="stack", stack=("cls", "dist")),
    "ham": HamConfig(**{e.name: getattr(HAM, e.name) for e in fields(HAM)} | {"kind": "ham"}, n_conformers=1),
}
REDUCTIONS = (
    *("none", "F1T2", "structured:F1T2", "random:0.5", "adaptive:F2T2@1,2", "tome:8@1"),
    *(f"topk:0.6/{score}@1" for score in ("cls", "token", "intensity", "variation")),
)
RAGGED = ("random", "topk", "tome")
PAIRS = [(a, r) for a in ARCHITECTURES for r in REDUCTIONS if not (a == "ham" and r.startswith(RAGGED))]
OTHER_SCORES = {f"topk:0.6/{score}@1" for score in ("token", "intensity", "variation")}
QUICK = {("maest", r) for r in REDUCTIONS if r not in OTHER_SCORES} | {(a, "structured:F1T2") for a in ARCHITECTURES}


LEARNT = 0.05


def loss_after(config, head, plan, n_steps):
    """Of the last of ``n_steps``, or of the first that is as small as is wanted."""
    torch.manual_seed(0)
    card = ModelCard("t", "t", FrontendConfig("maest"), config, HeadConfig(8, head), "own", 1.0, multilabel=False)
    tagger = Tagger(card, [str(n) for n in range(8)])
    if not isinstance(config, MobileNetConfig):
        _random_start(tagger)
    mel, target = torch.randn(8, config.n_mels, 96), torch.arange(8)
    optimizer = torch.optim.AdamW(tagger.parameters(), lr=3e-3)
    for step in range(n_steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 10)
        loss = torch.nn.functional.cross_entropy(tagger(mel, plan).logits, target)
        if loss < LEARNT:
            break
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tagger.parameters(), 1.0)
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize(
    ("architecture", "reduction"),
    [pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow) for pair in PAIRS],
)
def test_eight_clips_are_learned_by_heart(architecture, reduction):
    head = "separated" if architecture == "separated" else "norm_linear"
    assert loss_after(ARCHITECTURES[architecture], head, parse_plan(reduction), 60) < LEARNT


def test_and_by_a_convolutional_network():
    assert loss_after(MobileNetConfig(width=0.1, n_mels=128), "linear", parse_plan("none"), 30) < LEARNT
