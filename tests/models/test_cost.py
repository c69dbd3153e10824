"""The MAC counter against the published table, and against what torch counts while a model runs."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from audiopatch.errors import UsageError
from audiopatch.models.card import ModelCard
from audiopatch.models.config import (
    FrontendConfig,
    HamConfig,
    HeadConfig,
    MobileNetConfig,
    StemConfig,
    TransformerConfig,
)
from audiopatch.models.cost import cost_of
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import parse_plan

TABLE = {  # G-MACs of a ViT-B at keep rates 1.0, 0.9, ..., 0.4 in blocks 4, 7, 10 (arXiv 2504.01690)
    64: (5.6, 4.9, 4.3, 3.7, 3.3, 2.8, 2.5),
    256: (23.1, 20.0, 17.3, 15.0, 13.1, 11.4, 10.0),
    512: (48.6, 41.8, 36.0, 31.1, 27.1, 23.7, 20.8),
}


def card(backbone, *, segment_s: float = 1.0, head: str = "norm_linear") -> ModelCard:
    return ModelCard(
        name="costed",
        family="maest",
        frontend=FrontendConfig("maest" if backbone.n_mels == 96 else "passt"),
        backbone=backbone,
        head=HeadConfig(n_classes=40, kind=head, n_hidden=32),
        labels="classes-40",
        segment_s=segment_s,
    )


def vit_base(n_tokens: int) -> ModelCard:
    """A ViT-B of the study: stride 16, 8 rows, one prefix token."""
    config = TransformerConfig(grid=(8, n_tokens // 8), n_mels=128, patch_stride=(16, 16), prefix=1)
    return card(config, segment_s=n_tokens // 8 * 16 * 320 / 32000)


@pytest.mark.parametrize(
    ("n_tokens", "keep_rate", "giga_macs"),
    [(n, 1 - drop / 10, macs) for n, row in TABLE.items() for drop, macs in enumerate(row)],
)
def test_the_published_table(n_tokens, keep_rate, giga_macs):
    cost = cost_of(vit_base(n_tokens), parse_plan(f"topk:{keep_rate:.1f}@4,7,10"))
    assert cost.tokens[0] == n_tokens
    assert (cost.macs - cost.head_macs) / 1e9 == pytest.approx(giga_macs, abs=0.1)


@pytest.mark.parametrize(
    "text",
    [
        "none",
        "F3T2",
        "structured:F1T3+random:U20",
        "adaptive:F2T6@1,3",
        "topk:0.7@1,2,4",
        "topk:0.5/token@2",
        "topk:0.5/token/fuse@2",
        "topk:0.6/intensity@0",
        "tome:20@1-3",
    ],
)
def test_torch_counts_the_same_while_it_runs(text):
    tiny = card(TransformerConfig(grid=(9, 22), n_mels=96, dim=128, depth=4), segment_s=3.0)
    tagger, plan = Tagger(tiny, ()).eval(), parse_plan(text)
    mel = tagger.frontend(torch.randn(1, 48000))
    # with gradients: at inference the linear layers are oneDNN's, which torch does not count
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        tagger(mel, plan, seeds=torch.zeros(1, dtype=torch.int64))
    cost = cost_of(tiny, plan)
    assert cost.macs == counter.get_total_flops() // 2
    assert cost.n_params == sum(parameter.numel() for parameter in tagger.parameters())


@pytest.mark.parametrize("text", ["none", "F3T2"])
def test_a_hybrid_networks_own_layers_are_counted_too(text):
    ham = card(HamConfig(grid=(9, 22), n_mels=96, dim=128, depth=2, n_conformers=2), segment_s=3.0)
    tagger, plan = Tagger(ham, ()).eval(), parse_plan(text)
    mel = tagger.frontend(torch.randn(1, 48000))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        tagger(mel, plan)
    assert cost_of(ham, plan).macs == counter.get_total_flops() // 2


@pytest.mark.parametrize("text", ["none", "F3T5", "topk:0.5/token@2", "structured:F1T3+random:U20", "F0T2R3+tome:20@1"])
def test_a_stem_and_a_tail_are_counted_too(text):
    stem = TransformerConfig(
        grid=(8, 19), n_mels=128, dim=64, depth=2, prefix=1, patch_stride=(16, 16), stem=StemConfig(0.4)
    )
    tagger, plan = Tagger(card(stem, segment_s=3.0), ()).eval(), parse_plan(text)
    mel = tagger.frontend(torch.randn(1, 96000))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        tagger(mel, plan, seeds=torch.zeros(1, dtype=torch.int64))
    assert cost_of(tagger.card, plan).macs == counter.get_total_flops() // 2


def test_a_convolutional_network_is_counted_too():
    mobilenet = card(MobileNetConfig(width=0.4), segment_s=10.0, head="mlp")
    tagger = Tagger(mobilenet, ()).eval()
    mel = tagger.frontend(torch.randn(1, 320000))
    with FlopCounterMode(display=False) as counter:  # with gradients, as above
        tagger(mel)
    assert cost_of(mobilenet).macs == counter.get_total_flops() // 2
    with pytest.raises(UsageError, match="no tokens"):
        cost_of(mobilenet, parse_plan("F3T2"))


def test_length_and_plan_shape_the_cost():
    maest = card(TransformerConfig(grid=(9, 187), n_mels=96), segment_s=30.0)
    whole, half = cost_of(maest, segment_s=29.9), cost_of(maest, parse_plan("F3T2"), segment_s=29.9)
    assert whole.tokens == (9 * 186,) * 13
    assert half.tokens == (558,) * 13
    assert 0.25 < half.macs / whole.macs < 0.33
    assert cost_of(maest, segment_s=10.0).tokens[0] == 9 * 62
    assert cost_of(maest, parse_plan("topk:0.7@7"), segment_s=29.9).scoring_macs == 1676 * 768


def test_plans_for_deeper_models_are_refused():
    with pytest.raises(UsageError, match="block 7 does not exist"):
        cost_of(card(TransformerConfig(grid=(9, 22), n_mels=96, depth=4)), parse_plan("topk:0.7@7"))
