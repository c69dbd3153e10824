"""One vocabulary out of several: what the teachers say together, and a student's head that says the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from audiopatch.distill.config import DistillConfig
from audiopatch.distill.lessons import Lesson
from audiopatch.distill.student import Student, new_student, starts_heads_anew
from audiopatch.distill.teacher import Standards, Teachers
from audiopatch.distill.vocabulary import MUSIC, Mixing, Together, in_vocabulary, names_in, tags_of
from audiopatch.errors import UsageError
from audiopatch.models.card import ModelCard
from audiopatch.models.config import FrontendConfig, HeadConfig, MobileNetConfig, MusicnnConfig
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import parse_plan
from audiopatch.zoo import native
from audiopatch.zoo.labels import load_labels
from audiopatch.zoo.load import random_tagger

FIRST = ModelCard(
    "first", "efficientat", FrontendConfig("passt"), MobileNetConfig(0.1), HeadConfig(527, "mlp", n_hidden=16),
    labels="audioset", segment_s=1.0,
)  # fmt: skip
SECOND = replace(
    FIRST, name="second", frontend=FrontendConfig("musicnn"), backbone=MusicnnConfig(), head=HeadConfig(50, "linear"),
    labels="msd_top50",
)  # fmt: skip


def taggers() -> list[Tagger]:
    torch.manual_seed(0)
    made = [random_tagger(FIRST), random_tagger(SECOND)]
    for tagger in made:
        list(tagger.head.modules())[-1].weight.data.normal_(std=0.5)
    return [tagger.eval().requires_grad_(False) for tagger in made]


def measured() -> tuple[Teachers, Mixing, torch.Tensor]:
    teachers = Teachers(taggers())
    logits = torch.randn(400, 577) * torch.linspace(0.5, 3, 577) - torch.linspace(0, 8, 577)
    return teachers, Mixing.measure(teachers, logits), logits


def test_the_label_of_several_names_is_one_and_each_teacher_keeps_its_own_order_of_labels():
    teachers, mixing, logits = measured()
    said, rock = mixing(logits), mixing.labels.index("Genre---Rock music")
    assert mixing.label_set == MUSIC and "Genre---rock" not in mixing.labels
    own = logits[:, teachers.labels.index("Rock music")]
    other = logits[:, 527 + load_labels("msd_top50").index("rock")]
    alone = mixing.labels.index("Instrument---Harp")
    assert torch.equal(said[:, alone], logits[:, teachers.labels.index("Harp")])
    theirs = [place for place, row in enumerate(mixing.matrix) if (row[527:] != 0).any() and not (row[:527] != 0).any()]
    single = [place for place in theirs if (mixing.matrix[place] != 0).sum() == 1]
    assert len(single) > 5
    factors = torch.stack([mixing.matrix[place].max() for place in single])
    assert torch.allclose(factors, factors[:1].expand_as(factors))  # one factor and one offset for all that it knows
    assert torch.allclose(mixing.offset[single], mixing.offset[single[:1]].expand(len(single)))
    both = 0.6 * own + 0.4 * factors[0] * other
    assert torch.corrcoef(torch.stack([said[:, rock], both]))[0, 1] > 0.999
    spread = 0.6 * own.std() + 0.4 * factors[0] * other.std()
    assert torch.allclose(said[:, rock].std(), spread, rtol=1e-3)


def test_labels_that_one_teacher_knows_are_there_and_what_holds_for_everything_is_no_tag():
    _, mixing, _ = measured()
    assert {"Era---80s", "Mood---Chill", "Genre---Gospel music", "Voice---Female singing"} <= set(mixing.labels)
    assert "Mood---Slow" not in mixing.labels  # MagnaTagATune's, who is not asked here
    tags = {mixing.labels[number] for number in tags_of(mixing.labels)}
    assert {"Music", "Speech", "Silence"} == set(mixing.labels) - tags


def test_a_students_head_says_what_its_logits_mix_to():
    teachers, mixing, _ = measured()
    config = DistillConfig(max_segments=1, width=64, n_hidden=8)
    student = new_student(None, teachers.taggers, config, name="mine").eval()
    made = in_vocabulary(student, mixing)
    assert made.labels == mixing.labels and made.card.labels == MUSIC and made.card.head.kind == "mlp"
    wave = torch.randn(2, 32_000) * 0.1
    mel = student.frontend(wave)
    with torch.no_grad():
        assert torch.allclose(made(mel).logits, mixing(student(mel).logits), atol=1e-3)
        first = Together(teachers, mixing)(wave, 32_000).logits
    assert first.shape == (2, len(mixing.labels))


def test_a_finished_student_goes_on_with_all_but_its_last_layers(tmp_path):
    teachers, mixing, _ = measured()
    config = DistillConfig(max_segments=1, width=64, n_hidden=8)
    student = new_student(None, teachers.taggers, config, name="mine").eval()
    for parameter in student.parameters():
        parameter.requires_grad_(False).add_(0.01 * torch.randn(parameter.shape))
    native.save(in_vocabulary(student, mixing), tmp_path / "model", dtype=torch.float32)
    again = new_student(str(tmp_path / "model"), teachers.taggers, DistillConfig(max_segments=1), name="mine").eval()
    first = teachers.taggers[0]
    assert starts_heads_anew(str(tmp_path / "model"), first) and not starts_heads_anew("random/mn04_as", first)
    mel = student.frontend(torch.randn(2, 32_000) * 0.1)
    with torch.no_grad():
        before, after = student.backbone(mel).pooled, again.backbone(mel).pooled
        assert torch.allclose(before, after, atol=1e-5)
        for name, head in student.head.heads.items():
            inputs = before[:, : student.head.n_inputs[name]]
            assert torch.allclose(head[0](inputs), again.head.heads[name][0](inputs), atol=1e-4)
    with pytest.raises(UsageError, match="did not learn from these teachers"):
        new_student(str(tmp_path / "model"), teachers.taggers[:1], config, name="mine")


def test_a_finished_student_may_learn_from_a_finished_one(tmp_path):
    """Then it is a student as any other: with that one's labels, and all of its own weights."""
    teachers, mixing, _ = measured()
    config = DistillConfig(max_segments=1, width=64, n_hidden=8)
    made = in_vocabulary(new_student(None, teachers.taggers, config, name="mine"), mixing).eval().requires_grad_(False)
    native.save(made, tmp_path / "model", dtype=torch.float32)
    again = new_student(str(tmp_path / "model"), [made], config, name="again").eval()
    assert not starts_heads_anew(str(tmp_path / "model"), made) and again.labels == made.labels
    mel = made.frontend(torch.randn(2, 32_000) * 0.1)
    teacher, learner = Teachers([made]), Student(again.requires_grad_(True), Teachers([made]))
    answer = teacher(torch.randn(2, 32_000) * 0.1, 32_000)
    losses = learner.losses(Lesson(mel, (parse_plan("F0T2"),), answer), Standards.measure([answer]))
    assert {"features", "timeline", "logits"} <= set(losses)
    assert all(loss.isfinite() for loss in losses.values())


def test_vocabularies_without_a_common_set_are_joined_by_name():
    first = random_tagger(replace(FIRST, labels=""), [f"a {number}" for number in range(527)])
    second = random_tagger(replace(SECOND, labels=""), [f"b {number}" for number in range(50)])
    second.labels = ("a 3", *second.labels[1:])
    teachers = Teachers([first, second])
    mixing = Mixing.measure(teachers, torch.randn(50, 577))
    assert len(mixing.labels) == 576 and mixing.label_set == ""
    assert (mixing.matrix[mixing.labels.index("a 3")] != 0).sum() == 2
    assert names_in(second, "a 3") == ("a 3",) and names_in(second, "a 4") == ()
