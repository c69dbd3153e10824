"""A stem and a tail around a transformer: it starts as the MobileNet it was made from, and every part can learn."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from audiopatch.errors import UsageError
from audiopatch.models.card import ModelCard
from audiopatch.models.config import FrontendConfig, HamConfig, HeadConfig, StemConfig, TransformerConfig
from audiopatch.models.heads import JointHead
from audiopatch.models.stem import DroppedRows, window_of
from audiopatch.models.student import TEACHER_HEAD, stem_student, towards_teacher, without_ends_for_whole_maps
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import parse_plan
from audiopatch.tokens import TokenGrid
from audiopatch.zoo import load_model
from audiopatch.zoo.efficientat import efficientat_card
from audiopatch.zoo.labels import load_labels
from audiopatch.zoo.native import save

SEEDS = torch.tensor([1, 2])
HEADS = {"moods": ("happy", "sad"), "eras": ("60s", "70s", "80s")}


def lively(tagger: Tagger) -> Tagger:
    """Random weights under which a signal neither dies out nor explodes in a MobileNet's many layers."""
    for parameter in tagger.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=1.4 / parameter[0].numel() ** 0.5)
    for buffer_name, buffer in tagger.named_buffers():
        if buffer_name.endswith("running_mean"):
            torch.nn.init.normal_(buffer, std=0.1)
    return tagger.eval()


@pytest.fixture(scope="module")
def teacher() -> Tagger:
    torch.manual_seed(0)
    return lively(Tagger(efficientat_card("mn", width=0.1, n_classes=8), load_labels("classes-8")))


@pytest.fixture(scope="module")
def mn04() -> Tagger:
    return load_model("mn04_as", device="cpu")


@pytest.fixture(scope="module")
def music(mn04) -> torch.Tensor:
    """The log-mel of 10 s of each example track."""
    folder = Path(__file__).parents[2] / "examples" / "music"
    waves = []
    for path in sorted([*folder.glob("*.flac"), *folder.glob("*.ogg")]):
        wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
        waves.append(soxr.resample(wave.mean(axis=1), rate, 32000)[:320000])
    return mn04.frontend(torch.from_numpy(np.stack(waves)))


@pytest.fixture
def student(teacher) -> Tagger:
    return stem_student(teacher, width=64, n_blocks=2, context=2, heads=HEADS, n_hidden=16).eval()


@pytest.fixture
def mel() -> torch.Tensor:
    return torch.randn(2, 128, 500, generator=torch.Generator().manual_seed(3))


def test_at_step_0_it_is_the_teacher(teacher, student, mel):
    assert student.grid == (8, 63)
    with torch.no_grad():
        wanted, found = teacher(mel), student(mel)
    torch.testing.assert_close(found.logits[:, :8], wanted.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.features[:, :96], wanted.features, atol=1e-5, rtol=1e-5)
    assert found.logits.shape == (2, 13) and found.features.shape == (2, 96 + 2 * 64)
    assert student.labels == (*teacher.labels, "happy", "sad", "60s", "70s", "80s")


def thinned(teacher: Tagger, mel: torch.Tensor, rows: Sequence[int], cols: Sequence[int]) -> torch.Tensor:
    """The logits where the teacher's own map after layer 13 has these rows and columns alone."""
    layers = teacher.backbone.features
    with torch.no_grad():
        return teacher.head(layers[13:](layers[:13](mel[:, None])[:, :, list(rows)][..., list(cols)]).mean(dim=(2, 3)))


def test_at_step_0_a_plan_thins_the_teachers_own_map(teacher, student, mel):
    found = student(mel, parse_plan("F0T2")).logits[:, :8]
    torch.testing.assert_close(found, thinned(teacher, mel, range(8), range(0, 32, 2)), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, teacher(mel).logits, atol=1e-2)


@pytest.mark.parametrize(("plan", "share"), [("F0T2R8", 0.61), ("F4T10", 0.33), ("F0T3R8", 0.56)])
def test_a_fixed_plan_reads_only_what_is_near_the_kept_cells(student, mel, plan, share):
    window = window_of(student.card.backbone, parse_plan(plan), 500)
    assert len(window.frames) / 500 <= share
    found = student(mel, parse_plan(plan)).logits
    mel[:, :, [frame for frame in range(500) if frame not in window.frames]] = torch.nan
    assert torch.equal(student(mel, parse_plan(plan)).logits, found)


def test_what_was_learnt_can_be_taken_back_by_shares(teacher, student, mel):
    wanted = teacher(mel).logits
    with torch.no_grad():
        for parameter in student.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        student.backbone.stem.layers.load_state_dict(teacher.backbone.features[:13].state_dict())  # is never learnt
        errors = []
        for share in (0.0, 0.5, 1.0):
            found = towards_teacher(copy.deepcopy(student), teacher, ends=share, head=share)(mel).logits
            errors.append(rms(found[:, : wanted.shape[1]] - wanted))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-5


@pytest.mark.parametrize("plan", ["F0T2", "F4T10", "topk:0.9@1"])
def test_maps_of_which_nothing_was_dropped_have_ends_of_their_own(teacher, student, mel, plan, tmp_path):
    with torch.no_grad():
        for parameter in student.backbone.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        whole, thin = student(mel).logits, student(mel, parse_plan(plan)).logits
        both = towards_teacher(student, teacher, ends=0.75, head=0.0)
        assert both.card.backbone.stem.whole and not torch.allclose(both(mel).logits, whole, atol=1e-3)
        again = both(mel, parse_plan(plan)).logits
        save(both, tmp_path / "model", dtype=torch.float32)
        read = load_model(tmp_path / "model", device="cpu", dtype="float32")
        torch.testing.assert_close(read(mel).logits, both(mel).logits, atol=1e-4, rtol=1e-4)
        if plan[0] == "F":  # of what a block drops the context took in all before
            assert torch.equal(again, thin)
            assert torch.equal(without_ends_for_whole_maps(both)(mel).logits, whole)


@pytest.mark.parametrize(("plan", "cols"), [("F3T0", range(32)), ("F3T2", range(0, 32, 2))])
def test_dropped_rows_come_back_as_their_neighbours_before_anything_is_learnt(teacher, student, mel, plan, cols):
    found = student(mel, parse_plan(plan)).logits[:, :8]
    torch.testing.assert_close(found, thinned(teacher, mel, [1, 1, 2, 3, 4, 5, 5, 5], cols), atol=1e-5, rtol=1e-5)


def test_what_was_kept_of_a_map_stays_and_each_clip_has_rows_of_its_own():
    guess = DroppedRows(channels=3, n_rows=4)
    kept, rows = torch.randn(2, 3, 2, 5), torch.tensor([[0, 2], [1, 3]])
    torch.nn.init.normal_(guess.from_column.weight)
    with torch.no_grad():
        found = guess(kept, rows)
        for clip in range(2):
            assert torch.equal(found[clip, :, rows[clip]], kept[clip])
            assert torch.equal(found[clip : clip + 1], guess(kept[clip : clip + 1], rows[clip : clip + 1]))
            column = kept[clip].new_zeros(3, 4, 5)  # by hand, the row next to the last kept one
            column[:, rows[clip]] = kept[clip]
            row = 3 if clip == 0 else 2
            near = {3: 2, 2: 1}[row]
            weight = guess.from_column.weight.view(4, 3, 4, 3)[row]
            wanted = column[:, near] + torch.einsum("crd,drt->ct", weight, column)
            torch.testing.assert_close(found[clip, :, row], wanted)


@pytest.mark.parametrize("plan", ["F3T2", "adaptive:F3T9@1", "F3T2+topk:0.7@1", "structured:F3T9"])
def test_a_tail_hears_all_rows_under_any_plan(student, mel, plan):
    assert student.backbone(mel, parse_plan(plan), seeds=SEEDS).map.shape[2] == 4


def test_before_patchout_a_cell_takes_in_its_neighbours(student, mel):
    """Of every second column alone, a sound in the others is heard through the context, and in no other way."""
    heard = []
    for weight in (0.0, 0.1):
        stem = student.backbone.stem
        torch.nn.init.constant_(stem.context[-1].weight, weight)
        grid = torch.zeros(1, stem.context[-1].out_channels, 8, 31)
        grid[..., 1::2] = 1.0
        heard.append(float(stem.in_context(grid)[..., ::2].detach().abs().max()))
    assert heard[0] == 0 and heard[1] > 0


@pytest.mark.parametrize("plan", ["F0T2R8", "F0T3R8", "F4T10"])
def test_what_lies_beyond_the_halo_matters_little(mn04, music, plan):
    """Reading it, too, moves the logits by less than half of what the plan itself does."""
    rows, cols = parse_plan(plan)[0].lines(8, 63)
    whole = mn04(music).logits
    exact = thinned(mn04, music, [min(max(row, rows[0]), rows[-1]) for row in range(8)], cols)
    found = stem_student(mn04, n_blocks=1).eval()(music, parse_plan(plan)).logits
    assert rms(found - exact) < 0.5 * rms(exact - whole)


def rms(x: torch.Tensor) -> float:
    return float(x.square().mean().sqrt())


def test_where_chance_or_the_sound_decide_everything_is_read(student):
    for plan in ("none", "structured:F2T9", "topk:0.5/intensity@0", "F0T2+random:0.5", "topk:0.5@1"):
        assert window_of(student.card.backbone, parse_plan(plan), 500) is None


@pytest.mark.parametrize("plan", ["none", "F1T2", "random:0.6", "topk:0.7@1,2", "tome:30@1"])
def test_every_part_gets_a_gradient(student, mel, plan):
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05)
    for _ in range(3):  # the first step leaves the zeros, the next ones reach what lies behind them
        optimizer.zero_grad()
        student.train()(mel, parse_plan(plan)).logits.square().sum().backward()
        optimizer.step()
    still = {
        name for name, parameter in student.named_parameters() if parameter.grad is None or not parameter.grad.any()
    }
    guessing = {name for name, _ in student.named_parameters() if "dropped_rows" in name}
    assert still == (set() if plan == "F1T2" else guessing)  # the other plans drop no row


def test_it_learns_in_bfloat16_and_its_tail_sees_reduced_maps(student, mel):
    norm = student.backbone.stem.tail[0].block[1][1]
    before = norm.running_mean.clone()
    student.train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = student(mel, parse_plan("structured:F2T9+random:U20")).logits.square().mean()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in student.parameters() if p.grad is not None)
    assert not torch.equal(norm.running_mean, before)


@pytest.mark.parametrize("plan", ["F3T2", "random:0.5", "adaptive:F2T10@1,2", "topk:0.5/token@2", "tome:40@1,2"])
def test_taps_and_early_exit_agree(student, mel, plan):
    with torch.no_grad():
        whole = student(mel, parse_plan(plan), (0, 1, 2), seeds=SEEDS).stacks
        early = student.stacks(mel, (1,), parse_plan(plan.replace("@1,2", "@1").replace("@2", "@1")), seeds=SEEDS)
    assert {block: stack.shape for block, stack in whole.items()} == dict.fromkeys((0, 1, 2), (2, 2, 64))
    if "@2" not in plan and "@1,2" not in plan:
        torch.testing.assert_close(early[1], whole[1])


def test_it_is_saved_and_read_again(student, mel, tmp_path):
    torch.nn.init.normal_(student.backbone.stem.to_map.weight, std=0.1)
    save(student, tmp_path)
    again = load_model(tmp_path, device="cpu")
    assert again.card == student.card and again.labels == student.labels
    plan = parse_plan("F1T3")
    assert torch.equal(again(mel, plan).logits, student(mel, plan).logits)


def test_too_long_an_input_is_refused(student):
    with pytest.raises(UsageError, match="at most 63 columns"):
        student(torch.zeros(1, 128, 1009))


def test_only_mobilenets_have_layers_to_put_blocks_between(student):
    with pytest.raises(UsageError, match="is no MobileNet"):
        stem_student(student)


def test_heads_read_what_they_are_told_to(student):
    head = student.head
    assert isinstance(head, JointHead)
    features = torch.randn(3, 224)
    apart = head.eval().apart(features)
    assert {name: logits.shape[1] for name, logits in apart.items()} == {TEACHER_HEAD: 8, "moods": 2, "eras": 3}
    torch.testing.assert_close(head(features), torch.cat([apart[TEACHER_HEAD], apart["moods"], apart["eras"]], dim=1))
    features[:, 96:] += 1  # the tokens' part, which the teacher did not have
    assert torch.equal(head.apart(features)[TEACHER_HEAD], apart[TEACHER_HEAD])
    assert not torch.allclose(head.apart(features)["moods"], apart["moods"])


@pytest.mark.parametrize(("n_layers", "stride", "grid"), [(5, 8, (16, 125)), (7, 8, (16, 125)), (11, 16, (8, 63))])
def test_other_depths_have_finer_or_equal_cells(teacher, mel, n_layers, stride, grid):
    student = stem_student(teacher, width=64, n_blocks=1, n_layers=n_layers).eval()
    assert student.card.backbone.patch_size == (stride, stride) and student.grid == grid
    with torch.no_grad():
        torch.testing.assert_close(student(mel).logits, teacher(mel).logits, atol=1e-5, rtol=1e-5)


def network(kind: type[TransformerConfig], stem: StemConfig, **options) -> Tagger:
    config = kind(
        grid=(8, 32), n_mels=128, dim=64, depth=2, prefix=1, patch_stride=(16, 16), pool="both", stem=stem, **options
    )
    card = ModelCard("stem", "own", FrontendConfig("passt"), config, HeadConfig(3), "classes-3", 5.0)
    assert ModelCard.from_json(card.to_json()) == card
    torch.manual_seed(0)
    return lively(Tagger(card, load_labels("classes-3")))


def test_without_a_tail_the_tokens_are_pooled_as_ever(mel):
    tagger = network(TransformerConfig, StemConfig(0.1, tail=False))
    found = tagger(mel, parse_plan("random:0.5@0+topk:0.5@1"), seeds=SEEDS)
    assert found.features.shape == (2, 64) and found.logits.isfinite().all()


def test_conformer_blocks_go_between_stem_and_tail_too(mel):
    tagger = network(HamConfig, StemConfig(0.1), n_conformers=1, conv_kernel=5)
    assert tagger(mel, parse_plan("structured:F2T3"), seeds=SEEDS).features.shape == (2, 96 + 64)
    with pytest.raises(UsageError, match="whole rows and columns"):
        tagger(mel, parse_plan("topk:0.5@1"))


def ragged(values: torch.Tensor, cells: list[int]) -> tuple[TokenGrid, torch.Tensor]:
    """The tokens at ``cells`` of a map (W, rows, cols), and their values."""
    grid = TokenGrid.whole(values[None], torch.zeros(1, 1, len(values))).keep(torch.tensor([cells]))
    return grid, grid.patches


def test_gaps_are_filled_from_near_tokens():
    values = torch.arange(12.0).view(1, 3, 4) // 4  # each row has its own value
    kept = [0, 2, 3, 5, 6, 8, 9, 11]
    grid, tokens = ragged(values, kept)
    filled = grid.as_filled_grid(tokens)[0, 0]
    assert torch.equal(filled.flatten()[kept], values.flatten()[kept])
    torch.testing.assert_close(filled, values[0], atol=0.05, rtol=0)  # a row's own tokens count far more than others
    grid, tokens = ragged(torch.full((2, 3, 4), 7.0), [1])
    torch.testing.assert_close(grid.as_filled_grid(tokens), torch.full((1, 2, 3, 4), 7.0))


def test_gaps_lie_in_the_last_rectangle_only():
    whole = TokenGrid.whole(torch.arange(12.0).view(1, 1, 3, 4), torch.zeros(1, 1, 1))
    rectangle = whole.keep_rows_cols(torch.tensor([0, 2]), torch.tensor([1, 2, 3]))
    left = rectangle.keep(torch.tensor([[0, 2, 3, 5]])).keep(torch.tensor([[0, 1, 3]]))
    filled = left.as_filled_grid(left.patches)
    assert filled.shape == (1, 1, 2, 3)
    assert filled[0, 0, 0, 0] == 1 and filled[0, 0, 0, 2] == 3 and filled[0, 0, 1, 2] == 11
