"""Pictures of an evaluation: classes, confusion, reliability. Each is a PNG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from audiopatch import metrics

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
