"""The rows of metrics.jsonl, the log of every kind of training run; which one a row is, its ``kind`` says."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from audiopatch.documents import MaybeNaN


class Validated(TypedDict):
    """Figures on the validation split, of those that have one; ``valid_accuracy`` where labels exclude each other."""

    valid_accuracy: NotRequired[MaybeNaN]
    valid_map_macro: NotRequired[MaybeNaN]
    valid_roc_auc_macro: NotRequired[MaybeNaN]
    valid_f1_macro: NotRequired[MaybeNaN]
    valid_f1_micro: NotRequired[MaybeNaN]


class StepRow(TypedDict):
    """An update of the weights: `step` counts them from 1, `epoch` from 0; `lr` before any layer's decay."""

    step: int
    kind: Literal["step"]
    epoch: int
    loss: MaybeNaN
    lr: float


class EpochRow(Validated):
    """An epoch's end: its mean loss, its patchout, its figures on the validation split where there is one."""

    step: int
    kind: Literal["epoch"]
    epoch: int
    train_loss: MaybeNaN
    plan: str
    seconds: float


class SwaRow(Validated):
    """A run's end: figures of the averaged weights; `epoch` is how many there were."""

    step: int
    kind: Literal["swa"]
    epoch: int


class ProbeRow(Validated):
    """A probe of one block and its tokens with one setting, at its best epoch.

    Block 0 is the network's own features. `valid_log_score`, the mean log score of the right answers, decides
    between equal figures.
    """

    step: int
    kind: Literal["probe"]
    block: int
    tokens: str
    lr: float
    weight_decay: float
    dropout: float
    epoch: int
    valid_log_score: float


class DistilledRow(TypedDict):
    """Where a distillation is: updates, crops learnt from, seconds worked."""

    step: int
    segments: int
    elapsed_s: float


class LessonsRow(DistilledRow):
    """Mean losses of a distillation's steps since the row before: each, and their weighted sum, `loss`.

    `progress` is the share of the run that is done, 0..1.
    """

    kind: Literal["step"]
    progress: float
    loss: MaybeNaN
    logits: MaybeNaN
    ranking: MaybeNaN
    scores: MaybeNaN
    features: MaybeNaN
    timeline: NotRequired[MaybeNaN]


class HeldOutRow(DistilledRow):
    """A student's agreement with a teacher on held-out clips under a patchout, with 95 % intervals.

    What the figures are is said in `audiopatch.distill.agreement`.
    """

    kind: Literal["held-out"]
    teacher: str
    plan: str
    n_clips: int
    top1: float
    top1_low: float
    top1_high: float
    map_macro: MaybeNaN
    map_macro_low: MaybeNaN
    map_macro_high: MaybeNaN
    n_classes: int
    spearman: MaybeNaN
    mae: float
    bias: MaybeNaN


LogRow = StepRow | EpochRow | SwaRow | ProbeRow | LessonsRow | HeldOutRow
