"""Pictures of a training run: its curves, and the block × token map of a probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_curves(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Rows of metrics.jsonl -> a PNG: training loss by step, validation figures by epoch."""
    steps = [row for row in rows if row["kind"] == "step"]
    epochs = [row for row in rows if row["kind"] == "epoch"]
    names = [name for name in (epochs[0] if epochs else {}) if name.startswith("valid_")]
    figure = _figure(figsize=(9.0 if names else 4.5, 3.6))
    axes = figure.subplots(1, 2 if names else 1, squeeze=False)[0]
    axes[0].plot([row["step"] for row in steps], [row["loss"] for row in steps], lw=0.8, alpha=0.5, label="step")
    axes[0].plot([row["step"] for row in epochs], [row["train_loss"] for row in epochs], "o-", ms=3, label="epoch mean")
    axes[0].set(xlabel="step", ylabel="training loss")
    axes[0].legend(frameon=False)
    for name in names:
        values = [row[name] for row in epochs]
        axes[1].plot([row["epoch"] + 1 for row in epochs], values, "o-", ms=3, label=name.removeprefix("valid_"))
    if names:
        axes[1].set(xlabel="epoch", ylabel="validation", ylim=(0, 1.02))
        axes[1].xaxis.get_major_locator().set_params(integer=True)
        axes[1].legend(frameon=False)
    figure.savefig(path, dpi=120)


def plot_distillation(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Rows of a distillation's metrics.jsonl -> a PNG: losses, and held-out agreement by plan, over training crops."""
    steps = [row for row in rows if row["kind"] == "step"]
    figure = _figure(figsize=(9.0, 3.6))
    losses, agreement = figure.subplots(1, 2)
    for name in ("logits", "ranking", "features", "timeline"):
        heard = [row for row in steps if name in row]  # some teachers have no time line
        if heard:
            losses.plot([row["segments"] for row in heard], [row[name] for row in heard], lw=1, label=name)
    for plan in dict.fromkeys(row["plan"] for row in rows if row["kind"] == "held-out"):
        mine = [row for row in rows if row.get("plan") == plan]
        at = [row["segments"] for row in mine]
        (line,) = agreement.plot(at, [row["top1"] for row in mine], "o-", ms=3, label=f"{plan} top-1")
        agreement.plot(at, [row["map_macro"] for row in mine], "o--", ms=3, color=line.get_color(), label=f"{plan} mAP")
    losses.set(xlabel="crops", ylabel="training loss", ylim=(0, None))
    agreement.set(xlabel="crops", ylabel="agreement with the teacher, held out", ylim=(0, 1))
    for axes in (losses, agreement):
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def plot_probe_map(grid: pd.DataFrame, path: Path, *, value: str = "valid_map_macro") -> pd.DataFrame:
    """The best setting of every block × tokens as a heat map (MAEST, figure 2); returns the table it shows."""
    table = grid.pivot_table(index="tokens", columns="block", values=value, aggfunc="max", sort=False)
    table = table.reindex(columns=sorted(table.columns))
    figure = _figure(figsize=(1.8 + 0.62 * table.shape[1], 1.4 + 0.42 * table.shape[0]))
    axes = figure.subplots()
    image = axes.imshow(table, aspect="auto", cmap="viridis")
    axes.set_xticks(range(table.shape[1]), [str(block) for block in table.columns])
    axes.set_yticks(range(table.shape[0]), list(table.index))
    axes.set(xlabel="block", ylabel="tokens")
    middle = np.nanmean([np.nanmin(table), np.nanmax(table)])
    for row, column in np.ndindex(*table.shape):
        number = table.iat[row, column]
        color = "white" if number < middle else "black"
        axes.text(column, row, f"{100 * number:.1f}", ha="center", va="center", fontsize=8, color=color)
    figure.colorbar(image, ax=axes, label=value.removeprefix("valid_"))
    figure.savefig(path, dpi=120)
    return table


def _figure(**size: Any) -> Figure:
    """A figure without a display; matplotlib is imported here, where it is used."""
    from matplotlib.figure import Figure

    return Figure(**size, layout="constrained")
