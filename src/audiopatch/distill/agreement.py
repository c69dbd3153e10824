"""How well a student agrees with its teacher on music that neither was trained on: the table of a model card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audiopatch.distill.augment_wave import resample_fft
from audiopatch.distill.pieces import Pieces
from audiopatch.distill.stopping import never, until
from audiopatch.distill.teacher import Teachers
from audiopatch.distill.vocabulary import Together
from audiopatch.evaluation.bootstrap import Interval, Weighted, interval, weighted_map
from audiopatch.evaluation.metrics import expected_thresholds
from audiopatch.models.config import TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.fixed import FixedPatchout
from audiopatch.reducers.plan import parse_plan

PLANS = ("F0T0", "F0T2", "F3T0", "F3T2", "F4T10")
POSITIVE, MIN_POSITIVES = 0.3, 3
SURE = 0.2


@dataclass(frozen=True)
class Agreement:
    """One plan's figures over ``n_clips`` clips; the intervals are of bootstraps over whole tracks.

    ``top1``         share of clips whose best-scored class is the teacher's, among the ``ranked`` classes
    ``map_macro``    mean average precision against the teacher's score > 0.3, over the ``n_classes`` classes that have
                     at least three such clips (and one without); with so few it moves by hundredths for a clip more
    ``spearman``     rank correlation of scores over clips, mean over the classes that move at all
    ``mae``          mean absolute difference of scores, over all classes
    ``bias``         mean score minus the teacher's, over clips and classes that the teacher scores above 0.3
    """

    plan: str
    n_clips: int
    top1: Interval
    map_macro: Interval
    n_classes: int
    spearman: float
    mae: float
    bias: float

    def rounded(self) -> dict[str, str | int | float]:
        """Plain figures; of an interval three, as ``top1``, ``top1_low`` and ``top1_high``."""
        row: dict[str, str | int | float] = {}
        for name, value in vars(self).items():
            if isinstance(value, Interval):
                row |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
            else:
                row[name] = value
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}


class HeldOut:
    """Fixed clips of held-out pieces with the teachers' scores for them, to hold any student against.

    ``columns`` are the student's logits that answer to the teachers' classes, by default all of them. ``ranked`` are
    the numbers (among these) that compete for the top place: by default without those that the teacher hears in more
    than half of the clips, such as "Music". With an ``overlap`` the clips of a track are neighbours, as for ``tag``.
    Whatever it computes ends as StopAsked where ``stop`` says so between two batches.
    """

    def __init__(
        self,
        teachers: Teachers | Together,
        pieces: Pieces,
        *,
        clip_s: float = 10.0,
        per_track: int = 3,
        columns: Sequence[int] | None = None,
        ranked: Sequence[int] | None = None,
        overlap: float | None = None,
        stop: Callable[[], bool] = never,
    ):
        self.stop = stop
        self.sample_rate: int = pieces.sample_rate
        self.device: torch.device = teachers.device
        self.columns = slice(None) if columns is None else list(columns)
        n_samples = round(clip_s * pieces.sample_rate)
        if overlap is None:
            self.clips, self.tracks = pieces.spread(n_samples, per_track=per_track)
        else:
            self.clips, self.tracks = pieces.in_a_row(n_samples, overlap=overlap, per_track=per_track)
        answers = [teachers(wave, self.sample_rate).logits for wave in self._waves()]
        self.scores = torch.cat(answers).sigmoid().cpu().numpy()
        usual = (self.scores > POSITIVE).mean(axis=0) > 0.5
        self.ranked = np.flatnonzero(usual.all() | ~usual) if ranked is None else np.asarray(ranked)

    @property
    def commonest(self) -> float:
        """The top-1 agreement of an answer that is always the same: what any student must beat."""
        best = self.scores[:, self.ranked].argmax(axis=1)
        return float(np.bincount(best).max() / len(best))

    def compare(self, student: Tagger, plans: Sequence[str] = PLANS) -> list[Agreement]:
        """One row per plan that leaves something of the student's grid."""
        found = self._answers(student, plans_for(student, plans))
        return [self._agreement(plan, scores) for plan, scores in found.items()]

    def thresholds(self, student: Tagger, plan: str) -> dict[str, float]:
        """Label -> the score from which on it is meant of a whole track, whose clips' scores are averaged.

        Nobody labelled these tracks, so the teachers' scores are taken for what they are meant as: the chance that the
        label holds. The threshold is that of best expected F1 over tracks (Lipton et al. 2014); a label of which even
        that is below ``SURE`` is hardly ever heard here, and counts from ``POSITIVE`` on.
        """
        chances = self._by_track(self.scores)
        scores = self._by_track(self._answers(student, (plan,))[plan])
        best, f1 = expected_thresholds(chances, scores)
        labels = [student.labels[number] for number in np.arange(len(student.labels))[self.columns]]
        values = np.where(f1 >= SURE, best, POSITIVE)
        return {label: round(float(value), 4) for label, value in zip(labels, values, strict=True)}

    def _by_track(self, scores: np.ndarray) -> np.ndarray:
        """scores (clips, classes) -> (tracks, classes)"""
        return np.stack([scores[self.tracks == track].mean(axis=0) for track in np.unique(self.tracks)])

    @torch.no_grad()
    def _answers(self, student: Tagger, plans: Sequence[str]) -> dict[str, np.ndarray]:
        """plan -> scores (clips, classes)."""
        frontend = student.frontend
        logits: dict[str, list[Tensor]] = {plan: [] for plan in plans}
        for wave in self._waves():
            mel = frontend(resample_fft(wave, self.sample_rate, frontend.sample_rate))
            for plan in plans:
                logits[plan].append(student(mel, parse_plan(plan)).logits[:, self.columns].float().cpu())
        return {plan: torch.cat(parts).sigmoid().numpy() for plan, parts in logits.items()}

    def _waves(self, batch_size: int = 24) -> Iterator[Tensor]:
        batches = np.array_split(self.clips, max(1, len(self.clips) // batch_size))
        for clips in until(self.stop, batches):
            yield torch.from_numpy(clips).to(self.device).float() / 32768

    def _agreement(self, plan: str, scores: np.ndarray) -> Agreement:
        from scipy.stats import rankdata

        truth = self.scores > POSITIVE
        counted = self._counted
        right = scores[:, self.ranked].argmax(axis=1) == self.scores[:, self.ranked].argmax(axis=1)
        moving = np.flatnonzero((np.ptp(self.scores, axis=0) > 0) & (np.ptp(scores, axis=0) > 0))
        correlations = [np.corrcoef(rankdata(self.scores[:, c]), rankdata(scores[:, c]))[0, 1] for c in moving]
        return Agreement(
            plan=plan,
            n_clips=len(scores),
            top1=self._interval(lambda weights: float(right @ weights / weights.sum())),
            map_macro=self._interval(weighted_map(truth[:, counted], scores[:, counted])),
            n_classes=len(counted),
            spearman=float(np.mean(correlations)) if correlations else float("nan"),
            mae=float(np.abs(scores - self.scores).mean()),
            bias=float((scores - self.scores)[truth].mean()) if truth.any() else float("nan"),
        )

    def _interval(self, figure: Weighted) -> Interval:
        return interval(figure, len(self.clips), groups=self.tracks)

    @property
    def _counted(self) -> np.ndarray:
        """The numbers of the classes whose precision can be told."""
        n_positives = (self.scores > POSITIVE).sum(axis=0)
        return np.flatnonzero((n_positives >= MIN_POSITIVES) & (n_positives < len(self.scores)))


def plans_for(student: Tagger, plans: Sequence[str]) -> list[str]:
    """Those of ``plans`` that leave a row of its grid: the patches of CED have four rows, those of Dasheng one."""
    backbone = student.card.backbone
    assert isinstance(backbone, TransformerConfig)  # as every student is
    n_rows = backbone.grid[0]
    dropped = {plan: parse_plan(plan).get(0) for plan in plans}
    return [
        plan
        for plan, reducer in dropped.items()
        if not isinstance(reducer, FixedPatchout) or len(reducer.dropped_rows(n_rows)) < n_rows
    ]


def as_scores(rows: Sequence[Agreement]) -> dict[str, float]:
    """For a model card: figure and plan -> value."""
    return {
        f"{words} at {row.plan} (with its teacher on held-out music)": round(value, 4)
        for row in rows
        for words, value in (
            ("top-1 agreement", row.top1.value),
            ("macro mAP", row.map_macro.value),
            ("mean absolute error", row.mae),
        )
    }


def as_table(rows: Sequence[Agreement]) -> list[str]:
    """Lines of Markdown, a row per plan."""
    heads = ("plan", "top-1 agreement", f"macro mAP, {rows[0].n_classes} classes", "Spearman", "MAE", "bias above 0.3")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        sure = (f"{each.value:.3f} ({each.low:.2f}–{each.high:.2f})" for each in (row.top1, row.map_macro))
        lines.append(f"| {row.plan} | {' | '.join(sure)} | {row.spearman:.3f} | {row.mae:.4f} | {row.bias:+.3f} |")
    return lines
