"""Shrinking a transformer: what goes is what would have been masked, what stays is what the answers need."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from audiopatch.audio.inputs import Inputs
from audiopatch.bench.compare import compare_models
from audiopatch.bench.contender import Case, from_tagger
from audiopatch.bench.quality import Unreduced
from audiopatch.cli.main import app
from audiopatch.distill.agreement import PLANS, plans_for
from audiopatch.distill.augment_wave import resample_fft
from audiopatch.distill.config import DistillConfig
from audiopatch.distill.lessons import Lesson
from audiopatch.distill.library import Library
from audiopatch.distill.repair import SETTINGS, repair
from audiopatch.distill.shrink import Worth, choose, measure, shrink_to_folder
from audiopatch.distill.student import Student, new_student, ranked_of
from audiopatch.distill.teacher import Standards, Teachers
from audiopatch.events import Note
from audiopatch.inference.clips import real_segments
from audiopatch.models.card import ModelCard
from audiopatch.models.config import FrontendConfig, HamConfig, HeadConfig, TransformerConfig
from audiopatch.models.cost import block_macs, cost_of
from audiopatch.models.shrunk import Remainder, shrunk
from audiopatch.reducers.plan import parse_plan
from audiopatch.types import Track
from audiopatch.zoo import CARDS, native
from audiopatch.zoo.cards import FAMILIES
from audiopatch.zoo.load import load_model, random_tagger
from printed import printed

LABELS = tuple(f"sound {number}" for number in range(10))
TINY = ModelCard(
    "tiny", "audiopatch", FrontendConfig("maest", n_frames=125),
    TransformerConfig(grid=(9, 12), n_mels=96, dim=128, depth=3, pool="both"),
    HeadConfig(n_classes=10), labels="mine", segment_s=2.0,
)  # fmt: skip


def small(card: ModelCard, n_classes: int = 10, **other):
    """Its architecture at three blocks of two heads, with answers that every head moves."""
    config = replace(card.backbone, dim=2 * card.backbone.head_dim, depth=3, **other)
    kind = card.head.kind if card.head.kind in ("norm_linear", "linear", "none", "separated") else "linear"
    head = HeadConfig(n_classes=0 if kind == "none" else n_classes, kind=kind)
    tagger = random_tagger(replace(card, backbone=config, head=head), LABELS[: head.n_classes]).eval()
    chance = torch.Generator().manual_seed(1)
    for parameter in tagger.backbone.blocks.parameters():
        if parameter.ndim == 2:
            parameter.data.normal_(std=0.2, generator=chance)
    return tagger.requires_grad_(False)


NETWORKS = {
    family.__name__.rpartition(".")[2]: family.CARDS[0]
    for family in FAMILIES
    if isinstance(family.CARDS[0].backbone, TransformerConfig)
} | {"stem": CARDS["audiopatch-music"]}
HAM = replace(TINY, backbone=HamConfig(grid=(9, 12), n_mels=96, n_conformers=1))


@pytest.fixture(params=[*NETWORKS, "ham", "shared"])
def tagger(request):
    if request.param == "shared":
        return small(replace(TINY, backbone=replace(TINY.backbone, depth=3)), sharing=3)
    return small(HAM if request.param == "ham" else NETWORKS[request.param])


def mel_of(tagger):
    n_samples = round(min(2.0, tagger.card.segment_s) * tagger.frontend.sample_rate)
    return tagger.frontend(torch.randn(1, n_samples, generator=torch.Generator().manual_seed(2)) * 0.1)


def answer(tagger, mel, plan="none"):
    found = tagger(mel, parse_plan(plan))
    return torch.cat([found.logits, found.features], dim=1)


def test_dropping_nothing_changes_nothing(tagger):
    same, mel = shrunk(tagger, Remainder.all_of(tagger.card.backbone)), mel_of(tagger)
    assert same.card.backbone == tagger.card.backbone
    assert torch.equal(answer(same, mel), answer(tagger, mel))


def test_what_goes_is_what_would_have_been_masked(tagger, tmp_path):
    """A head's output at zero, and a block that lets tokens pass; then the rest of the package with what is left."""
    mel, n_sets = mel_of(tagger), len(tagger.backbone.blocks)
    kept = Remainder.all_of(tagger.card.backbone).without_head(n_sets, 0)
    kept = kept.without_block(2) if n_sets > 1 else kept
    less = shrunk(tagger, kept)
    assert sum(p.numel() for p in less.parameters()) < sum(p.numel() for p in tagger.parameters())
    whole, head_dim = answer(tagger, mel), tagger.card.backbone.head_dim
    rest = torch.arange(2 * head_dim) >= head_dim
    hooks = [tagger.backbone.blocks[-1].attn.proj.register_forward_pre_hook(lambda module, x: (x[0] * rest,))]
    if n_sets > 1:
        hooks.append(tagger.backbone.blocks[1].register_forward_hook(lambda module, x, out: x[0]))
    masked = answer(tagger, mel)
    for hook in hooks:
        hook.remove()
    assert (masked - whole).abs().max() > 1e-3
    torch.testing.assert_close(answer(less, mel), masked, atol=1e-5, rtol=1e-5)

    plan = "topk:0.7/token@1,2"
    if tagger.card.backbone.kind == "transformer":
        assert answer(less, mel, plan).isfinite().all()
    assert cost_of(less.card).macs < cost_of(tagger.card).macs
    assert cost_of(less.card, parse_plan(plan)).macs < cost_of(less.card).macs
    native.save(less, tmp_path)
    assert torch.equal(answer(load_model(tmp_path, device="cpu", dtype="float32"), mel), answer(less, mel))


def test_a_shared_network_is_one_whose_blocks_are_alike():
    shared = small(TINY, sharing=3)
    plain, state = small(TINY), shared.state_dict()
    plain.load_state_dict({key: state[re.sub(r"blocks\.\d", "blocks.0", key)] for key in plain.state_dict()})
    mel = mel_of(plain)
    for plan in ("none", "F3T2+topk:0.7@2"):
        assert torch.equal(answer(shared, mel, plan), answer(plain, mel, plan))
    ours, theirs = cost_of(shared.card), cost_of(plain.card)
    assert ours.macs == theirs.macs and ours.n_params < 0.5 * theirs.n_params
    with pytest.raises(ValueError, match="runs of 2"):
        replace(TINY.backbone, sharing=2)


def test_what_is_worth_least_for_its_cost_goes_first():
    config, n = replace(TINY.backbone, depth=3), 108
    worth = Worth({1: (5.0, 0.1), 2: (3.0, 4.0), 3: (0.2, 9.0)}, {1: 90.0, 2: 0.01, 3: 90.0})
    head = block_macs(config, 2, n, n) - block_macs(config, 1, n, n)
    assert choose(config, worth, n, 0).heads == {1: (0, 1), 2: (0, 1), 3: (0, 1)}
    assert choose(config, worth, n, 1).heads == {1: (0, 1), 3: (0, 1)}
    saved = block_macs(config, 2, n, n)
    assert choose(config, worth, n, saved + head).heads == {1: (0,), 3: (0, 1)}
    assert choose(config, worth, n, saved + head + 1).heads == {1: (0,), 3: (1,)}
    assert choose(config, worth, n, saved + 2 * head + 1).heads in ({1: (0,)}, {3: (1,)})


def test_worth_is_the_change_of_the_answers():
    """Blocks exactly; heads by their order, and a head whose output goes nowhere is worth nothing."""
    tagger = small(TINY, n_classes=1)
    for block in tagger.backbone.blocks:
        block.attn.proj.weight.mul_(0.02)
    tagger.backbone.blocks[1].attn.proj.weight[:, :64] = 0
    mel, calls = mel_of(tagger), []
    worth = measure(tagger, [mel[0]], lambda done, total: calls.append((done, total)))
    whole, kept = tagger(mel).logits, Remainder.all_of(tagger.card.backbone)
    weight = (whole.sigmoid() * (1 - whole.sigmoid())).item()

    def change(less: Remainder) -> float:
        return weight * (shrunk(tagger, less)(mel).logits - whole).square().item()

    assert worth.blocks == pytest.approx({n: change(kept.without_block(n)) for n in (1, 2, 3)}, rel=1e-4)
    true = {(n, h): change(kept.without_head(n, h)) for n in (1, 2, 3) for h in (0, 1)}
    found = {(n, h): worth.heads[n][h] for n, h in true}
    assert found.pop((2, 0)) == true.pop((2, 0)) == 0
    assert max(found, key=found.__getitem__) == max(true, key=true.__getitem__)
    assert np.corrcoef(np.sqrt([*found.values()]), np.sqrt([*true.values()]))[0, 1] > 0.8
    assert calls == [(n, 4) for n in (1, 2, 3, 4)]


def test_a_head_that_always_says_the_same_is_not_missed():
    """Its mean is all of it, so without it nothing changes; where it is masked, much does."""
    tagger, mel = small(TINY), mel_of(small(TINY))
    first = tagger.backbone.blocks[0].attn
    first.qkv.weight[2 * 128 : 2 * 128 + 64] = 0  # the values of head 0 are its bias alone
    first.qkv.bias[2 * 128 : 2 * 128 + 64] = 1.0
    less = Remainder.all_of(tagger.card.backbone).without_head(1, 0)
    whole, moments = answer(tagger, mel), measure(tagger, [mel[0]], lambda done, total: None).moments
    torch.testing.assert_close(answer(shrunk(tagger, less, moments), mel), whole, atol=1e-4, rtol=1e-4)
    assert (answer(shrunk(tagger, less), mel) - whole).abs().max() > 0.01


def test_a_head_that_says_what_another_says_is_hardly_missed():
    """The one that stays speaks for both, by least squares over all segments; held at its mean it would be missed."""
    tagger = small(TINY)
    first = tagger.backbone.blocks[0].attn
    for rows in (first.qkv.weight, first.qkv.bias):
        rows.unflatten(0, (3, 2, 64))[:, 0] = rows.unflatten(0, (3, 2, 64))[:, 1]
    mels = [mel_of(tagger)[0], 0.5 * mel_of(tagger)[0]]
    less = Remainder.all_of(tagger.card.backbone).without_head(1, 0)
    whole, moments = answer(tagger, mels[0][None]), measure(tagger, mels, lambda done, total: None).moments
    assert moments[1].n == 2 * (9 * 11 + 2)
    at_mean = {n: replace(one, products=one.total.outer(one.total) / one.n) for n, one in moments.items()}
    errors = [
        (answer(shrunk(tagger, less, made_of), mels[0][None]) - whole).abs().max() for made_of in (moments, at_mean)
    ]
    assert errors[0] < 0.2 * errors[1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (tmp_path / "music" / name).mkdir(parents=True)
        wave = 0.1 * rng.standard_normal(16_000 * 21).astype(np.float32)
        soundfile.write(tmp_path / "music" / name / "1.wav", wave, 16_000)
    native.save(small(TINY), tmp_path / "old")
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path / "cache"))
    room = sys.modules["audiopatch.distill.shrink"]
    monkeypatch.setattr(room, "N_SEGMENTS", 6)
    quick = {"n_calibration": 1, "n_calibration_clips": 8, "batch_size": 2, "n_evaluations": 1}
    monkeypatch.setattr(sys.modules["audiopatch.distill.repair"], "DistillConfig", partial(DistillConfig, **quick))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args):
    return CliRunner().invoke(app, ["shrink", *map(str, args), "-m", "old", "--device", "cpu"])


def test_from_music_to_a_smaller_model(folder):
    goal = 0.8 * cost_of(TINY).macs / 1e9
    done = run("music", "--gmacs", goal, "-o", "less", "--json")
    assert done.exit_code == 0 and "G-MACs a segment" in done.stderr, done.output
    facts = printed("shrink", done.stdout)
    assert facts["folder"] == "less/model" and facts["macs"] <= goal * 1e9 < facts["whole_macs"]
    less = load_model("less/model", device="cpu", dtype="float32")
    assert cost_of(less.card).macs <= goal * 1e9 and less.card.shrunk_from == "old"
    assert run("music", "--gmacs", goal, "-o", "less").exit_code != 0  # it is there already

    whole, small_one = compare_models(["old", "less/model"], measure=False)
    assert small_one.size_bytes < whole.size_bytes and small_one.macs < whole.macs
    segments = real_segments(less, [Track(str(folder / "music/a/1.wav"), "", "0", 0, 0)], 2, per_track=2)
    case = Case("less/model", dtype="float32")
    beside = Unreduced({"old": segments, "less/model": segments}, "cpu").quality(from_tagger(case, less, segments))
    alone = Unreduced({"less/model": segments}, "cpu").quality(from_tagger(case, less, segments))
    assert beside.name.startswith("agreement with old") and beside.value < 1
    assert alone.name.startswith("agreement with the unreduced model") and alone.value == 1


@pytest.mark.slow  # what comes of a repair is the next test; how one learns, that of distillation
def test_repaired_by_the_whole_model(folder, monkeypatch):
    goal = 0.8 * cost_of(TINY).macs / 1e9
    monkeypatch.setitem(SETTINGS, "batch_size", "2")
    done = run("music", "--gmacs", goal, "--repair", "1s", "-o", "less", "--json")
    assert done.exit_code == 0, done.output
    card = load_model("less/model", device="cpu").card
    assert cost_of(card).macs <= goal * 1e9 and card.shrunk_from == "old"
    found = printed("shrink", done.stdout)["repair"]
    assert found["n_clips"] == 10 and min(found["before"], found["after"]) > 0
    kept = Path("less/model/model.safetensors").read_bytes() != Path("less/shrunk/model.safetensors").read_bytes()
    assert kept == (found["after"] < found["before"])
    assert any("agreement" in name for name in card.scores) == kept


def test_a_stopped_repair_goes_on_to_its_decision(folder, monkeypatch):
    monkeypatch.setitem(SETTINGS, "batch_size", "2")
    music, heard, goal = Inputs(["music"]), [], 0.8 * cost_of(TINY).macs / 1e9
    how = {"model": "old", "device": "cpu"}
    made = shrink_to_folder(music, Path("less/shrunk"), gmacs=goal, **how)
    weights = Path("less/shrunk/model.safetensors").read_bytes()

    def stop():  # only when all is learnt, and its answers are to be measured
        return any(isinstance(event, Note) and event.text == "calibrating and measuring" for event in heard)

    assert repair(music, made, Path("less"), seconds=2, stop=stop, observer=heard.append, **how) is None
    distilled = ["train", "distill", "music", "--teacher", "old", "--student", "less/shrunk", "-o", "less", "--resume"]
    refused = CliRunner().invoke(app, distilled)
    assert refused.exit_code == 2 and "'audiopatch shrink', and --resume" in " ".join(refused.output.split())
    assert run("music", "--gmacs", goal, "--repair", "2s", "-o", "less").exit_code == 7
    assert "its --repair TIME, too" in run("music", "--gmacs", goal, "-o", "less", "--resume").output
    done = run("music", "--gmacs", goal, "--repair", "2s", "-o", "less", "--resume", "--json")
    assert done.exit_code == 0 and "the whole model on 10 held-out clips" in " ".join(done.output.split()), done.output
    assert printed("shrink", done.stdout)["repair"]["n_clips"] == 10
    assert Path("less/shrunk/model.safetensors").read_bytes() == weights  # nothing was measured or cut anew


@pytest.mark.parametrize("helps", [True, False])
def test_a_repair_is_kept_where_it_helps(folder, monkeypatch, helps):
    """Where it does, the whole model came out of it; where not, one that learnt nothing."""
    music = Inputs(["music"])
    made = shrink_to_folder(music, Path("less/shrunk"), model="old", gmacs=0.8 * cost_of(TINY).macs / 1e9, device="cpu")

    def distilled(inputs, place, **how):
        assert how["settings"] == SETTINGS and how["student"] == "less/shrunk"
        came_of_it = small(TINY) if helps else random_tagger(TINY, LABELS)
        native.save(came_of_it, place / "model")
        how = {"workers": 1, "on_skip": print, "report": lambda done, of: None, "stop": lambda: False}
        return Library.of(inputs.tracks()).prepare(place / "pieces", 16_000, **how)

    monkeypatch.setattr(sys.modules["audiopatch.distill.repair"], "distill_to_folder", distilled)
    heard = []
    came_of_it = repair(music, made, Path("less"), model="old", seconds=9, device="cpu", observer=heard.append)
    assert came_of_it.folder == Path("less/model") and came_of_it.repair.helped == helps
    words = "nearer to the whole model on" if helps else "left as it was"
    assert words in heard[-1].text
    is_old = Path("less/model/model.safetensors").read_bytes() == Path("less/shrunk/model.safetensors").read_bytes()
    assert is_old == (not helps)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "n_rows"), [("dasheng", 1), ("ced", 4)])
def test_models_of_few_rows_are_repaired_too(folder, monkeypatch, family, n_rows):
    """They are measured under the plans that leave something: those of Dasheng span all frequencies."""
    few_rows = small(replace(NETWORKS[family], labels="mine"))
    assert few_rows.card.backbone.grid[0] == n_rows
    native.save(few_rows, Path("few-rows"))
    monkeypatch.setitem(SETTINGS, "batch_size", "2")
    goal = 0.8 * cost_of(few_rows.card).macs / 1e9
    command = ["shrink", "music", "-m", "few-rows", "--gmacs", str(goal), "--repair", "1s", "-o", "less"]
    done = CliRunner().invoke(app, [*command, "--device", "cpu"])
    assert done.exit_code == 0 and "the whole model on 2 held-out clips" in " ".join(done.output.split()), done.output
    assert cost_of(load_model("less/model", device="cpu").card).macs <= goal * 1e9


def test_a_repair_without_labels_is_refused_with_the_shrunk_model_kept(folder):
    native.save(small(CARDS["dasheng-base"]), Path("old"))
    done = run("music", "--gmacs", 0.2, "--repair", "1s", "-o", "less")
    assert done.exit_code == 2 and "old has no labels" in " ".join(done.output.split())
    assert load_model("less/shrunk", device="cpu").card.shrunk_from == "old"
    assert not Path("less/model").exists() and not Path("less/pieces").exists()


@pytest.mark.parametrize(("family", "n_plans"), [("dasheng", 2), ("ced", 4), ("maest", 5)])
def test_a_model_is_measured_under_the_plans_that_leave_something_of_it(family, n_plans):
    assert plans_for(small(NETWORKS[family]), PLANS) == [*PLANS[:n_plans]]


@pytest.mark.parametrize("card", [TINY, NETWORKS["stem"]], ids=["patches", "stem"])
def test_what_is_cut_out_of_its_teacher_starts_with_the_features_that_it_has(card, tmp_path):
    """Where nothing was cut, all of its losses begin at zero, also those of whole maps that have ends of their own."""
    teacher = small(card)
    native.save(shrunk(teacher, Remainder.all_of(teacher.card.backbone)), tmp_path)
    student = new_student(str(tmp_path), [teacher], DistillConfig(max_s=1), name="less")
    assert student.card.backbone == teacher.card.backbone
    teachers = Teachers([teacher])
    wave = torch.randn(6, 16_000, generator=torch.Generator().manual_seed(3)).cumsum(dim=1) * 0.01
    answer = teachers(wave, 16_000)
    standards = Standards.measure([answer])
    learner = Student(student, teachers).eval()
    learner.start_as_part(standards)
    mels = student.frontend(resample_fft(wave, 16_000, student.frontend.sample_rate))
    losses = learner.losses(Lesson(mels, (parse_plan("F0T0"),), answer), standards)
    assert losses["features"] < 1e-6 and losses["timeline"] < 1e-6
    assert learner.losses(Lesson(mels, (parse_plan("F0T2"),), answer), standards)["timeline"].isfinite()


@pytest.mark.parametrize(("gmacs", "model", "why"), [
    (99, "old", "is not between them"), (1e-6, "old", "is not between them"), (0.1, "mn04_as", "convolutional"),
])  # fmt: skip
def test_a_goal_that_cannot_be_is_refused_before_any_work(folder, gmacs, model, why):
    done = CliRunner().invoke(app, ["shrink", "music", "--gmacs", str(gmacs), "-m", model])
    assert done.exit_code == 2 and why in done.output.replace("\n", " ")


def test_a_student_of_the_first_model_is_judged_by_its_tags():
    """What a repaired copy of it is ranked by: genres, moods, instruments, ..., no sounds."""
    first = load_model("audiopatch-small", device="cpu")
    ranked = {first.labels[number].partition("---")[0] for number in ranked_of(first, first.labels)}
    assert ranked == {"Genre", "Mood", "Instrument", "Voice", "Role"}
