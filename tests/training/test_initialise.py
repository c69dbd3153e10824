"""What training starts from: another grid by the references' rules, an image ViT, the same weights where they fit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from audiopatch.errors import UsageError, WeightsError
from audiopatch.models.config import TransformerConfig
from audiopatch.training.config import ModelChoice
from audiopatch.training.initialise import build_tagger, fit_positions, kept_blocks, start_from, thinned
from audiopatch.zoo import load_model

LABELS = ("a", "b", "c")


def build(labels=LABELS, **choice):
    return build_tagger(ModelChoice(**choice), labels, name="t", multilabel=True, seed=7)


def test_another_length_interpolates_time_and_keeps_the_rest():
    base, longer = load_model("tiny-random", device="cpu"), build(segment_s=20.0)
    assert longer.card.backbone.grid == (9, 125) and longer.card.segment_s == 20.0
    old, new = base.state_dict(), longer.state_dict()
    time = F.interpolate(old["backbone.time_new_pos_embed"], size=(1, 125), mode="bicubic", align_corners=False)
    torch.testing.assert_close(new["backbone.time_new_pos_embed"], time)
    kept = [key for key in new if key.startswith("backbone.") and "time" not in key]
    assert all(torch.equal(new[key], old[key]) for key in kept)
    assert new["head.1.weight"].shape[0] == 3
    wave = torch.randn(1, 20 * 16000)
    assert longer.eval()(longer.frontend(wave)).logits.shape == (1, 3)


def test_the_head_stays_only_with_the_same_labels():
    base = load_model("tiny-random", device="cpu")
    same = build(labels=base.labels)
    assert torch.equal(same.state_dict()["head.1.weight"], base.state_dict()["head.1.weight"])
    swapped = build(labels=base.labels[::-1])
    assert not torch.equal(swapped.state_dict()["head.1.weight"], base.state_dict()["head.1.weight"])


def test_another_frontend_and_stride():
    tagger = build(weights="random", frontend="passt", segment_s=5.0, patch_stride=16)
    config = tagger.card.backbone
    assert (config.n_mels, config.patch_stride, config.grid) == (128, (16, 16), (8, 31))
    assert tagger(tagger.frontend(torch.randn(2, 5 * 32000))).logits.shape == (2, 3)


def test_a_hybrid_starts_as_its_base():
    plain, hybrid = build(), build(n_conformers=2, channel_attention=True)
    hybrid.head.load_state_dict(plain.head.state_dict())
    mel = plain.frontend(torch.randn(1, 16000))
    torch.testing.assert_close(hybrid.eval()(mel).logits, plain.eval()(mel).logits, atol=2e-5, rtol=2e-5)


def test_a_thinner_network_keeps_the_first_the_last_and_every_second_block():
    assert kept_blocks(12, 2) == [0, 1, 3, 5, 7, 9, 11]  # PaSST-L
    assert kept_blocks(12, 1) == list(range(12)) and kept_blocks(2, 2) == [0, 1] and kept_blocks(1, 3) == [0]
    state = {f"backbone.blocks.{n}.norm1.weight": torch.tensor(float(n)) for n in range(12)} | {
        "head.0": torch.zeros(1)
    }
    thin = TransformerConfig(grid=(9, 2), n_mels=96, depth=7)
    found = thinned(state, 2, thin)
    assert [found[f"backbone.blocks.{n}.norm1.weight"].item() for n in range(7)] == [0, 1, 3, 5, 7, 9, 11]
    assert len(found) == 8 and thinned(found, 2, thin) == found


def test_blocks_that_share_their_weights_begin_with_those_of_the_first():
    plain, shared = build(), build(sharing=2)
    assert len(shared.backbone.blocks) == 1 and shared.card.backbone.depth == 2
    own, first = shared.backbone.blocks[0].state_dict(), plain.backbone.blocks[0].state_dict()
    assert all(torch.equal(own[key], first[key]) for key in first)
    frozen = build(sharing=2, n_frozen_blocks=1).backbone.blocks[0]
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    with pytest.raises(UsageError, match="does not divide 2 blocks"):
        build(sharing=3)


def test_separated_heads_see_cls_and_dist():
    tagger = build(head="separated")
    assert tagger.card.backbone.stack == ("cls", "dist") and tagger.card.backbone.n_features == 128
    assert tagger(tagger.frontend(torch.randn(2, 16000))).logits.shape == (2, 3)


def image_vit(tmp_path, dim=64, side=4, distilled=True):
    """A DeiT state dict with timm's names, on images of side × side patches."""
    torch.manual_seed(1)
    n = 2 if distilled else 1
    state = {"cls_token": torch.randn(1, 1, dim), "pos_embed": torch.randn(1, n + side * side, dim)}
    if distilled:
        state["dist_token"] = torch.randn(1, 1, dim)
        state |= {"head_dist.weight": torch.randn(1000, dim), "head_dist.bias": torch.randn(1000)}
    state |= {"patch_embed.proj.weight": torch.randn(dim, 3, 16, 16), "patch_embed.proj.bias": torch.randn(dim)}
    blocks = {key: value for key, value in build(weights="random").state_dict().items() if "blocks." in key}
    state |= {key.removeprefix("backbone."): torch.randn_like(value) for key, value in blocks.items()}
    state |= {"norm.weight": torch.randn(dim), "norm.bias": torch.randn(dim)}
    state |= {"head.weight": torch.randn(1000, dim), "head.bias": torch.randn(1000)}
    torch.save({"model": state}, tmp_path / "deit.pth")
    return state


@pytest.mark.parametrize("distilled", [True, False])
def test_an_image_vit_by_passts_rule(tmp_path, distilled):
    state = image_vit(tmp_path, distilled=distilled)
    new = build(weights=str(tmp_path / "deit.pth")).state_dict()
    torch.testing.assert_close(
        new["backbone.patch_embed.proj.weight"], state["patch_embed.proj.weight"].sum(dim=1, keepdim=True)
    )
    n = 2 if distilled else 1
    grid = state["pos_embed"][:, n:].reshape(1, 4, 4, 64).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(9, 62), mode="bicubic", align_corners=False)
    torch.testing.assert_close(new["backbone.freq_new_pos_embed"], grid.mean(dim=3, keepdim=True))
    torch.testing.assert_close(new["backbone.time_new_pos_embed"], grid.mean(dim=2, keepdim=True))
    assert torch.equal(new["backbone.new_pos_embed"], state["pos_embed"][:, :n].expand(-1, 2, -1))
    assert torch.equal(new["backbone.dist_token"], state["dist_token" if distilled else "cls_token"])
    assert torch.equal(new["backbone.blocks.1.mlp.fc2.bias"], state["blocks.1.mlp.fc2.bias"])


def test_asts_rule_cuts_the_centre_and_stretches():
    config = TransformerConfig(grid=(4, 7), n_mels=64, dim=64, depth=1, positions="full")
    table = torch.arange(2 + 12 * 101, dtype=torch.float32)[None, :, None].expand(1, -1, 64)
    state = {"backbone.pos_embed": table, "backbone.cls_token": table[:, :1], "backbone.dist_token": table[:, :1]}
    found = fit_positions(state, config)["backbone.pos_embed"]
    grid = found[0, 2:, 0].reshape(4, 7)
    expected = torch.arange(12 * 101).reshape(12, 101)[6 - 2 : 6 + 2, 50 - 3 : 50 - 3 + 7] + 2
    assert torch.equal(grid, expected.float())  # AST: 6 - f // 2 and 50 - t // 2
    longer = TransformerConfig(grid=(12, 150), n_mels=128, dim=64, depth=1, positions="full")
    assert fit_positions(state, longer)["backbone.pos_embed"].shape == (1, 2 + 12 * 150, 64)
    split = TransformerConfig(grid=(12, 101), n_mels=128, dim=64, depth=1)
    assert fit_positions(state, split)["backbone.freq_new_pos_embed"].shape == (1, 64, 12, 1)


def test_what_does_not_fit_is_named():
    tagger = build()
    state = dict(tagger.state_dict())
    del state["backbone.blocks.0.norm1.weight"]
    with pytest.raises(WeightsError, match=r"blocks.0.norm1.weight' should be \(64,\), is missing"):
        start_from(tagger, state, same_labels=True)
    with pytest.raises(UsageError, match="no transformer"):
        build(base="random/mn01_as", weights="random", head="separated")
