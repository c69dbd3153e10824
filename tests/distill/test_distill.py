"""Distillation at toy size: the loss, the lessons, and a resumed run that equals an uninterrupted one."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from audiopatch.distill.agreement import HeldOut
from audiopatch.distill.augment_wave import resample_fft
from audiopatch.distill.calibrate import calibrate, fit_affine, last_linears
from audiopatch.distill.config import RANDOM, DistillConfig
from audiopatch.distill.distill import Distillation
from audiopatch.distill.kept import KeptLessons
from audiopatch.distill.lessons import Lesson
from audiopatch.distill.pieces import Pieces, PieceWriter
from audiopatch.distill.stopping import StopAsked
from audiopatch.distill.student import JOINT, Student, learnt, new_student, start_well
from audiopatch.distill.teacher import Answer, Standard, Standards, Teachers
from audiopatch.errors import UsageError
from audiopatch.models.card import ModelCard
from audiopatch.models.config import FrontendConfig, HeadConfig, MobileNetConfig, MusicnnConfig, TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import NO_REDUCTION, parse_plan
from audiopatch.tokens import MelPatches
from audiopatch.training.run_folder import RunFolder
from audiopatch.zoo.load import random_tagger

CLASSES = (3, 5, 8, 9)
TEACHER = ModelCard(
    name="tiny-cnn",
    family="efficientat",
    frontend=FrontendConfig("passt"),
    backbone=MobileNetConfig(0.1),
    head=HeadConfig(n_classes=10, kind="mlp", n_hidden=16),
    labels="classes-10",
    segment_s=1.0,
)
STUDENT = ModelCard(
    name="tiny-student",
    family="audiopatch",
    frontend=FrontendConfig("maest", n_frames=125),
    backbone=TransformerConfig(grid=(9, 12), n_mels=96, dim=64, depth=2, pool="both"),
    head=HeadConfig(n_classes=len(CLASSES)),
    labels="classes-4",
    segment_s=2.0,
)
CONFIG = DistillConfig(
    max_segments=32, batch_size=4, crop=((0.0, 0.5), (0.5, 1.0)), n_calibration=2, min_cols=2, log_every=4
)
AS_THEY_ARE = Standards(*(Standard(torch.zeros(1), torch.ones(1)) for _ in range(3)))


@pytest.fixture(scope="module")
def pieces(tmp_path_factory) -> Pieces:
    folder = tmp_path_factory.mktemp("pieces")
    writer = PieceWriter(folder, 32_000)
    rng = np.random.default_rng(0)
    t_s = np.arange(32_000 * 6) / 32_000
    for number in range(4):
        tone = np.sin(2 * np.pi * 220 * (number + 1) * t_s) * rng.uniform(0.05, 0.5)
        writer.add(f"{number}.ogg", tone + 0.02 * rng.standard_normal(len(t_s)))
    writer.close()
    return Pieces(folder)


def distillation(pieces: Pieces, folder: Path, config: DistillConfig = CONFIG, **options) -> Distillation:
    torch.manual_seed(0)
    teacher, student = random_tagger(TEACHER).requires_grad_(False), random_tagger(STUDENT)
    files = RunFolder(folder)
    files.start(config, resume=True)
    return Distillation(Teachers([teacher], CLASSES), student, pieces, files, config, **options)


def run(work: Distillation) -> Tagger:
    assert work.run()
    return work.result()


def same(a: Tagger, b: Tagger) -> bool:
    mine, other = a.state_dict(), b.state_dict()
    return all(torch.equal(mine[key], other[key]) for key in mine)


def test_a_resumed_run_equals_an_uninterrupted_one(pieces, tmp_path, one_thread):  # ``run`` halves what ``learn`` takes
    whole = run(distillation(pieces, tmp_path / "whole"))
    first = distillation(pieces, tmp_path / "parts")
    for _ in range(3):  # the crop length changes at step 4
        first.learn(first.lessons(first.step, first.progress))
    first.save()
    first.learn(first.lessons(first.step, first.progress))  # lost with the process
    resumed = distillation(pieces, tmp_path / "parts")
    assert (resumed.step, resumed.segments) == (3, 12)
    assert same(whole, run(resumed))


def test_kept_lessons_are_learnt_again_and_a_resumed_run_finds_them(pieces, tmp_path, one_thread):
    config = replace(CONFIG, max_segments=48, n_kept=14, crop=((0.0, 0.5),))
    whole = distillation(pieces, tmp_path / "whole", config)
    weights = run(whole)
    lessons = KeptLessons(whole.lessons, whole.folder.kept, 4)
    known = [mel.tolist() for step in range(4) for mel in whole.lessons(step, 0.0).mel.half().float()]
    again = lessons(7, 0.5)
    assert again.mel.shape == (4, 96, 63) and all(mel.tolist() in known for mel in again.mel)
    assert not torch.equal(again.mel, lessons(8, 0.5).mel)
    first = distillation(pieces, tmp_path / "parts", config)
    first.stop = lambda: first.step == 6  # among the kept ones
    assert not first.run()
    assert same(weights, run(distillation(pieces, tmp_path / "parts", config)))


def test_lessons_whose_length_changes_or_that_no_run_reaches_twice_are_not_kept():
    cpu = torch.device("cpu")
    assert replace(CONFIG, n_kept=8).kept_steps_on(cpu) == 0
    assert DistillConfig(max_segments=8000).kept_steps_on(cpu) == 0
    assert DistillConfig(max_segments=8001).kept_steps_on(cpu) == 250
    assert DistillConfig(max_segments=8001).kept_steps_on(torch.device("cuda")) == 0


@pytest.mark.slow  # sixty steps; a student that is made of its teacher learns in twenty below
def test_the_student_comes_nearer_to_its_teacher(pieces, tmp_path):
    config = replace(CONFIG, max_segments=480, batch_size=8, crop=((0.0, 0.5),), ema_decay=0.9)
    work = distillation(pieces, tmp_path, config)
    work.run()
    lines = work.folder.rows()
    first, last = lines[0], lines[-1]
    assert last["features"] < 0.8 * first["features"]
    assert last["timeline"] < first["timeline"]
    assert work.progress == 1.0 and last["progress"] == 1.0


def test_every_batch_is_a_function_of_its_step(pieces, tmp_path):
    work = distillation(pieces, tmp_path)
    lesson, again, other = work.lessons(3, 0.0), work.lessons(3, 0.0), work.lessons(4, 0.0)
    assert torch.equal(lesson.mel, again.mel) and [*map(str, lesson.plans)] == [*map(str, again.plans)]
    assert torch.equal(lesson.answer.logits, again.answer.logits)
    assert not torch.equal(lesson.mel, other.mel)
    assert lesson.mel.shape == (4, 96, 63)
    assert work.lessons(3, 0.5).mel.shape == (4, 96, 125)  # longer crops in the second half


def test_a_batch_is_learnt_under_several_plans_none_of_them_twice(pieces, tmp_path):
    one = distillation(pieces, tmp_path / "one", replace(CONFIG, plans_per_step=1)).lessons(3, 0.0)
    four = distillation(pieces, tmp_path / "four", replace(CONFIG, plans_per_step=4)).lessons(3, 0.0)
    assert torch.equal(one.mel, four.mel) and torch.equal(one.answer.logits, four.answer.logits)
    assert len(one.plans) == 1 and len({*map(str, four.plans)}) == 4


def test_lessons_have_the_plans_of_the_configuration_and_random_crossings(pieces, tmp_path):
    work = distillation(
        pieces, tmp_path, replace(CONFIG, plans=((RANDOM, 1.0), ("F3T2", 2.0), ("F0T0", 0.0)), plans_per_step=1)
    )
    rng = np.random.default_rng(0)
    drawn = Counter(str(work.lessons.patchouts(rng, 125)[0][0]) for _ in range(300))
    assert 150 < drawn["F3T2"] < 250 and drawn["F0T0"] == 0 and len(drawn) > 15


def test_the_result_answers_in_the_teachers_units(pieces, tmp_path):
    work = distillation(pieces, tmp_path)
    mel = work.lessons(0, 0.0).mel
    work.averaged.module.eval()
    with torch.no_grad():
        standardised = work.averaged.module(mel).logits
        expected = standardised * work.standards.logits.std + work.standards.logits.mean
        assert torch.allclose(work.result()(mel).logits, expected, atol=1e-5)


def test_a_student_with_weights_goes_on_from_what_it_knows(pieces, tmp_path):
    student = random_tagger(STUDENT)
    last_linears(student.head)[0].weight.data.normal_(std=0.1)
    student.weights_sha256 = "learnt before"
    before = copy.deepcopy(student).eval()
    files = RunFolder(tmp_path)
    files.start(CONFIG, resume=True)
    teacher = Teachers([random_tagger(TEACHER).requires_grad_(False)], CLASSES)
    work = Distillation(teacher, student, pieces, files, CONFIG)
    mel = torch.randn(3, 96, 125)
    with torch.no_grad():
        expected, found = before(mel).logits, work.result()(mel).logits
        standardised = work.standards.logits.undo(work.student.eval().tagger(mel).logits)
    assert torch.allclose(found, expected, atol=1e-4)
    assert torch.allclose(standardised, expected, atol=1e-4)


def test_losses_vanish_for_a_student_that_says_the_same(pieces):
    student = Student(random_tagger(STUDENT), Teachers([random_tagger(TEACHER)], CLASSES)).eval()
    mel = torch.randn(2, 96, 125)
    with torch.no_grad():
        features = student.tagger.backbone(mel)
        columns = student.to_timeline(features.tokens.as_grid().mean(2).transpose(1, 2)).transpose(1, 2)
        answer = Answer(student.tagger.head(features.pooled), student.to_features(features.pooled), columns)
        losses = student.losses(Lesson(mel, (NO_REDUCTION,), answer), AS_THEY_ARE)
        assert all(loss < 1e-10 for loss in losses.values())
        # the columns that patchout leaves are held against their own place in time
        moved = replace(answer, timeline=torch.zeros_like(columns))
        dropped = student.losses(Lesson(mel, (parse_plan("F0T3"),), moved), AS_THEY_ARE)
        assert dropped["timeline"] > 1e-4


def test_patchout_sizes_stay_within_their_limits(pieces, tmp_path):
    work = distillation(
        pieces, tmp_path, replace(CONFIG, plans=((RANDOM, 1.0),), rows=(5, 9), min_cols=2, max_tokens=40)
    )
    rng = np.random.default_rng(0)
    sizes = set()
    for _ in range(200):
        reducer = work.lessons.patchouts(rng, 125)[0][0]
        rows, cols = 9 - len(reducer.rows), 11 - len(reducer.cols)
        assert 5 <= rows <= 9 and cols >= 2 and rows * cols <= 40
        sizes.add((rows, cols))
    assert len(sizes) > 15


def test_a_student_of_few_rows_learns_under_the_plans_that_leave_some(pieces, tmp_path):
    work = distillation(pieces, tmp_path, replace(CONFIG, plans=(("F0T2", 1.0), ("F3T2", 1.0)), plans_per_step=2))
    rng = np.random.default_rng(0)
    assert {str(plan) for plan in work.lessons.patchouts(rng, 125)} == {"F0T2", "F3T2"}
    flat = replace(
        STUDENT, backbone=replace(STUDENT.backbone, grid=(1, 12), patch_size=(96, 16), patch_stride=(96, 10))
    )
    few = replace(work.lessons, student=random_tagger(flat))
    assert [str(plan) for plan in few.patchouts(rng, 125)] == ["F0T2"]
    with pytest.raises(UsageError, match="leaves a patch of tiny-student"):
        replace(few, config=replace(few.config, plans=(("F3T2", 1.0),))).patchouts(rng, 125)


def test_start_well_whitens_the_patches_and_passes_through_the_blocks():
    tagger = random_tagger(STUDENT)
    mel = torch.randn(8, 96, 125).cumsum(1).cumsum(2) / 50  # strongly correlated neighbours, as in music
    start_well(tagger, mel)
    with torch.no_grad():
        patches = MelPatches(mel, (16, 16), (10, 10)).values
        tokens = tagger.backbone.patch_embed(patches.flatten(1, 2).flatten(2)).flatten(0, 1)
        correlation = torch.corrcoef(tokens.T)
        assert (correlation - torch.eye(len(correlation))).abs().max() < 0.05
        assert tokens.mean(0).abs().max() < 0.05
        before, after = tagger.backbone.embed(mel), tagger.backbone(mel, last=2, taps=(2,)).stacks[2]
        assert torch.allclose(before.stack(), after, atol=1e-5)


@pytest.mark.parametrize("card", [TEACHER, replace(STUDENT, head=HeadConfig(n_classes=10), labels="classes-10")])
def test_a_teacher_says_what_its_tagger_says(card):
    tagger = random_tagger(card).eval()
    teacher = Teachers([tagger], CLASSES)
    wave = torch.randn(2, teacher.sample_rate) * 0.1
    answer = teacher(wave, teacher.sample_rate)
    with torch.no_grad():
        prediction = tagger(tagger.frontend(wave))
    assert torch.allclose(answer.logits, prediction.logits[:, list(CLASSES)], atol=0.05)  # bfloat16
    assert answer.timeline.shape[:2] == answer.features.shape == (2, teacher.n_features)


def test_standard_round_trips_through_a_layer():
    values = torch.randn(500, 3) * torch.tensor([1.0, 5.0, 0.0]) + torch.tensor([2.0, -3.0, 7.0])
    standard = Standard.measure(values)
    assert torch.allclose(standard(values).mean(0), torch.zeros(3), atol=0.01)
    layer = torch.nn.Linear(5, 3)
    x = torch.randn(4, 5)
    expected = layer(x) * standard.std + standard.mean
    standard.undo_in(layer)
    assert torch.allclose(layer(x), expected, atol=1e-5)
    standards = Standards(standard, standard, standard)
    back = Standards.from_lists(standards.to_lists(), torch.device("cpu"))
    assert torch.equal(back.features.std, standard.std)


def test_standard_does_and_undoes_itself_in_a_layer():
    layer = torch.nn.Linear(3, 2)
    before, x = copy.deepcopy(layer), torch.randn(5, 3)
    standard = Standard(torch.tensor([3.0, -2.0]), torch.tensor([0.5, 4.0]))
    standard.do_in(layer)
    assert torch.allclose(standard.undo(layer(x)), before(x), atol=1e-5)
    standard.undo_in(layer)
    assert torch.allclose(layer(x), before(x), atol=1e-5)


def test_resample_keeps_low_tones_and_removes_high_ones():
    def tone(hz: float, rate: int) -> torch.Tensor:
        return torch.sin(2 * torch.pi * hz * torch.arange(rate, dtype=torch.float64) / rate)[None].float()

    low, high = tone(440, 32_000), tone(12_000, 32_000)
    assert torch.allclose(resample_fft(low, 32_000, 16_000), tone(440, 16_000), atol=1e-5)
    assert torch.allclose(resample_fft(tone(440, 16_000), 16_000, 32_000), low, atol=1e-5)
    assert resample_fft(high, 32_000, 16_000).abs().max() < 1e-5
    assert resample_fft(low, 32_000, 32_000) is low


def test_a_run_needs_exactly_one_end():
    with pytest.raises(UsageError, match="ends the training"):
        DistillConfig()
    with pytest.raises(UsageError, match="ends the training"):
        DistillConfig(max_segments=1, max_s=1.0)


def test_schedules():
    config = DistillConfig(max_segments=100, warmup_share=0.1, crop=((0.0, 0.5), (0.7, 1.0)))
    assert config.lr_factor(0.0) == 0 and config.lr_factor(1.0) == pytest.approx(0, abs=1e-12)
    assert config.lr_factor(0.1) == pytest.approx(0.5 * (1 + np.cos(0.1 * np.pi)))
    assert [config.crop_share(progress) for progress in (0.0, 0.69, 0.7, 1.0)] == [0.5, 0.5, 1.0, 1.0]


def test_a_teacher_agrees_with_itself(pieces):
    tagger = opinionated()
    held = HeldOut(Teachers([tagger]), pieces, clip_s=1.0, per_track=4, ranked=range(1, 10))
    (row,) = held.compare(tagger, ("F0T0",))
    assert row.top1.value > 0.9 and row.n_clips == 16  # the teacher answers in bfloat16: a near tie may turn
    assert row.top1.low <= row.top1.value <= row.top1.high
    assert row.rounded()["top1_low"] == round(row.top1.low, 3)
    assert row.mae < 0.05 and row.spearman > 0.9
    assert row.n_classes == 0 or row.map_macro.value > 0.95


def test_calibration_undoes_a_scale_and_an_offset_per_class(pieces):
    tagger = opinionated()
    teacher = Teachers([copy.deepcopy(tagger)])
    tagger.head[1].weight.mul_(0.3)
    tagger.head[1].bias.sub_(1.0)
    held = HeldOut(teacher, pieces, clip_s=1.0, per_track=4, ranked=range(10))
    (before,) = held.compare(tagger, ("F0T0",))
    calibrate(tagger, teacher, pieces, n_clips=96, clip_s=1.0, plans=("F0T0",))
    (after,) = held.compare(tagger, ("F0T0",))
    assert after.mae < 0.5 * before.mae


def opinionated() -> Tagger:
    """A random transformer whose ten scores differ from clip to clip."""
    tagger = random_tagger(replace(STUDENT, head=HeadConfig(n_classes=10), labels="classes-10")).eval()
    tagger.requires_grad_(False)
    torch.nn.init.normal_(tagger.head[1].weight, std=2.0, generator=torch.Generator().manual_seed(0))
    return tagger


def test_affine_fit_finds_the_parameters():
    logits = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0)) - 2
    wanted_scale, wanted_offset = torch.tensor([0.5, 1.0, 3.0]), torch.tensor([-1.0, 0.0, 2.0])
    scale, offset = fit_affine(logits, (logits * wanted_scale + wanted_offset).sigmoid())
    assert torch.allclose(scale, wanted_scale, rtol=0.1)
    assert torch.allclose(offset, wanted_offset, atol=0.3)


def test_a_stopped_run_is_saved_and_goes_on(pieces, tmp_path):
    asked = iter([False, False, True])
    first = distillation(pieces, tmp_path)
    first.stop = lambda: next(asked)
    assert not first.run()
    second = distillation(pieces, tmp_path)
    assert second.step == 2 and second.run() and second.segments == 32


def asked(n: int):
    """A ``stop`` that says so when it is asked for the ``n``-th time, and then on; how often, ``.times`` tells."""

    def stop() -> bool:
        stop.times += 1
        return stop.times >= n

    stop.times = 0
    return stop


def test_every_stage_asks_whether_to_stop_before_each_of_its_batches(pieces, tmp_path):
    teacher = Teachers([random_tagger(TEACHER).eval()], CLASSES)
    clips = {"clip_s": 0.4, "per_track": 12}  # two batches
    held = HeldOut(teacher, pieces, **clips)
    stages = {
        "scales": partial(distillation, pieces, tmp_path),
        "held-out music": partial(HeldOut, teacher, pieces, **clips),
        "calibration": partial(calibrate, random_tagger(STUDENT), teacher, pieces, n_clips=48, clip_s=1.0),
    }
    for name, stage in stages.items():
        stop = asked(2)
        with pytest.raises(StopAsked):
            stage(stop=stop)
        assert stop.times == 2, name
    for measure in (held.compare, partial(held.thresholds, plan="F0T0")):
        held.stop = asked(2)
        with pytest.raises(StopAsked):
            measure(random_tagger(STUDENT))


def test_a_measurement_on_the_way_gives_way_to_a_stop(pieces, tmp_path):
    def evaluate(tagger):
        work.stop = lambda: True
        raise StopAsked

    work = distillation(pieces, tmp_path, config=replace(CONFIG, n_evaluations=12), evaluate=evaluate)
    assert not work.run() and work.step == 1
    assert distillation(pieces, tmp_path).step == 1


def test_an_unknown_augmentation_names_the_known_ones(pieces, tmp_path):
    with pytest.raises(UsageError, match="gentle"):
        distillation(pieces, tmp_path, replace(CONFIG, augment="gentel"))


SECOND = replace(
    TEACHER,
    name="tiny-patches",
    frontend=FrontendConfig("musicnn"),
    backbone=MusicnnConfig(),
    head=HeadConfig(6, "linear"),
    labels="six",
    segment_s=0.5,
)


def two_teachers() -> list[Tagger]:
    torch.manual_seed(0)
    taggers = [random_tagger(TEACHER), random_tagger(SECOND, [f"tag {number}" for number in range(6)])]
    return [tagger.eval().requires_grad_(False) for tagger in taggers]


def test_several_teachers_answer_each_through_its_own_front_end():
    taggers = two_teachers()
    teachers = Teachers(taggers, (3, 5, 11, 12))
    assert teachers.owners == (0, 0, 1, 1) and len(teachers.labels) == 16
    assert learnt(teachers) == [[0, 1], [2, 3]]
    wave = torch.randn(2, 32_000) * 0.1
    logits = teachers(wave, 32_000).logits
    assert torch.allclose(logits[:, :2], Teachers(taggers[:1], (3, 5))(wave, 32_000).logits)
    halves = [resample_fft(wave, 32_000, 16_000)[:, start : start + 8000] for start in (0, 8000)]
    scores = torch.stack([taggers[1](taggers[1].frontend(half)).logits.sigmoid() for half in halves]).mean(dim=0)
    assert torch.allclose(logits[:, 2:].sigmoid(), scores[:, [1, 2]], atol=0.01)


def test_a_student_made_of_its_teacher_begins_as_it_and_learns_what_others_say(pieces, tmp_path):
    taggers = two_teachers()
    config = replace(
        CONFIG, max_segments=80, n_hidden=16, plans=(("F0T0", 1.0), ("F0T2", 1.0)), crop=((0.0, 0.5),), log_every=2,
        lr_stem=5e-5, lr_kept=1e-4,
    )  # fmt: skip
    student = new_student(None, taggers, config, name="mine")
    assert student.labels == (*taggers[0].labels, *taggers[1].labels) and student.card.labels == JOINT
    teachers = Teachers(taggers)
    files = RunFolder(tmp_path)
    files.start(config, resume=True)
    work = Distillation(teachers, student, pieces, files, config, fresh_heads=True)
    wave = torch.from_numpy(pieces.random(np.random.default_rng(0), 3, 32_000)).float() / 32768
    mel = student.frontend(wave)
    answer = teachers(wave, 32_000)
    with torch.no_grad():
        assert torch.allclose(work.result()(mel).logits[:, :10], answer.logits[:, :10], atol=1e-3)
        losses = work.student.train().losses(Lesson(mel, (NO_REDUCTION,), answer), work.standards)
    assert losses["features"] < 1e-5 and losses["timeline"] < 1e-5
    layers = copy.deepcopy(work.student.tagger.backbone.stem.layers.state_dict())
    work.run()
    with torch.no_grad():
        learnt_now = work.student.train().losses(Lesson(mel, (NO_REDUCTION,), answer), work.standards)
    assert learnt_now["logits"] < losses["logits"] and learnt_now["ranking"] < losses["ranking"]
    after = work.student.tagger.backbone.stem.layers.state_dict()
    assert all(torch.equal(after[key], layers[key]) for key in after if "running" in key)  # its statistics stay
    assert any(not torch.equal(after[key], layers[key]) for key in after if key.endswith("weight"))


def test_layers_that_are_to_stay_do_not_move(pieces, tmp_path):
    taggers = two_teachers()[:1]
    config = replace(CONFIG, max_segments=8, width=64, lr_stem=0.0, crop=((0.0, 1.0),), n_kept=4)
    files = RunFolder(tmp_path)
    files.start(config, resume=True)
    student = new_student(None, taggers, config, name="mine")
    work = Distillation(Teachers(taggers), student, pieces, files, config)
    before = copy.deepcopy(work.student.tagger.state_dict())
    work.run()
    with torch.no_grad():  # so what they hear is kept beside the crops, in half precision
        kept = KeptLessons(work.lessons, files.kept, 1, work.student.frozen_stem)(5, 1.0)
        wanted = student.backbone.stem.layers(kept.mel[:, None])
    torch.testing.assert_close(kept.stem_map, wanted, atol=0.02, rtol=0.02)
    after = work.student.tagger.state_dict()
    moved = {key for key in after if not torch.equal(after[key], before[key])}
    assert not any(key.startswith("backbone.stem.layers.") for key in moved)
    assert any(key.startswith("backbone.stem.tail.") for key in moved)


@pytest.mark.parametrize("n_teachers", [1, 2])
def test_the_card_of_a_student_tells_of_it_and_not_of_its_teacher(n_teachers):
    taggers = two_teachers()[:n_teachers]
    about = {"summary": "a convolutional network without tokens", "page": "theirs", "code_licence": "MIT"}
    taggers[0].card = replace(taggers[0].card, **about)
    card = new_student(None, taggers, CONFIG, name="mine").card
    assert (card.family, card.backbone.depth > 0) == ("audiopatch", True)
    assert "classes of tiny-cnn" in card.summary and "convolutional" not in card.summary
    assert (card.page, card.code_licence, card.licence) == ("", "Apache-2.0", "")


def test_a_teacher_without_layers_to_keep_needs_a_named_student():
    with pytest.raises(UsageError, match="name a --student"):
        new_student(None, two_teachers()[1:], CONFIG, name="mine")
