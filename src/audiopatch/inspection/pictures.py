"""Pictures of what a plan keeps, and of a study's tables. The only file here that imports matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audiopatch.errors import missing_extra
from audiopatch.models.config import TransformerConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLUSTERS = {"C1": "#471365", "C2": "#3b528b", "C3": "#21918c", "C4": "#5ec962", "C5": "#bddf26"}  # quiet to loud
_VEIL = (0.95, 0.95, 0.97, 0.9)  # over dropped patches


@dataclass(frozen=True)
class Strip:
    """A PNG of stacked spectrograms; ``seconds`` of time run from ``left`` to ``right``, shares of its width."""

    png: bytes
    left: float
    right: float
    seconds: float


def kept_strip(mel: np.ndarray, kept: Mapping[str, np.ndarray], config: TransformerConfig, *, seconds: float) -> Strip:
    """mel (n_mels, frames), title -> cells (N,): the whole mel, then one picture per stage with the rest veiled.

    ``seconds`` is the length of the mel, which may be padded beyond its sound.
    """
    height = 1.15 if len(kept) > 4 else 1.45
    figure = _figure(12, 0.6 + height * (1 + len(kept)))
    axes = figure.subplots(1 + len(kept), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    rows, cols = config.patch_grid(mel.shape[1])
    for axis, (title, cells) in zip(axes, {"the whole input": np.arange(rows * cols), **kept}.items(), strict=True):
        _draw_mel(axis, mel, seconds)
        _veil(axis, cells, config, mel, seconds)
        axis.set_title(title, loc="left", fontsize=10)
    axes[-1].set_xlabel("seconds")
    figure.supylabel("mel band", fontsize=10)
    png = _png(figure)
    place = axes[0].get_position()  # known only once the layout was drawn
    return Strip(png, place.x0, place.x1, seconds)


def _draw_mel(axis: Axes, mel: np.ndarray, seconds: float) -> None:
    low, high = np.percentile(mel, [1, 99.5])
    extent = (0, seconds, 0, mel.shape[0])
    axis.imshow(mel, origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high, cmap="magma")


def _veil(axis: Axes, cells: np.ndarray, config: TransformerConfig, mel: np.ndarray, seconds: float) -> None:
    """Whiten dropped patches. Patches overlap, so each point belongs to the patch whose centre is nearest."""
    rows, cols = config.patch_grid(mel.shape[1])
    dropped = np.ones(rows * cols)
    dropped[cells] = 0
    nearest = np.ix_(
        _nearest(mel.shape[0], config.patch_size[0], config.patch_stride[0], rows),
        _nearest(mel.shape[1], config.patch_size[1], config.patch_stride[1], cols),
    )
    image = dropped.reshape(rows, cols)[nearest][:, :, None] * np.array(_VEIL)  # clear where kept
    extent = (0, seconds, 0, mel.shape[0])
    axis.imshow(image, origin="lower", aspect="auto", extent=extent, interpolation="none")


def _nearest(n_points: int, size: int, stride: int, n_patches: int) -> np.ndarray:
    """For each of ``n_points`` along one axis, the number of the patch whose centre is nearest."""
    centres = np.round((np.arange(n_points) + 0.5 - size / 2) / stride).astype(int)
    return np.clip(centres, 0, n_patches - 1)


def tau_picture(tau: pd.DataFrame) -> bytes:
    """Kendall's tau of attention with intensity and variation, by block: mean and standard deviation over clips."""
    figure, axis = _by_block("Kendall's τ with attention")
    for statistic, colour in (("intensity", "#c4342b"), ("variation", "#2b6cc4")):
        rows = tau[tau.statistic == statistic]
        axis.plot(rows.block, rows.tau_mean, "o-", color=colour, label=statistic)
        axis.fill_between(
            rows.block, rows.tau_mean - rows.tau_sd, rows.tau_mean + rows.tau_sd, color=colour, alpha=0.15, lw=0
        )
    axis.axhline(0, color="#888888", lw=0.8)
    axis.legend(frameon=False)
    return _png(figure)


def kept_picture(kept: pd.DataFrame) -> bytes:
    """The share of each intensity cluster that is left after each block that reduces."""
    figure, axis = _by_block("share of tokens left")
    for cluster, colour in CLUSTERS.items():
        rows = kept[kept.cluster == cluster]
        axis.plot(rows.block, rows.share_kept, "o-", color=colour, label=_loudness(cluster))
    axis.set_ylim(-0.02, 1.02)
    axis.legend(frameon=False, ncols=1)
    return _png(figure)


def removal_picture(removal: pd.DataFrame) -> bytes:
    """The share of best labels that stay when quiet or loud patches are removed from a block on."""
    figure, axis = _by_block("share of best labels that stay")
    for removed, colour in (("C1+C2", CLUSTERS["C1"]), ("C4+C5", CLUSTERS["C4"])):
        rows = removal[removal.removed == removed]
        label = f"{removed} removed ({rows.share_removed.mean() * 100:.0f} % of tokens)"
        axis.plot(rows.block, rows.agreement, "o-", color=colour, label=label)
    axis.set_xlabel("removed from this block on")
    axis.set_ylim(-0.02, 1.02)
    axis.legend(frameon=False)
    return _png(figure)


def mean_std_picture(patches: pd.DataFrame) -> bytes:
    """Intensity against variation: all patches, those left at the end, and the share left in each place."""
    from matplotlib.colors import LogNorm, Normalize

    bins = [np.histogram_bin_edges(patches[name], 60) for name in ("intensity", "variation")]
    counts = [np.histogram2d(rows.intensity, rows.variation, bins)[0].T for rows in (patches, patches[patches.left])]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = counts[1] / counts[0]
    figure = _figure(12, 3.9)
    axes: Sequence[Axes] = figure.subplots(1, 3, sharex=True, sharey=True)
    logarithmic = LogNorm(1, counts[0].max())
    images = {
        "all patches": (counts[0], logarithmic),
        "left at the end": (counts[1], logarithmic),
        "share left": (share, None),
    }
    for axis, (title, (image, norm)) in zip(axes, images.items(), strict=True):
        shown = np.ma.masked_invalid(np.ma.masked_equal(image, 0) if norm else image)
        drawn = axis.pcolormesh(*bins, shown, norm=norm or Normalize(0, 1), cmap="magma_r" if norm else "viridis")
        figure.colorbar(drawn, ax=axis)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_xlabel("intensity (mean of normalised log-mel)")
    axes[0].set_ylabel("variation (standard deviation)")
    return _png(figure)


def _by_block(ylabel: str) -> tuple[Figure, Axes]:
    from matplotlib.ticker import MaxNLocator

    figure = _figure(6.4, 3.9)
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel="block", ylabel=ylabel)
    axis.grid(alpha=0.25)
    return figure, axis


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra("a picture", "plots") from error
    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def _loudness(cluster: str) -> str:
    return {"C1": "C1, quietest", "C5": "C5, loudest"}.get(cluster, cluster)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
