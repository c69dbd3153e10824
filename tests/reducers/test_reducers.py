"""What is particular to each strategy, on token grids small enough to check by hand."""

import math
from dataclasses import replace

import pytest
import torch

from audiopatch.models.transformer import Attention
from audiopatch.reducers.adaptive import AdaptivePatchout
from audiopatch.reducers.fixed import FixedPatchout
from audiopatch.reducers.random import RandomPatchout
from audiopatch.reducers.structured import StructuredPatchout
from audiopatch.reducers.tome import TokenMerging
from audiopatch.reducers.topk import TopK
from audiopatch.tokens import MelPatches, Signals, TokenGrid

ROWS, COLS = 6, 8


def grid(batch: int = 2, prefix: int = 2) -> TokenGrid:
    chance = torch.Generator().manual_seed(3)
    patches = torch.randn(batch, 16, ROWS, COLS, generator=chance)
    return TokenGrid.whole(patches, torch.randn(batch, prefix, 16, generator=chance))


def signals(tokens: TokenGrid, **settings) -> Signals:
    chance = torch.Generator().manual_seed(4)
    q, k = 2 * torch.randn(2, len(tokens.x), 2, tokens.x.shape[1], 8, generator=chance)
    mel = torch.randn(len(tokens.x), 4 * ROWS, 4 * COLS, generator=chance)
    return Signals(MelPatches(mel, (4, 4), (4, 4)), q=q, k=k, **settings)


@pytest.mark.parametrize(
    ("drop_f", "n_rows", "dropped"),
    [(3, 9, [0, 7, 8]), (4, 9, [0, 1, 7, 8]), (0, 9, []), (1, 12, [11]), (5, 12, [0, 1, 9, 10, 11])],
)
def test_fixed_drops_the_rows_of_the_paper(drop_f, n_rows, dropped):
    assert FixedPatchout(drop_f).dropped_rows(n_rows) == dropped


def test_fixed_keeps_one_column_of_y():
    assert len(FixedPatchout(0, 2).kept_cols(186)) == 93
    assert FixedPatchout(0, 5, cols=(10,)).kept_cols(21) == [0, 5, 15, 20]
    assert FixedPatchout(0, 0).kept_cols(4) == FixedPatchout(0, 1).kept_cols(4) == [0, 1, 2, 3]


def test_fixed_keeps_one_run_of_y():
    assert FixedPatchout(0, 3, run=2).kept_cols(14) == [0, 1, 6, 7, 12, 13]
    assert FixedPatchout(0, 2, run=40).kept_cols(63) == list(range(40))


@pytest.mark.parametrize(("reducer", "n_kept"), [(StructuredPatchout(2, 3), 4 * 5), (RandomPatchout(0.5, 8), 20)])
def test_training_draws_once_per_batch_unless_told(reducer, n_kept):
    tokens = grid(batch=4)
    whole_batch = reducer(tokens, signals(tokens, training=True)).cell
    assert whole_batch.shape == (4, n_kept)
    assert (whole_batch == whole_batch[0]).all()
    per_clip = replace(reducer, per_clip=True)(tokens, signals(tokens, training=True)).cell
    assert (per_clip != per_clip[0]).any()


@pytest.mark.parametrize("reducer", [StructuredPatchout(2, 3), RandomPatchout(0.5)])
def test_chance_follows_the_seed(reducer):
    tokens = grid(batch=4)
    cell = reducer(tokens, signals(tokens, seeds=torch.tensor([7, 8, 7, -9]))).cell
    assert torch.equal(cell[0], cell[2])
    assert not torch.equal(cell[0], cell[1]) and not torch.equal(cell[0], cell[3])


def test_every_token_is_dropped_equally_often():
    tokens = grid(batch=1)
    tokens = replace(tokens, x=tokens.x.expand(2000, -1, -1), cell=tokens.cell.expand(2000, -1))
    chance = Signals(MelPatches(torch.zeros(1, ROWS, COLS), (1, 1), (1, 1)), seeds=torch.arange(2000))
    for reducer, keep_rate in ((RandomPatchout(0.25), 0.25), (StructuredPatchout(3, 4), 0.25)):
        kept = reducer(tokens, chance).cell.flatten().bincount(minlength=ROWS * COLS) / 2000
        assert (kept - keep_rate).abs().max() < 5 * math.sqrt(keep_rate * (1 - keep_rate) / 2000)


def test_adaptive_noise_is_for_training_only():
    tokens = grid()
    calm = AdaptivePatchout(2, 3, noise=50.0)
    assert torch.equal(calm(tokens, signals(tokens)).cell, AdaptivePatchout(2, 3)(tokens, signals(tokens)).cell)
    draws = {tuple(calm(tokens, signals(tokens, training=True)).cell[0].tolist()) for _ in range(10)}
    assert len(draws) > 1


def test_adaptive_spreads_its_drops_over_the_stages():
    stages = AdaptivePatchout(4, 121).spread(3)
    assert [(stage.drop_f, stage.drop_t) for stage in stages] == [(2, 41), (1, 40), (1, 40)]


def test_fused_token_is_the_weighted_sum_of_the_dropped():
    tokens = grid()
    seen = signals(tokens)
    scores = seen.cls_attention(tokens)
    kept = TopK(0.5, fuse=True)(tokens, seen)
    assert kept.n_patches == ROWS * COLS // 2 + 1
    for clip in range(2):
        order = sorted(range(ROWS * COLS), key=lambda cell: -float(scores[clip, cell]))
        best, dropped = order[: ROWS * COLS // 2], order[ROWS * COLS // 2 :]
        expected = sum(scores[clip, cell] * tokens.patches[clip, cell] for cell in dropped)
        cells = kept.cell[clip].tolist()
        assert cells == sorted([*best, dropped[0]])
        torch.testing.assert_close(kept.patches[clip, cells.index(dropped[0])], expected)
        torch.testing.assert_close(kept.patches[clip, cells.index(best[0])], tokens.patches[clip, best[0]])


def merged_by_hand(patches, keys, n_merge) -> dict[int, torch.Tensor]:
    """One clip, one pair after the other: cell -> vector."""
    keys = torch.nn.functional.normalize(keys.mean(dim=0), dim=-1)
    receivers = range(1, len(keys), 2)
    partner = {
        giver: max(receivers, key=lambda cell: float(keys[giver] @ keys[cell])) for giver in range(0, len(keys), 2)
    }
    givers = sorted(partner, key=lambda giver: -float(keys[giver] @ keys[partner[giver]]))[:n_merge]
    groups = {cell: [cell] for cell in range(len(keys)) if cell not in givers}
    for giver in givers:
        groups[partner[giver]].append(giver)
    return {cell: patches[members].mean(dim=0) for cell, members in groups.items()}


def test_merging_averages_the_most_similar_pairs():
    tokens = grid()
    seen = signals(tokens)
    merged = TokenMerging(15)(tokens, seen)
    for clip in range(2):
        expected = merged_by_hand(tokens.patches[clip], seen.k[clip, :, tokens.prefix :], 15)
        assert merged.cell[clip].tolist() == sorted(expected)
        torch.testing.assert_close(merged.patches[clip], torch.stack([expected[cell] for cell in sorted(expected)]))


def test_merging_twice_keeps_the_mean_over_patches():
    tokens = grid()
    once = TokenMerging(15)(tokens, signals(tokens))
    twice = TokenMerging(10)(once, signals(once))
    assert twice.size.sum(dim=1).tolist() == [ROWS * COLS] * 2
    torch.testing.assert_close(twice.patch_mean(), tokens.patch_mean())
    torch.testing.assert_close(TopK(1.0)(twice, signals(twice)).stack()[:, -1], tokens.patch_mean())


def test_a_merged_token_attracts_the_attention_of_its_members():
    torch.manual_seed(0)
    attention, twin = Attention(16, 2, 8), torch.randn(1, 1, 16)
    others = torch.randn(1, 5, 16)
    apart, _, _ = attention(torch.cat([others, twin, twin], dim=1))
    size = torch.tensor([[1.0, 1, 1, 1, 2]])
    merged = TokenGrid(torch.cat([others, twin], dim=1), torch.arange(5)[None], (1, 5), None, 1, size)
    together, _, _ = attention(merged.x, merged.key_bias())
    torch.testing.assert_close(together, apart[:, :6])


@pytest.mark.parametrize("prefix", [1, 2])
def test_scores_look_at_patches_only(prefix):
    tokens = grid(prefix=prefix)
    seen = signals(tokens)
    weights = (seen.q @ seen.k.transpose(2, 3) / math.sqrt(8)).softmax(dim=-1)
    torch.testing.assert_close(seen.cls_attention(tokens), weights[:, :, 0, prefix:].mean(dim=1))
    torch.testing.assert_close(seen.token_attention(tokens), weights[:, :, prefix:, prefix:].mean(dim=(1, 2)))


def test_scores_are_fp32_under_autocast():
    tokens = grid()
    seen = signals(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(seen.cls_attention(tokens), seen.cls_attention(tokens).float())
        low = seen.token_attention(tokens)
    assert torch.equal(low, seen.token_attention(tokens))


def test_patch_statistics_are_computed_once_for_all_blocks():
    seen = signals(grid())
    first = seen.at(seen.q, seen.k).intensity(grid())
    assert seen.at(seen.q, seen.k).mel.intensity is seen.mel.intensity
    torch.testing.assert_close(first, seen.mel.values.mean(dim=(3, 4)).flatten(1))
    torch.testing.assert_close(seen.variation(grid()), seen.mel.values.std(dim=(3, 4), correction=0).flatten(1))
