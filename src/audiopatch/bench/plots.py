"""Quality against throughput, as in figure 3 of the MAEST paper: which settings are worth their time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audiopatch.bench.measure import pareto_front
from audiopatch.bench.run import BenchReport
from audiopatch.bench.sweep import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_MARKERS = "os^DvPX*<>phd"


def plot(rows: Sequence[Row], folder: Path, *, title: str) -> None:
    """Write ``bench.png`` and ``bench.svg``: one panel per kind of quality; baselines, which have none, as lines.

    Colour is the model on its engine, shape the patchout, area the parameters; the line is the Pareto front.
    """
    from matplotlib.figure import Figure

    judged = [row for row in rows if row.quality is not None]
    kinds = list(dict.fromkeys(row.quality_name or "" for row in sorted(judged, key=lambda row: row.block or 0)))
    looks = _Looks(judged)
    figure = Figure(figsize=(2.5 + 6 * len(kinds), 4.8), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        shown = [row for row in judged if row.quality_name == kind]
        whole = any(row.block is None for row in shown)
        baselines = [row for row in rows if row.quality is None and (row.block is None) == whole]
        _panel(axes, shown, baselines, looks)
        axes.set_ylabel(kind.replace(" (", "\n("))
    figure.legend(handles=looks.keys(), loc="outside right center", fontsize=8, frameon=False)
    models = sorted({f"{row.model} ({_about(row)})" for row in judged})
    figure.suptitle(f"{models[0]}, {title}" if len(models) == 1 else title, fontsize=10)
    figure.savefig(folder / "bench.png", dpi=150)
    figure.savefig(folder / "bench.svg")


def plot_rates(report: BenchReport, folder: Path, *, title: str) -> None:
    """The same files for a comparison of rates: a bar per row, and how many times ``report.compared_with`` it is."""
    from matplotlib.figure import Figure

    rows = sorted(report.rows, key=lambda row: row.minutes_per_s)
    figure = Figure(figsize=(9, 1.4 + 0.45 * len(rows)), layout="constrained")
    axes = figure.subplots()
    colours = ["0.65" if row.quality is None else "C0" for row in rows]
    bars = axes.barh([_bar_name(row) for row in rows], [row.minutes_per_s for row in rows], color=colours)
    words = [f"{row.minutes_per_s:.2f}" for row in rows]
    times = [report.times(row) for row in rows]
    axes.bar_label(
        bars,
        [f"{word}   {n:.2g} ×" if n else word for word, n in zip(words, times, strict=True)],
        padding=4,
        fontsize=9,
    )
    axes.set_xlabel(f"minutes of audio analysed per second, and how many times {report.compared_with}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.15)
    figure.suptitle(title, fontsize=10)
    figure.savefig(folder / "bench.png", dpi=150)
    figure.savefig(folder / "bench.svg")


def _bar_name(row: Row) -> str:
    if row.quality is None:
        return f"{row.model}, fed with mels"
    block = "" if row.block is None else f", block {row.block}"
    return (
        f"{row.model.removeprefix('random/')}{block}\n{row.patchout}, {row.engine} {_SHORT.get(row.dtype, row.dtype)}"
    )


class _Looks:
    """Colours and shapes that mean the same in every panel."""

    def __init__(self, rows: Sequence[Row]):
        self._one_model = len({row.model for row in rows}) == 1
        self._series = list(dict.fromkeys(self._name(row) for row in rows))
        self._plans = list(dict.fromkeys(row.patchout for row in rows))

    def _name(self, row: Row) -> str:
        engine = f"{row.engine} {_SHORT.get(row.dtype, row.dtype)}"
        return engine if self._one_model else f"{row.model}\n({_about(row)})\n{engine}"

    def colour(self, row: Row) -> str:
        return f"C{self._series.index(self._name(row)) % 10}"

    def marker(self, row: Row) -> str:
        return _MARKERS[self._plans.index(row.patchout) % len(_MARKERS)]

    def keys(self) -> list[Line2D]:
        from matplotlib.lines import Line2D

        colours = [
            Line2D([], [], marker="o", linestyle="", color=f"C{number % 10}", label=name)
            for number, name in enumerate(self._series)
        ]
        shapes = [
            Line2D([], [], marker=_MARKERS[number % len(_MARKERS)], linestyle="", color="0.4", label=plan)
            for number, plan in enumerate(self._plans)
        ]
        return [*colours, Line2D([], [], color="0.75", label="Pareto front"), *shapes]


def _panel(axes: Axes, rows: Sequence[Row], baselines: Sequence[Row], looks: _Looks) -> None:
    front = pareto_front(rows, speed=lambda row: row.minutes_per_s, quality=lambda row: row.quality or 0)
    axes.plot([row.minutes_per_s for row in front], [row.quality or 0 for row in front], color="0.75", zorder=1)
    for row in rows:
        axes.scatter(
            row.minutes_per_s,
            row.quality or 0,
            s=_area(row.mparams),
            color=looks.colour(row),
            marker=looks.marker(row),
            alpha=0.85,
            edgecolor="white",
            linewidth=0.5,
            zorder=2,
        )
    for row in front:
        place = (row.minutes_per_s, row.quality or 0)
        axes.annotate(row.patchout, place, (7, 5), textcoords="offset points", fontsize=8)
    for row in baselines:
        axes.axvline(row.minutes_per_s, color="0.8", linestyle=":", zorder=0)
        words = {"rotation": 90, "fontsize": 8, "color": "0.4", "va": "bottom", "ha": "right"}
        axes.annotate(row.model, (row.minutes_per_s, 0.02), xycoords=("data", "axes fraction"), **words)
    _scale(axes)


def _scale(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set(xscale="log", xlabel="minutes of audio analysed per second")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25)
    axes.margins(x=0.12, y=0.12)  # for the labels
    axes.spines[["top", "right"]].set_visible(False)


def _about(row: Row) -> str:
    """Parameters, and what the authors state of the unreduced model."""
    stated = f"; published {row.published}" if row.published else ""
    return f"{row.mparams:.3g} M parameters{stated}"


def _area(mparams: float) -> float:
    return 40 + 2 * mparams
