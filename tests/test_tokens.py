"""TokenGrid keeps vectors and places together, whatever is dropped."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiopatch.errors import UsageError
from audiopatch.tokens import MelPatches, Signals, TokenGrid


def numbered_grid(rows: int, cols: int, *, prefix: int = 2, batch: int = 1) -> TokenGrid:
    """A grid whose patch vectors hold their own cell number, and whose prefix vectors are negative."""
    patches = torch.arange(rows * cols, dtype=torch.float32).reshape(1, 1, rows, cols).expand(batch, -1, -1, -1)
    return TokenGrid.whole(patches, -torch.ones(batch, prefix, 1))


@given(st.data())
def test_rows_and_columns_kept_in_stages_stay_a_rectangle_with_true_places(data: st.DataObject):
    rows, cols = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 8))
    grid = numbered_grid(rows, cols)
    for _ in range(3):
        n_rows, n_cols = grid.rectangle()
        some = lambda n: torch.tensor(data.draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True)))  # noqa: E731
        grid = grid.keep_rows_cols(some(n_rows), some(n_cols))
    assert torch.equal(grid.patches[..., 0].long(), grid.cell)
    assert torch.equal(grid.as_grid()[0, 0].flatten().long(), grid.cell[0])
    assert (grid.cell.diff() > 0).all()
    assert (grid.x[:, : grid.prefix] == -1).all()


@given(st.data())
def test_single_tokens_kept_are_sorted_and_ragged(data: st.DataObject):
    grid = numbered_grid(3, 5)
    index = data.draw(st.lists(st.integers(0, 14), min_size=1, max_size=14, unique=True))
    kept = grid.keep(torch.tensor([index]))
    assert kept.cell.tolist() == [sorted(index)]
    assert kept.patches[..., 0].long().tolist() == [sorted(index)]
    with pytest.raises(UsageError, match="whole rows and columns"):
        kept.as_grid()


def test_keeping_every_token_keeps_the_rectangle():
    grid = numbered_grid(3, 5)
    assert grid.keep(torch.randperm(15)[None]) is grid


def test_rows_may_differ_per_clip():
    grid = numbered_grid(3, 2, batch=2).keep_rows_cols(torch.tensor([[0, 1], [1, 2]]), torch.tensor([1]))
    assert grid.cell.tolist() == [[1, 3], [3, 5]]
    assert grid.layout == (2, 1)


def test_the_stack_is_prefix_tokens_then_patch_mean():
    assert numbered_grid(2, 2).stack()[0, :, 0].tolist() == [-1, -1, 1.5]


def test_attention_scores_equal_the_full_map():
    torch.manual_seed(0)
    grid = numbered_grid(3, 4, batch=2)
    q, k = torch.randn(2, 2, 2, 14, 8)
    attention = (q @ k.transpose(-2, -1) / 8**0.5).softmax(-1)
    signals = Signals(MelPatches(torch.zeros(2, 48, 64), (16, 16), (16, 16))).at(q, k)
    torch.testing.assert_close(signals.cls_attention(grid), attention[:, :, 0, 2:].mean(1))
    torch.testing.assert_close(signals.token_attention(grid), attention[:, :, 2:, 2:].mean((1, 2)))


def test_attention_before_block_1_is_refused_with_a_sentence():
    with pytest.raises(UsageError, match="before block 1"):
        Signals(MelPatches(torch.zeros(1, 48, 64), (16, 16), (16, 16))).cls_attention(numbered_grid(3, 4))


def test_intensity_and_variation_follow_the_tokens():
    mel = torch.randn(1, 36, 56)
    grid = numbered_grid(3, 5).keep(torch.tensor([[14, 2]]))
    signals = Signals(MelPatches(mel, (16, 16), (10, 10)))
    corner, top_right = mel[0, 0:16, 20:36], mel[0, 20:36, 40:56]
    torch.testing.assert_close(signals.intensity(grid)[0], torch.stack([corner.mean(), top_right.mean()]))
    torch.testing.assert_close(
        signals.variation(grid)[0], torch.stack([corner.std(correction=0), top_right.std(correction=0)])
    )


def test_the_last_patch_of_a_stem_repeats_the_last_frame():
    mel = torch.randn(1, 32, 40)
    whole, cut = (MelPatches(mel, (16, 16), (16, 16), pads=pads).values for pads in (True, False))
    assert whole.shape == (1, 2, 3, 16, 16) and torch.equal(whole[:, :, :2], cut)
    assert torch.equal(whole[0, 0, 2, :, 7:], mel[0, :16, -1:].expand(-1, 9))
