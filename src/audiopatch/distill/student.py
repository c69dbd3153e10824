"""The student: its network, the extra outputs that distillation trains, and a start that learns fast."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.distill.config import DistillConfig
from audiopatch.distill.lessons import Lesson
from audiopatch.distill.teacher import Answer, Standards, Teachers
from audiopatch.distill.vocabulary import take_parts_of
from audiopatch.errors import UsageError
from audiopatch.models.card import ModelCard
from audiopatch.models.config import MobileNetConfig, TransformerConfig
from audiopatch.models.features import Features
from audiopatch.models.heads import JointHead
from audiopatch.models.stem import ConvolutionalStem
from audiopatch.models.student import stem_student, without_ends_for_whole_maps
from audiopatch.models.tagger import Tagger
from audiopatch.tokens import MelPatches, TokenGrid
from audiopatch.zoo.labels import group_of, load_terms, split_label
from audiopatch.zoo.load import random_tagger, read_model

JOINT = "joint"  # the label set of a student with the logits of several teachers, one after the other


class Student(nn.Module):
    """A Tagger with one logit per class of its teachers, and what else distillation trains.

    It learns the first teacher's clip features, and those along time, as dense supervision: every column of patches
    that survives patchout has a target of its own. A student that kept its teacher's layers has both already; to any
    other two linear outputs are added, which are scaffolding: only the Tagger is exported.
    """

    def __init__(self, tagger: Tagger, teachers: Teachers, *, others: float = 1.0):
        super().__init__()
        self.tagger = tagger
        backbone = tagger.card.backbone
        assert isinstance(backbone, TransformerConfig)  # as every student is
        self.keeps_layers: bool = isinstance(tagger.head, JointHead)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as ``Teachers`` are
        self._groups = [
            (1.0 if number == 0 else others, torch.tensor(classes, device=teachers.device))
            for number, classes in enumerate(learnt(teachers, everything=not self.keeps_layers))
            if classes
        ]
        if not self.keeps_layers:
            self.to_features: nn.Linear = nn.Linear(backbone.n_features, teachers.n_features)
            self.to_timeline: nn.Linear = nn.Linear(backbone.n_along, teachers.n_along)

    @torch.no_grad()
    def start_as_part(self, standards: Standards) -> None:
        """The two outputs of a network cut out of its teacher start from the features that it has of that."""
        pairs = (self.to_features, standards.features), (self.to_timeline, standards.timeline)
        for layer, standard in pairs:
            nn.init.eye_(layer.weight)
            nn.init.zeros_(layer.bias)
            standard.do_in(layer)

    def train(self, mode: bool = True) -> Self:
        """Layers taken from a teacher keep its statistics: they hold for every plan, as those of a batch would not."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d | nn.Dropout):
                module.eval()
        if self.frozen_stem is not None:
            self.frozen_stem.eval()  # as fast as at inference
        return self

    @property
    def frozen_stem(self) -> nn.Sequential | None:
        """The layers before the blocks, where the student has such of its teacher's and they do not learn."""
        if not self.keeps_layers:
            return None
        layers = cast(ConvolutionalStem, self.tagger.backbone.stem).layers
        return None if any(parameter.requires_grad for parameter in layers.parameters()) else layers

    def losses(self, lesson: Lesson, standards: Standards) -> dict[str, Tensor]:
        """Errors, each the mean over the lesson's plans.

        The squared ones are in standards, about 1 at the start. "ranking" compares whole answers instead of single
        classes: the divergence between the two softmaxes over a teacher's classes in its own units (Hinton et al.
        2015), which minds most what the teacher is sure of. "scores" is the divergence of the classes' own yes and no,
        summed over classes.
        """
        known = self._in_context(lesson)
        wanted = standards(lesson.answer)
        heard = (self.tagger.backbone(lesson.mel, plan, stem_map=known) for plan in lesson.plans)
        found = [self._losses(features, lesson.answer, wanted, standards) for features in heard]
        return {name: torch.stack([losses[name] for losses in found]).mean() for name in found[0]}

    def _in_context(self, lesson: Lesson) -> Tensor | None:
        """What a stem hears, once for all plans."""
        if not self.keeps_layers:
            return None
        stem: Any = self.tagger.backbone.stem
        grid = lesson.stem_map
        if grid is None:
            with torch.set_grad_enabled(self.frozen_stem is None):
                grid = stem.layers(lesson.mel[:, None])
        return stem.in_context(grid)

    def _losses(self, features: Features, answer: Answer, wanted: Answer, standards: Standards) -> dict[str, Tensor]:
        tokens = features.tokens
        assert tokens is not None  # every student is a transformer
        logits = self.tagger.head(features.pooled).float()
        said, meant = standards.logits.undo(logits), answer.logits
        found = {
            "logits": self._over(lambda c: _squared(logits[:, c], wanted.logits[:, c])),
            "ranking": self._over(lambda c: _divergence(said[:, c], meant[:, c])),
            "scores": self._over(lambda c: _binary_divergence(said[:, c], meant[:, c])),
        }
        pooled = features.pooled[:, : answer.features.shape[1]].float()
        pooled = standards.features(pooled) if self.keeps_layers else self.to_features(features.pooled).float()
        found["features"] = _squared(pooled, wanted.features)
        if wanted.timeline is not None and tokens.layout is not None:
            said, place = self._columns(features, tokens, standards, wanted.timeline.shape[2])
            found["timeline"] = _squared(said, _at_places(wanted.timeline, place))
        return found

    def _over(self, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """The teachers' mean loss, weighted."""
        total = sum(weight for weight, _ in self._groups)
        return torch.stack([weight / total * loss(classes) for weight, classes in self._groups]).sum()

    def _columns(
        self, features: Features, tokens: TokenGrid, standards: Standards, length: int
    ) -> tuple[Tensor, Tensor]:
        """What it says along time (B, K, E), and about which places (K,) on the teacher's time line of ``length``: the
        middles of the columns that were kept, or every second of them where a tail halves them."""
        n_rows, n_cols = tokens.rectangle()
        column = tokens.cell[0].unflatten(0, (n_rows, n_cols))[0] % tokens.full[1]
        if features.map is None:
            along, place, n_places = tokens.as_grid(), column, tokens.full[1]
        else:
            along, place, n_places = features.map, column[::2] / 2, math.ceil(tokens.full[1] / 2)
        along = along.mean(dim=2).transpose(1, 2)
        said = standards.timeline(along.float()) if self.keeps_layers else self.to_timeline(along).float()
        return said, (place + 0.5) / n_places * length - 0.5


_BEND = 2.0  # standard deviations from which an error counts linearly: a few wild targets must not rule the loss


def _squared(said: Tensor, wanted: Tensor) -> Tensor:
    return 2 * F.huber_loss(said, wanted, delta=_BEND)


def _divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler, from the softmax over classes of ``target`` (B, C) to that of ``logits``; mean over clips."""
    return F.kl_div(logits.log_softmax(1), target.log_softmax(1), log_target=True, reduction="batchmean")


def _binary_divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler between the sigmoids, summed over classes; mean over clips."""
    yes = target.sigmoid()
    gap = F.binary_cross_entropy_with_logits(logits, yes, reduction="none")
    return (gap - F.binary_cross_entropy_with_logits(target, yes, reduction="none")).sum(dim=1).mean()


def _at_places(timeline: Tensor, place: Tensor) -> Tensor:
    """timeline (B, E, T) -> (B, K, E) at the places (K,), between two of its columns where need be."""
    left = place.floor().long().clamp(0, timeline.shape[2] - 2)
    weight = (place - left).clamp(0, 1).to(timeline.dtype)
    return torch.lerp(timeline[:, :, left], timeline[:, :, left + 1], weight).transpose(1, 2)


@torch.no_grad()
def start_well(tagger: Tagger, mel: Tensor) -> None:
    """Initialise a transformer so that it learns from few segments; mel (B, n_mels, frames) is a sample of its input.

    Patches become their whitened principal components (a random filter bank sees little but loudness, for neighbouring
    mel bins move together), positions are sinusoids, and every block starts as the identity.
    """
    config = tagger.card.backbone
    backbone: Any = tagger.backbone
    if not isinstance(config, TransformerConfig) or config.positions != "split":
        raise UsageError("the student must be a transformer with split positions, such as MAEST or PaSST")
    dim = config.dim
    patches = MelPatches(mel, config.patch_size, config.patch_stride).values.flatten(0, 2).flatten(1)
    mean = patches.mean(dim=0)
    variance, axes = torch.linalg.eigh(torch.cov((patches - mean).T))
    keep = variance.argsort(descending=True)[:dim]
    filters = (axes[:, keep] / (variance[keep] + 1e-2 * variance.mean()).sqrt()).T  # (D, h * w)
    projection = backbone.patch_embed.proj
    projection.weight[: len(filters)] = filters.unflatten(1, (1, *config.patch_size))
    projection.weight[len(filters) :] = 0
    projection.bias[: len(filters)] = -filters @ mean
    projection.bias[len(filters) :] = 0
    rows, cols = config.grid
    backbone.freq_new_pos_embed.copy_(_sinusoids(rows, dim).T[None, :, :, None] * 0.5)
    backbone.time_new_pos_embed.copy_(_sinusoids(cols, dim).T[None, :, None, :] * 0.2)
    for block in backbone.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


def _sinusoids(length: int, dim: int) -> Tensor:
    """(length, dim): sines and cosines, 4 to 4 x length places long (after Vaswani et al. 2017, section 3.5)."""
    wavelength = 4 * length ** torch.linspace(0, 1, dim // 2)
    angle = 2 * torch.pi * torch.arange(length)[:, None] / wavelength
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def new_student(student: str | None, taggers: Sequence[Tagger], config: DistillConfig, *, name: str) -> Tagger:
    """The network that learns from ``taggers``, on their device, with a logit for each class of theirs that it takes.

    By default the first teacher itself, which must be a MobileNet, with transformer blocks put in; or, where
    ``student`` is what such a run made, like the default model, that one, all but the last layers of its heads learnt.
    Else the architecture of ``student``, a model or a card.json: it goes on from that model's weights where the
    teachers know all of its classes. Else it takes theirs and starts from random weights, as ``random/NAME`` and a
    card.json do.
    """
    before = None if student is None else _read(student)
    first, *others = taggers
    goes_on = before is not None and _goes_on(before, first)
    names = " and ".join(tagger.card.name for tagger in taggers)
    about = {
        "name": name,
        "licence": "",
        "code_licence": "Apache-2.0",
        "page": "",
        "paper": f"distilled from {names} by function matching (Beyer et al. 2022)",
    }
    if before is None or goes_on:
        if not isinstance(first.card.backbone, MobileNetConfig):
            raise UsageError(f"{first.card.name} is no MobileNet to put transformer blocks in; name a --student")
        heads = {tagger.card.name: tagger.labels for tagger in others}
        sizes = {size: getattr(config, size) for size in ("width", "n_blocks", "n_layers", "context", "n_hidden")}
        if before and goes_on:
            sizes = _sizes_of(before, first, len(others))
        made = stem_student(first, heads=heads, **sizes)
        label_set = JOINT if others else first.card.labels
        made.card = replace(made.card, labels=label_set, summary=_summary(len(made.labels), names), **about)
        if before and goes_on:
            take_parts_of(_as_trained(before).to(first.device), made)
        return made
    theirs = tuple(label for tagger in taggers for label in tagger.labels)
    labels: Sequence[str] = before.labels
    known = labels == theirs or all(_at(label, theirs) is not None for label in labels)
    if not known or before.weights_sha256 == "random":
        before = _as_trained(before)
    card = replace(before.card, weights=None, scores={}, thresholds=(), multilabel=first.card.multilabel, **about)
    if not known:
        labels = theirs
        label_set = JOINT if others else first.card.labels
        card = replace(card, labels=label_set, head=replace(card.head, n_classes=len(labels)))
    card = replace(card, summary=_summary(len(labels), names))
    tagger = random_tagger(card, labels)
    if known:
        tagger.load_state_dict(before.state_dict())
        tagger.weights_sha256 = before.weights_sha256
    return tagger.to(first.device)


def _summary(n_classes: int, names: str) -> str:
    return f"{n_classes} classes of {names}, learnt from unlabelled music"


def classes_of(labels: Sequence[str], theirs: Sequence[str]) -> list[int]:
    """The numbers of ``labels`` among the teachers'; ``Genre---Rock music`` is AudioSet's ``Rock music``."""
    if tuple(labels) == tuple(theirs):
        return list(range(len(labels)))
    numbers = [_at(label, theirs) for label in labels]
    return [number for number in numbers if number is not None]


def learnt(teachers: Teachers, *, everything: bool = False) -> list[list[int]]:
    """For each teacher the numbers of its classes that count among the student's logits: of AudioSet's, the musical."""
    owners = teachers.owners
    found = []
    for number, tagger in enumerate(teachers.taggers):
        wanted = {name for term in load_terms() for name in term.sources["audioset"]}
        if everything or tagger.card.labels != "audioset":
            wanted = set(tagger.labels)
        mine = [place for place, owner in enumerate(owners) if owner == number]
        found.append([place for place in mine if teachers.labels[teachers.classes[place]] in wanted])
    return found


def ranked_of(student: Tagger, labels: Sequence[str]) -> list[int] | None:
    """The numbers of the ``labels`` that compete for the first place, where groups say so: tags, but no sounds."""
    if student.card.labels not in (JOINT, "music", "audioset", "audioset_music"):
        return None
    tags = {label for label in labels if group_of(label) not in ("", "sound") and label != "Speech"}
    return [number for number, label in enumerate(labels) if label in tags]


def starts_heads_anew(student: str | None, first: Tagger) -> bool:
    """Whether the last layers of ``new_student``'s further heads are random; those of the first know its teacher."""
    return student is None or _goes_on(_read(student), first)


def _goes_on(tagger: Tagger, first: Tagger) -> bool:
    """Whether it was made by ``vocabulary.in_vocabulary`` of such a teacher; of any other it is a student as it is."""
    backbone = tagger.card.backbone
    merged = isinstance(backbone, TransformerConfig) and backbone.stem is not None and tagger.card.head.kind == "mlp"
    return merged and isinstance(first.card.backbone, MobileNetConfig)


def _sizes_of(merged: Tagger, teacher: Tagger, n_others: int) -> dict[str, int]:
    """What ``stem_student`` was called with when ``merged`` was made."""
    backbone, head = merged.card.backbone, merged.card.head
    assert isinstance(backbone, TransformerConfig) and backbone.stem is not None
    n_hidden = (head.n_hidden - teacher.card.head.n_hidden) // max(1, n_others)
    sizes = {"width": backbone.dim, "n_blocks": backbone.depth, "n_hidden": n_hidden}
    return {**sizes, "n_layers": backbone.stem.n_layers, "context": backbone.stem.context}


def _read(student: str) -> Tagger:
    if student.endswith(".json"):
        return random_tagger(ModelCard.from_json(Path(student).expanduser().read_text(encoding="utf-8")))
    return read_model(student)


def _as_trained(tagger: Tagger) -> Tagger:
    """Without ends for whole maps, which are made of those for patchout at the end of a run from a MobileNet."""
    backbone = tagger.card.backbone
    has_ends = isinstance(backbone, TransformerConfig) and backbone.stem is not None and backbone.stem.whole
    return without_ends_for_whole_maps(tagger) if has_ends else tagger


def _at(label: str, labels: Sequence[str]) -> int | None:
    for name in (label, split_label(label).leaf):
        if name in labels:
            return labels.index(name)
    return None
