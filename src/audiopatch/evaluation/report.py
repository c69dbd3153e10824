"""An evaluation as files: evaluation.json, scores and classes as Parquet, pictures, and one HTML page."""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import pandas as pd

from audiopatch.datasets.recipe import LeftOut
from audiopatch.documents import MaybeNaN, document
from audiopatch.evaluation import metrics
from audiopatch.evaluation.bootstrap import Difference, Interval
from audiopatch.evaluation.evaluate import Evaluation, calibration, figures

FIGURES = {  # as people read them
    "accuracy": "accuracy",
    "map_macro": "mAP (macro)",
    "roc_auc_macro": "ROC-AUC (macro)",
    "f1_macro": "F1 (macro)",
    "f1_micro": "F1 (micro)",
}


FEW = 100  # clips below which a figure alone misleads
_VERY_FEW, _MOST_WRONG = 30, 200
_COLUMNS = {"support": "clips", "average_precision": "average precision", "roc_auc": "ROC-AUC", "f1": "F1"}
_ABOUT = {
    "model": "model",
    "dataset": "data set",
    "split": "part of it",
    "plan": "patchout",
    "overlap": "overlap of segments",
    "n_clips": "clips",
    "n_tracks": "tracks",
    "ece": "calibration error",
    "thresholds_from": "thresholds from",
}


class Gap(TypedDict):
    """A clip that took no part, and why."""

    path: str
    split: str
    reason: str


class Evaluated(TypedDict):
    """What evaluation.json says. ``figures`` are of clips ("clip") and, where clips share tracks, of those ("track").

    ``ece`` is the expected calibration error; ``published`` are a paper's figures for this very model, ``compared`` the
    differences to the model ``compared_to``.
    """

    model: str
    weights_sha256: str
    dataset: str
    split: str
    plan: str
    pool: str
    overlap: float
    thresholds_from: str
    compared_to: str | None
    n_clips: int
    n_tracks: int
    n_classes: int
    n_classes_map: int
    classes_without_both_outcomes: list[str]
    figures: dict[str, dict[str, Interval]]
    ece: MaybeNaN
    published: dict[str, float]
    compared: dict[str, Difference]
    left_out: list[Gap]


@dataclass(frozen=True)
class EvaluationReport:
    """What was measured. ``published`` are the paper's figures; ``compared`` the differences to another model."""

    title: str
    about: Mapping[str, Any]
    evaluation: Evaluation
    thresholds: np.ndarray
    left_out: Sequence[LeftOut] = ()
    published: Mapping[str, float] = field(default_factory=dict)
    compared: Mapping[str, Difference] = field(default_factory=dict)
    n_resamples: int = 1000

    def write(self, folder: Path) -> dict[str, Any]:
        """All files into ``folder``; returns what evaluation.json says."""
        folder.mkdir(parents=True, exist_ok=True)
        clips, tracks = self.evaluation, self.evaluation.by_track()
        classes = class_table(clips, self.thresholds)
        levels = {"clip": figures(clips, n_resamples=self.n_resamples)}
        if tracks is not clips:
            levels["track"] = figures(tracks, n_resamples=self.n_resamples)
        found = calibration(clips)
        facts = {
            **self.about,
            "n_clips": len(clips.items),
            "n_tracks": len(tracks.items),
            "n_classes": len(clips.labels),
            "n_classes_map": metrics.average_precision(clips.truth, clips.scores, clips.known).n_classes,
            "classes_without_both_outcomes": classes.label[classes.roc_auc.isna()].tolist(),
            "figures": {level: {name: asdict(value) for name, value in some.items()} for level, some in levels.items()},
            "ece": found.ece,
            "published": dict(self.published),
            "compared": {name: asdict(value) for name, value in self.compared.items()},
            "left_out": [{"path": str(gap.path), "split": gap.split, "reason": gap.reason} for gap in self.left_out],
        }
        text = json.dumps(document(facts), indent=2, ensure_ascii=False, allow_nan=False)
        (folder / "evaluation.json").write_text(text + "\n", encoding="utf-8")
        classes.to_parquet(folder / "classes.parquet", index=False)
        score_table(clips).to_parquet(folder / "scores.parquet", index=False)
        plot_classes(classes, folder / "classes.png")
        plot_reliability(found, folder / "reliability.png")
        pictures = ["classes.png", "reliability.png"]
        if not clips.multilabel:
            plot_confusion(metrics.confusion(clips.truth, clips.scores), clips.labels, folder / "confusion.png")
            pictures.insert(0, "confusion.png")
        wrong = [] if clips.multilabel else wrong_clips(clips)
        page = _page(self.title, facts, levels, classes, [folder / name for name in pictures], wrong)
        (folder / "report.html").write_text(page, encoding="utf-8")
        return facts


def of_few(n_clips: int) -> str:
    """How to take figures of so few clips, in words; "" where there are enough."""
    if n_clips >= FEW:
        return ""
    caution = "read the intervals rather than the figures" if n_clips >= _VERY_FEW else "they say little"
    return f"Only {n_clips} {'clip' if n_clips == 1 else 'clips'}: {caution}"


def class_table(evaluation: Evaluation, thresholds: np.ndarray) -> pd.DataFrame:
    """One row per class: support, average precision, ROC-AUC, F1 at the default decision, and its best threshold."""
    truth, scores, known = evaluation.truth, evaluation.scores, evaluation.known
    decided = metrics.decisions(scores, multilabel=evaluation.multilabel)
    return pd.DataFrame(
        {
            "label": evaluation.labels,
            "support": (truth * known).sum(axis=0).astype(int),
            "average_precision": metrics.average_precision(truth, scores, known).per_class,
            "roc_auc": metrics.roc_auc(truth, scores, known).per_class,
            "f1": metrics.f1(truth, decided, known).per_class,
            "threshold": thresholds,
        }
    )


def score_table(evaluation: Evaluation) -> pd.DataFrame:
    """One row per clip: path, track, true labels, best-scoring label, all scores in the order of classes.parquet."""
    best = evaluation.scores.argmax(axis=1)
    return pd.DataFrame(
        {
            "path": [str(item.path) for item in evaluation.items],
            "track": evaluation.tracks,
            "labels": [list(item.labels) for item in evaluation.items],
            "best": [evaluation.labels[index] for index in best],
            "scores": list(evaluation.scores),
        }
    )


@dataclass(frozen=True)
class WrongClip:
    """A clip whose best label is not its own: what it is, what was said, and how sure the model was of either."""

    path: str
    true: str
    said: str
    score_true: float
    score_said: float


def wrong_clips(evaluation: Evaluation) -> list[WrongClip]:
    """Single-label clips that came out as something else, the surest mistakes first."""
    labels = evaluation.labels
    found = [
        WrongClip(str(item.path), labels[true], labels[said], float(scores[true]), float(scores[said]))
        for item, scores, true, said in zip(
            evaluation.items,
            evaluation.scores,
            evaluation.truth.argmax(axis=1),
            evaluation.scores.argmax(axis=1),
            strict=True,
        )
        if true != said
    ]
    return sorted(found, key=lambda clip: clip.score_true - clip.score_said)


def _page(
    title: str,
    facts: Mapping[str, Any],
    levels: Mapping[str, Mapping[str, Interval]],
    classes: pd.DataFrame,
    pictures: Sequence[Path],
    wrong: Sequence[WrongClip],
) -> str:
    """One HTML page that needs nothing beside it."""
    about = {name: facts[key] for key, name in _ABOUT.items() if key in facts}
    about["evaluated"] = f"{date.today():%d %B %Y}"
    silent = facts["classes_without_both_outcomes"]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _rows(["", ""], [[key, _cell(value)] for key, value in about.items()]),
        "<h2>Figures</h2>",
        _figures(levels, facts["published"]),
    ]
    if caution := of_few(facts["n_clips"]):
        parts.append(f"<p>{caution}.</p>")
    if silent:
        parts.append(
            f"<p>Without both outcomes, and so not in the macro figures: {html.escape(', '.join(silent))}.</p>"
        )
    if facts["compared"]:
        heads = ["figure", "difference", "95 % interval", "p"]
        rows = [
            [
                FIGURES[name],
                f"{value['value']:+.3f}",
                f"{value['low']:+.3f} … {value['high']:+.3f}",
                f"{value['p_value']:.3f}",
            ]
            for name, value in facts["compared"].items()
        ]
        parts += [f"<h2>Against {html.escape(str(facts.get('compared_to', '')))}</h2>", _rows(heads, rows)]
    parts += ["<h2>Pictures</h2>", *(f'<img src="{_inline(path)}" alt="{path.stem}">' for path in pictures)]
    body = [[_cell(value) for value in row] for row in classes.itertuples(index=False)]
    parts += ["<h2>Classes</h2>", _rows([_COLUMNS.get(name, name) for name in map(str, classes.columns)], body)]
    if wrong:
        heads = ["clip", "is", "was taken for", "score of what it is", "of what it was taken for"]
        rows = [[_cell(value) for value in astuple(clip)] for clip in wrong[:_MOST_WRONG]]
        parts += [f"<h2>Clips it got wrong ({len(wrong)})</h2>", _rows(heads, rows)]
    if facts["left_out"]:
        gaps = [[_cell(gap["path"]), _cell(gap["split"]), _cell(gap["reason"])] for gap in facts["left_out"][:200]]
        parts += [f"<h2>Left out ({len(facts['left_out'])})</h2>", _rows(["path", "split", "reason"], gaps)]
    return _HTML.format(title=html.escape(title), body="\n".join(parts))


def _figures(levels: Mapping[str, Mapping[str, Interval]], published: Mapping[str, float]) -> str:
    heads = ["figure", *(f"by {level}" for level in levels), *(["published"] if published else [])]
    rows = []
    for name in next(iter(levels.values())):
        cells = [_interval(levels[level][name]) for level in levels]
        said = [f"{published[name]:.3f}" if name in published else ""] if published else []
        rows.append([FIGURES[name], *cells, *said])
    return _rows(heads, rows)


def _interval(found: Interval) -> str:
    span = f" <small>{found.low:.3f} … {found.high:.3f}</small>" if math.isfinite(found.low) else ""
    return f"{found.value:.3f}{span}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3f}"
    return html.escape(str(value))


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _inline(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


_HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; margin: .5rem 0 }} td, th {{ padding: .15rem .8rem .15rem 0; text-align: left }}
th {{ border-bottom: 1px solid #999 }} td + td {{ font-variant-numeric: tabular-nums }} small {{ color: #777 }}
img {{ max-width: 100%; margin: .5rem 0; display: block }} h2 {{ margin-top: 2rem }}
.wide {{ overflow-x: auto }} td {{ overflow-wrap: anywhere; min-width: 3rem }}
</style></head><body>
{body}
</body></html>
"""


if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 40  # classes shown at once


def plot_classes(classes: pd.DataFrame, path: Path) -> None:
    """Average precision per class (rows of the per-class table), the best on top; the extremes where there are many."""
    ranked = classes.dropna(subset=["average_precision"]).sort_values("average_precision", ascending=False)
    if len(ranked) > _MOST:
        ranked = pd.concat([ranked.head(_MOST // 2), ranked.tail(_MOST // 2)])
    ranked = ranked.iloc[::-1]
    figure = _figure(figsize=(6.4, 1.0 + 0.22 * max(4, len(ranked))))
    axes = figure.subplots()
    axes.barh(range(len(ranked)), ranked["average_precision"], color="#4878a8")
    axes.set_yticks(
        range(len(ranked)), [f"{label} ({n})" for label, n in zip(ranked.label, ranked.support, strict=True)]
    )
    axes.tick_params(axis="y", labelsize=8)
    axes.set(xlabel="average precision", xlim=(0, 1), ylim=(-0.6, len(ranked) - 0.4))
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=120)


def plot_confusion(counts: np.ndarray, labels: tuple[str, ...], path: Path) -> None:
    """counts (C, C), rows true, columns predicted; shaded by share of the true class."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(14.0, 2.2 + 0.34 * len(labels))
    figure = _figure(figsize=(size + 0.8, size))
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    size_pt = 8 if len(labels) <= 25 else 5
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=size_pt)
    axes.set_yticks(range(len(labels)), labels, fontsize=size_pt)
    axes.set(xlabel="predicted", ylabel="true")
    if len(labels) <= 25:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    figure.savefig(path, dpi=120)


def plot_reliability(found: metrics.Calibration, path: Path) -> None:
    """Share of positives against score, and how many decisions each bin holds."""
    figure = _figure(figsize=(4.6, 4.8))
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    full = found.count > 0
    top.plot([0, 1], [0, 1], "--", color="gray", lw=1, label="calibrated")
    top.plot(found.score[full], found.positive_rate[full], "o-", color="#4878a8", label=f"model (ECE {found.ece:.3f})")
    top.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    top.legend(frameon=False, loc="lower right")
    edges = np.linspace(0, 1, len(found.count) + 1)
    bottom.bar(edges[:-1], found.count, width=np.diff(edges), align="edge", color="#4878a8", alpha=0.6)
    bottom.set(xlabel="score", ylabel="decisions", yscale="log")
    figure.savefig(path, dpi=120)


def _figure(**size: Any) -> Figure:
    """A figure without a display; matplotlib is imported here, where it is used."""
    from matplotlib.figure import Figure

    return Figure(**size, layout="constrained")
