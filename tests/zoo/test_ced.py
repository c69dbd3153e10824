"""CED against recordings of the original; Dasheng, which shares all but its patches, against a plain twin."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from audiopatch.errors import UsageError
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import parse_plan
from audiopatch.zoo import load_model


@pytest.fixture(scope="module")
def ced(golden) -> Tagger:
    """A small CED with random weights, of whose classes the first 40 were kept."""
    return load_model(golden.folder / "ced_small/audiotransformer_small.pt", device="cpu")


@torch.inference_mode()
def test_front_end_features_and_logits(golden, parity, ced):
    recorded, wave = golden.arrays("ced_small/io.npz"), golden.wave("ced_small/c3.flac")
    np.testing.assert_allclose(ced.frontend.filterbank, recorded["mel_fb"], atol=1e-5)
    mel = ced.frontend(wave)
    frames = recorded["mel_frames"]
    np.testing.assert_allclose(mel[0][:, frames], recorded["mel_c3"], atol=5e-3)  # decibels
    np.testing.assert_allclose(ced.backbone.scaled(mel)[0][:, frames], recorded["bn_c3"], atol=2e-4)
    prediction = ced(mel)
    parity(prediction.features, recorded["features_c3"])
    parity(prediction.logits, recorded["logits_c3"])
    parity(ced.scores(prediction.logits), recorded["scores_c3"])
    parity(ced(ced.frontend(wave[:, :2400])).logits, recorded["logits_c3_first_2400"])  # one column


@torch.inference_mode()
def test_a_loud_neighbour_changes_nothing(golden, parity, ced):
    """The reference takes one floor for the whole batch; ours is each clip's own."""
    recorded, wave = golden.arrays("ced_small/io.npz"), golden.wave("ced_small/c3.flac")
    logits = ced(ced.frontend(torch.cat([wave * 2**-7, wave.flip(1)]))).logits[:1]
    parity(logits, recorded["logits_quiet_alone"])


@pytest.mark.parametrize("dim", [192, 256, 384, 768])
def test_the_published_sizes_have_their_heads(states, save, dim: int):
    card = load_model(save(states.ced(63, 527, dim=dim, depth=1)), device="cpu").card
    assert (card.backbone.n_heads, card.frontend.n_frames, card.segment_s) == (dim // 64, 1012, 10.0)


def test_the_hubs_names_give_the_same_network(states, save):
    state = states.ced(63, 527)
    hub = {
        key if key.startswith("outputlayer") else f"encoder.{key.replace('init_bn.1.', 'init_bn.')}": value
        for key, value in state.items()
        if not key.startswith("front_end")
    }
    one, other = (load_model(save(content, name), device="cpu") for content, name in ((state, "a.pt"), (hub, "b.pt")))
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())
    assert one.labels[0] == "Speech" and one.card.licence.startswith("Apache-2.0")


PLANS = ("F1T2", "topk:0.5/token@1", "topk:0.5/intensity@1,2", "structured:F1T9", "tome:9@2", "random:0.5")


@pytest.mark.parametrize("plan", PLANS)
def test_plans_work_without_a_prefix_token(ced, golden, plan: str):
    mel = ced.frontend(golden.wave("ced_small/c3.flac"))
    prediction = ced(mel, parse_plan(plan), (1, 2), seeds=torch.zeros(1, dtype=torch.int64))
    assert prediction.logits.isfinite().all() and prediction.stacks[1].shape == (1, 1, 128)


def test_plans_that_ask_for_cls_are_answered_in_words(ced, golden):
    mel = ced.frontend(golden.wave("ced_small/c3.flac"))
    for plan in ("topk:0.5@1", "adaptive:F1T10@2", "topk:0.7/fuse@1"):
        with pytest.raises(UsageError, match=r"no CLS token to score by.*topk:0\.7/token"):
            ced(mel, parse_plan(plan))


def dasheng_features(state, mel: Tensor) -> Tensor:
    """mel (B, 64, frames) in dB -> the mean token (B, D), as section by section in the paper's appendix."""
    mean, variance = state["init_bn.1.running_mean"], state["init_bn.1.running_var"]
    weight, bias = state["init_bn.1.weight"], state["init_bn.1.bias"]
    x = F.batch_norm(mel.transpose(1, 2).flatten(0, 1), mean, variance, weight, bias).unflatten(0, (len(mel), -1))
    kernel = state["patch_embed.proj.weight"]
    x = F.conv2d(x.transpose(1, 2)[:, None], kernel, state["patch_embed.proj.bias"], stride=(64, 4))
    x = x + state["time_pos_embed"][..., : x.shape[3]] + state["freq_pos_embed"]
    x = x.flatten(2).transpose(1, 2)
    for name in ("blocks.0", "blocks.1"):
        q, k, v = _linear(_norm(x, state, f"{name}.norm1"), state, f"{name}.attn.qkv").chunk(3, dim=-1)
        attention = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1)  # one head of 64
        x = x + _linear(attention @ v, state, f"{name}.attn.proj")
        hidden = F.gelu(_linear(_norm(x, state, f"{name}.norm2"), state, f"{name}.mlp.fc1"))
        x = x + _linear(hidden, state, f"{name}.mlp.fc2")
    return _norm(x, state, "norm").mean(dim=1)


def _norm(x: Tensor, state, name: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)


def _linear(x: Tensor, state, name: str) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


@pytest.mark.parametrize("n_samples", [160_000, 75_011, 481])
def test_dasheng_equals_its_twin(states, save, n_samples: int):
    state = states.ced(252, 0, dasheng=True)
    tagger = load_model(save({"model": state, "config": {"embed_dim": 64}}, "dasheng_base.pt"), device="cpu")
    wave = torch.randn(2, n_samples, generator=torch.Generator().manual_seed(1)) * 0.1
    mel = tagger.frontend(wave)
    prediction = tagger(mel)
    torch.testing.assert_close(prediction.features, dasheng_features(state, mel), atol=1e-5, rtol=0)
    assert prediction.logits.shape == (2, 0) and tagger.grid == (1, 250)


def test_dashengs_one_row_cannot_be_dropped(states, save):
    tagger = load_model(save(states.ced(252, 7, dasheng=True)), device="cpu")
    mel = tagger.frontend(torch.zeros(1, 16_000))
    for plan in ("F3T2", "structured:F1T2"):
        with pytest.raises(UsageError, match="each patch of this model spans all frequencies"):
            tagger(mel, parse_plan(plan), seeds=torch.zeros(1, dtype=torch.int64))
    assert tagger(mel, parse_plan("F0T2")).logits.shape == (1, 7)
