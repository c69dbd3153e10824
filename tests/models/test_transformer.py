"""The core: taps, early exit, shorter inputs, the slot for a reducer, and what it refuses."""

import pytest
import torch

from audiopatch.errors import UsageError
from audiopatch.models.config import TransformerConfig
from audiopatch.models.transformer import SpectrogramTransformer
from audiopatch.reducers.plan import Plan, parse_plan

CONFIGS = {
    "maest": TransformerConfig(grid=(9, 12), n_mels=96, dim=64, depth=3),
    "ast": TransformerConfig(grid=(12, 9), n_mels=128, dim=64, depth=3, positions="full", norm_eps=1e-12),
    "audiomae": TransformerConfig(
        grid=(8, 6), n_mels=128, dim=64, depth=3, patch_stride=(16, 16), positions="full", prefix=1, pool="patch"
    ),
}


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> SpectrogramTransformer:
    torch.manual_seed(0)
    model = SpectrogramTransformer(CONFIGS[request.param]).eval()
    for parameter in model.parameters():
        if parameter.ndim != 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def full_mel(model: SpectrogramTransformer, batch: int = 2) -> torch.Tensor:
    config = model.config
    n_frames = config.patch_stride[1] * (config.grid[1] - 1) + config.patch_size[1]
    return torch.randn(batch, config.n_mels, n_frames, generator=torch.Generator().manual_seed(1))


def test_taps_and_early_exit_give_the_same_stacks(model: SpectrogramTransformer):
    mel = full_mel(model)
    whole = model(mel, taps=(0, 1, 2, 3))
    early = model(mel, taps=(0, 2), last=2)
    assert sorted(whole.stacks) == [0, 1, 2, 3]
    for block in (0, 2):
        torch.testing.assert_close(early.stacks[block], whole.stacks[block])


def test_nothing_past_the_last_tap_runs(model: SpectrogramTransformer):
    ran = []
    for number, block in enumerate(model.blocks, start=1):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    model(full_mel(model), taps=(1,), last=1)
    assert ran == [1]


def test_a_batch_equals_its_clips_one_by_one(model: SpectrogramTransformer):
    mel = full_mel(model, batch=3)
    together = model(mel, parse_plan("F2T2"))
    alone = torch.cat([model(clip[None], parse_plan("F2T2")).pooled for clip in mel])
    torch.testing.assert_close(together.pooled, alone)


def test_a_shorter_input_takes_the_first_positions(model: SpectrogramTransformer):
    mel = full_mel(model)
    step, width = model.config.patch_stride[1], model.config.patch_size[1]
    shorter = model.embed(mel[..., : 2 * step + width])
    torch.testing.assert_close(shorter.as_grid(), model.embed(mel).as_grid()[..., :3])


def test_fixed_patchout_equals_hiding_the_dropped_tokens(model: SpectrogramTransformer):
    """The oracle: all tokens run, but nobody may attend to a dropped one."""
    mel = full_mel(model)
    plan = parse_plan("F1T2")
    kept = model(mel, plan).tokens
    n_prefix, n_tokens = model.config.prefix, model.embed(mel).n_patches
    visible = torch.zeros(n_prefix + n_tokens, dtype=torch.bool)
    visible[:n_prefix] = True
    visible[n_prefix + kept.cell[0]] = True
    for block in model.blocks:
        block.attn.forward = masked_attention(block.attn, visible)
    masked = model(mel).tokens
    torch.testing.assert_close(kept.x, masked.x[:, visible], atol=1e-5, rtol=1e-4)


def masked_attention(attention, visible: torch.Tensor):
    def forward(x: torch.Tensor, key_bias: None):
        q, k, v = attention.qkv(x).unflatten(-1, (3, attention.n_heads, -1)).permute(2, 0, 3, 1, 4)
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=visible.expand(x.shape[1], -1))
        return attention.proj(out.transpose(1, 2).flatten(2)), q, k

    return forward


def test_training_shifts_split_time_positions_but_evaluation_does_not():
    model = SpectrogramTransformer(CONFIGS["maest"])
    torch.nn.init.normal_(model.time_new_pos_embed)
    mel = full_mel(model)[..., :36]
    assert torch.equal(model.eval().embed(mel).x, model.embed(mel).x)
    draws = {model.train().embed(mel).x.sum().item() for _ in range(20)}
    assert len(draws) > 1


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 96, 400), "at most 12 columns"), ((1, 96, 12), "less than one patch"), ((1, 128, 126), "takes 96 bands")],
)
def test_inputs_that_do_not_fit_are_refused(shape: tuple[int, ...], message: str):
    with pytest.raises(UsageError, match=message):
        SpectrogramTransformer(CONFIGS["maest"])(torch.zeros(shape))


def test_blocks_that_do_not_exist_are_refused():
    model = SpectrogramTransformer(CONFIGS["maest"])
    with pytest.raises(UsageError, match="block 4 does not exist; this model has blocks 1 to 3"):
        model(full_mel(model), taps=(4,))
    with pytest.raises(UsageError, match="block 9"):
        model(full_mel(model), Plan({9: parse_plan("F3T2")[0]}))
    with pytest.raises(UsageError, match="only blocks up to 1"):
        model(full_mel(model), taps=(2,), last=1)
