"""EAT and SSLAM: fairseq's packaging against recordings of the original, the hub's against a plain twin."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from audiopatch.errors import WeightsError
from audiopatch.reducers.plan import parse_plan
from audiopatch.zoo import load_model


def fairseq_checkpoint(golden) -> dict:
    """What a trainer leaves around a state dict; the best score is a NumPy scalar, which fairseq does not mean ill."""
    state = torch.load(golden.folder / "eat_small/EAT-small_finetune_AS2M-half.pt", weights_only=True)
    return {
        "args": None,
        "cfg": {"_name": None, "common": {"fp16": True}},
        "model": {key: value.float() for key, value in state.items()},
        "optimizer_history": [{"num_updates": 300_000, "lr_scheduler_state": {"best": None}}],
        "task_state": {"labels": {"/m/09x0r": 0}},
        "extra_state": {"best": np.float64(0.489), "metrics": [(0, "loss", {"sum": torch.tensor(12.5)})]},
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(8)}}},
    }


@torch.inference_mode()
def test_a_fairseq_checkpoint_gives_the_recorded_numbers(golden, parity, save):
    recorded, wave = golden.arrays("eat_small/io.npz"), golden.wave("eat_small/e4.flac")
    tagger = load_model(save(fairseq_checkpoint(golden)), device="cpu")
    mel = tagger.frontend(wave)
    assert mel.shape == (1, 128, 1024) and tagger.card.head.eps == 1e-6
    np.testing.assert_allclose(mel[0].T[recorded["input_e4_frames"]], recorded["input_e4_values"], atol=2e-4)
    prediction = tagger(mel)
    parity(prediction.features, recorded["features_e4"])
    parity(prediction.logits, recorded["logits_e4"])
    frontend = tagger.frontend
    short = F.pad(frontend.log_mel(wave), (0, 432 - frontend.whole_frames(wave.shape[1])))
    parity(tagger((short - frontend.mean) / frontend.scale).logits, recorded["logits_e4_432_frames"])


def encode(state, fbank: Tensor) -> Tensor:
    """fbank (B, time, frequency) -> CLS after the blocks (B, D), time first and norms last, as EAT computes it."""
    x = F.conv2d(fbank[:, None], state["local_encoder.proj.weight"], state["local_encoder.proj.bias"], stride=16)
    x = x.flatten(2).transpose(1, 2)
    x = x + state["fixed_positional_encoder.positions"][:, : x.shape[1]]
    x = _norm(torch.cat([state["extra_tokens"].expand(len(x), -1, -1), x], dim=1), state, "pre_norm")
    for name in ("blocks.0", "blocks.1"):
        q, k, v = _linear(x, state, f"{name}.attn.qkv").chunk(3, dim=-1)
        attention = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1)  # one head of 64
        x = _norm(x + _linear(attention @ v, state, f"{name}.attn.proj"), state, f"{name}.norm1")
        x = _norm(
            x + _linear(F.gelu(_linear(x, state, f"{name}.mlp.fc1")), state, f"{name}.mlp.fc2"), state, f"{name}.norm2"
        )
    return x[:, 0]


def _norm(x: Tensor, state, name: str, eps: float = 1e-6) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=eps)


def _linear(x: Tensor, state, name: str) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


@pytest.mark.parametrize("n_classes", [527, 0])
def test_the_hubs_packaging_equals_its_twin(states, save, n_classes: int):
    state = states.eat(96, n_classes)
    tagger = load_model(save(state, "SSLAM.pt"), device="cpu")
    mel = tagger.frontend(torch.randn(1, 90_000, generator=torch.Generator().manual_seed(1)) * 0.1)
    prediction = tagger(mel, taps=(2,))
    plain = {key.removeprefix("model."): value for key, value in state.items()}
    cls = encode(plain, mel.transpose(1, 2))
    torch.testing.assert_close(prediction.features, cls, atol=2e-5, rtol=0)
    torch.testing.assert_close(prediction.stacks[2][:, 0], cls, atol=2e-5, rtol=0)
    if n_classes:
        logits = _linear(_norm(cls, plain, "fc_norm", eps=1e-5), plain, "head")
        torch.testing.assert_close(prediction.logits, logits, atol=2e-5, rtol=0)
    assert prediction.logits.shape == (1, n_classes) and "arXiv 2506.12222" in tagger.card.paper


def test_what_only_pre_training_uses_is_dropped(states, save):
    fairseq = "modality_encoders.IMAGE."
    state = {}
    for key, value in states.eat(64, 0).items():
        bare = key.removeprefix("model.").replace("pre_norm", "context_encoder.norm")
        state[bare if bare.startswith("blocks") else fairseq + bare] = value
    decoder = {f"{fairseq}decoder.proj.weight": torch.ones(3), "_ema": {"blocks.0.w": torch.ones(3)}}
    tagger = load_model(save({"model": state | decoder}), device="cpu")
    assert tagger.labels == () and tagger.card.backbone.norm_order == "post"


def test_plans_score_by_the_blocks_own_attention(states, save):
    """In a post-norm block q and k come from its input, so that the reducer sees the attention that was computed."""
    tagger = load_model(save(states.eat(64, 527)), device="cpu")
    mel = tagger.frontend(torch.randn(1, 160_000, generator=torch.Generator().manual_seed(1)) * 0.1)
    for plan in ("topk:0.5@1", "topk:0.7/fuse@1,2", "F3T2", "tome:50@1"):
        assert tagger(mel, parse_plan(plan)).logits.isfinite().all()
    block, seen = tagger.backbone.blocks[0], []
    tokens = tagger.backbone.embed(mel)
    tokens = tokens.with_x(tagger.backbone.pre_norm(tokens.x))
    block(tokens, lambda grid, signals: seen.append(signals.q) or grid, _signals(tagger, mel))
    q = block.attn.qkv(tokens.x).unflatten(-1, (3, 1, -1))[:, :, 0].transpose(1, 2)
    torch.testing.assert_close(seen[0], q)


def _signals(tagger, mel: Tensor):
    from audiopatch.tokens import MelPatches, Signals

    return Signals(MelPatches(mel, (16, 16), (16, 16)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_norm_first": True}, "'layer_norm_first' is True"),
        ({"num_heads": 2}, "'num_heads' is 2; audiopatch reads these weights with 1"),
        ({"encoder_kwargs": {"depth": 3}}, "'depth' is 3"),
        ({"id2label": {"0": "a"}}, "does not number the 3 classes"),
    ],
)
def test_a_config_that_contradicts_the_weights_is_refused(states, tmp_path, change, message):
    save_file(states.eat(64, 3), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "eat", "embed_dim": 64, "depth": 2} | change))
    with pytest.raises(WeightsError, match=message):
        load_model(tmp_path, device="cpu")


def test_a_config_names_classes_of_its_own_but_not_audiosets(states, tmp_path):
    """CED's config was made by splitting a line at its commas: 75 names of AudioSet are cut there."""
    for n_classes, expected in ((3, "yes"), (527, "Speech")):
        folder = tmp_path / str(n_classes)
        folder.mkdir()
        save_file(states.ced(63, n_classes), folder / "model.safetensors")
        names = {str(index): "yes" if not index else f"no {index}" for index in range(n_classes)}
        (folder / "config.json").write_text(json.dumps({"model_type": "ced", "pooling": "mean", "id2label": names}))
        assert load_model(folder, device="cpu").labels[0] == expected
