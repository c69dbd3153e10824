"""What reducers saw and kept, and the analyses of the token-pruning study (arXiv 2504.01690) on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audiopatch.errors import UsageError, missing_extra
from audiopatch.models.card import TransformerConfig
from audiopatch.models.tagger import Prediction, Tagger
from audiopatch.models.transformer import mel_patches
from audiopatch.reducers.plan import Plan
from audiopatch.reducers.reducer import Reducer
from audiopatch.tokens import MelPatches, Signals, TokenGrid


@dataclass(frozen=True)
class Watched(Reducer):
    """Acts as ``inner`` and notes the cells it left, (B, N)."""

    inner: Reducer
    cells: list[Tensor] = field(default_factory=list)

    def __call__(self, tokens: TokenGrid, signals: Signals) -> TokenGrid:
        left = self.inner(tokens, signals)
        self.cells.append(left.cell.cpu())
        return left


@dataclass(frozen=True)
class AttentionProbe(Reducer):
    """Keeps everything and notes each token's attention score, (B, N)."""

    score: str
    scores: list[Tensor] = field(default_factory=list)

    def __call__(self, tokens: TokenGrid, signals: Signals) -> TokenGrid:
        self.scores.append(getattr(signals, self.score)(tokens).cpu())
        return tokens


@dataclass(frozen=True)
class Kept:
    """What a plan did to some clips: the prediction, and the cells left after each block that reduced, (B, N)."""

    prediction: Prediction
    cells: dict[int, Tensor]


@torch.inference_mode()
def watch(tagger: Tagger, mel: Tensor, plan: Plan, *, seed: int = 0) -> Kept:
    """mel (B, n_mels, frames) -> Kept. Clips draw from seed, seed + 1, ... where the plan is random."""
    watched = {block: Watched(reducer) for block, reducer in plan.items()}
    seeds = torch.arange(seed, seed + len(mel))
    prediction = tagger(mel.to(tagger.device), Plan(watched), seeds=seeds)
    return Kept(prediction, {block: reducer.cells[0] for block, reducer in watched.items()})


@torch.inference_mode()
def attention_by_block(tagger: Tagger, mel: Tensor) -> dict[int, Tensor]:
    """mel (B, n_mels, frames) -> block -> (B, N): every block's attention scores, nothing dropped.

    From CLS where the model classifies by its prefix tokens, else from all patch tokens (arXiv 2504.01690, section 3).
    """
    config = transformer_of(tagger)
    score = "token_attention" if config.pool == "patch" else "cls_attention"
    probes = {block: AttentionProbe(score) for block in range(1, config.depth + 1)}
    tagger(mel.to(tagger.device), Plan(probes))
    return {block: probe.scores[0] for block, probe in probes.items()}


def patches_of(tagger: Tagger, mel: Tensor) -> MelPatches:
    """The log-mel behind each token of the model."""
    return mel_patches(mel, transformer_of(tagger))


def transformer_of(tagger: Tagger) -> TransformerConfig:
    """The configuration of a model with tokens; any other is a UsageError."""
    config = tagger.card.backbone
    if not isinstance(config, TransformerConfig):
        raise UsageError(f"{tagger.card.name} is a convolutional network: it has no tokens to look at")
    return config


def quarter_blocks(depth: int, quarters: Sequence[int]) -> list[int]:
    """The blocks that begin the given quarters of a network: of 12 blocks, quarters 1, 2, 3 begin at 4, 7, 10."""
    return sorted({1 + depth * quarter // 4 for quarter in quarters})


N_CLUSTERS = 5
_FIT_AT_MOST = 100_000  # patches; k-means in one dimension needs no more
REMOVED = {"C1+C2": (0, 1), "C4+C5": (3, 4)}


@dataclass(frozen=True)
class Study:
    """Four tables.

    tau      block, statistic, tau_mean, tau_sd, n_clips: attention against clustered intensity and variation
    kept     block, cluster, share_kept: what is left of each intensity cluster after each block that reduces
    removal  block, removed, agreement, score_change, share_removed: clusters removed from a block on, against the whole
    patches  clip, row, col, intensity, variation, cluster, left: one row per patch; ``left`` at the end of the plan
    """

    tau: pd.DataFrame
    kept: pd.DataFrame
    removal: pd.DataFrame
    patches: pd.DataFrame


@dataclass(frozen=True)
class Clusters:
    """C1..C5, quiet to loud: k-means on one statistic of all patches, so that small differences do not count."""

    centres: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray) -> Clusters:
        try:
            from sklearn.cluster import KMeans
        except ImportError as error:
            raise missing_extra("a study", "plots") from error
        chosen = np.random.default_rng(0).permutation(values)[:_FIT_AT_MOST, None]
        n_clusters = min(N_CLUSTERS, len(np.unique(chosen)))
        fitted = KMeans(n_clusters, n_init=4, random_state=0).fit(chosen)  # type: ignore[arg-type]  # a number is fine
        return cls(np.sort(fitted.cluster_centers_[:, 0]))

    def of(self, values: np.ndarray) -> np.ndarray:
        """values -> the number of the nearest centre, 0 = quietest."""
        return np.searchsorted((self.centres[1:] + self.centres[:-1]) / 2, values)


@dataclass(frozen=True)
class RemoveClusters(Reducer):
    """Drop the patches of some clusters; if that is all of them, drop none. One clip at a time."""

    cluster_of_cell: Tensor
    removed: tuple[int, ...]

    def __call__(self, tokens: TokenGrid, signals: Signals) -> TokenGrid:
        stays = ~torch.isin(self.cluster_of_cell[tokens.cell[0].cpu()], torch.tensor(self.removed))
        index = stays.nonzero()[:, 0] if stays.any() else torch.arange(tokens.n_patches)
        return tokens.keep(index[None].to(tokens.x.device))


def study(tagger: Tagger, waves: Iterable[np.ndarray], plan: Plan) -> Study:
    """waves, each (S,) at the model's rate -> Study. All mels are held in memory (0.7 MB per 30 s clip)."""
    mels = [tagger.frontend(torch.from_numpy(wave)[None].to(tagger.device)).cpu() for wave in waves]
    evidence = [patches_of(tagger, mel) for mel in mels]
    intensity = [patches.intensity[0].numpy() for patches in evidence]
    variation = [patches.variation[0].numpy() for patches in evidence]
    clusters = {"intensity": _clustered(intensity), "variation": _clustered(variation)}
    cells = [watch(tagger, mel, plan, seed=clip).cells for clip, mel in enumerate(mels)]
    return Study(
        tau=_tau(tagger, mels, clusters),
        kept=_kept(cells, clusters["intensity"]),
        removal=_removal(tagger, mels, clusters["intensity"]),
        patches=_patches(tagger, mels, cells, intensity, variation, clusters["intensity"]),
    )


def _clustered(values: Sequence[np.ndarray]) -> list[np.ndarray]:
    clusters = Clusters.fit(np.concatenate(values))
    return [clusters.of(clip) for clip in values]


def _tau(tagger: Tagger, mels: Sequence[Tensor], clusters: dict[str, list[np.ndarray]]) -> pd.DataFrame:
    from scipy.stats import kendalltau

    rows = []
    for clip, mel in enumerate(mels):
        for block, scores in attention_by_block(tagger, mel).items():
            for statistic, clustered in clusters.items():
                tau = kendalltau(scores[0].float().numpy(), clustered[clip])
                rows.append((block, statistic, tau[0]))
    taus = pd.DataFrame(rows, columns=["block", "statistic", "tau"]).dropna()  # a clip of one cluster has no tau
    by_block = taus.groupby(["block", "statistic"], as_index=False).tau
    return by_block.agg(tau_mean="mean", tau_sd=lambda tau: tau.std(ddof=0), n_clips="count")


def _kept(cells: Sequence[dict[int, Tensor]], clustered: Sequence[np.ndarray]) -> pd.DataFrame:
    names = [f"C{number + 1}" for number in range(N_CLUSTERS)]
    count = lambda labels: np.bincount(labels, minlength=N_CLUSTERS)  # noqa: E731
    whole = sum(count(labels) for labels in clustered)
    rows = [(0, name, 1.0) for name in names if 0 not in cells[0]]
    for block in cells[0]:
        left = sum(count(labels[clip[block][0].numpy()]) for clip, labels in zip(cells, clustered, strict=True))
        rows += [(block, name, share) for name, share in zip(names, left / np.maximum(whole, 1), strict=True)]
    return pd.DataFrame(rows, columns=["block", "cluster", "share_kept"])


def _removal(tagger: Tagger, mels: Sequence[Tensor], clustered: Sequence[np.ndarray]) -> pd.DataFrame:
    rows = []
    for mel, labels in zip(mels, clustered, strict=True):
        whole = _scores(tagger, mel, Plan())
        for removed, numbers in REMOVED.items():
            share_removed = float(np.isin(labels, numbers).mean())
            for block in quarter_blocks(transformer_of(tagger).depth, (0, 1, 2, 3)):
                scores = _scores(tagger, mel, Plan({block: RemoveClusters(torch.from_numpy(labels), numbers)}))
                change = float((scores - whole).abs().mean())
                rows.append((block, removed, _agreement(tagger, scores, whole), change, share_removed))
    table = pd.DataFrame(rows, columns=["block", "removed", "agreement", "score_change", "share_removed"])
    return pd.DataFrame(table.groupby(["block", "removed"], as_index=False).mean())


def _agreement(tagger: Tagger, scores: Tensor, whole: Tensor) -> float:
    """The share of the best labels that stay among the best: ten where labels coexist, else the one."""
    n_best = min(10, len(whole)) if tagger.card.multilabel else 1
    return len({*scores.topk(n_best).indices.tolist()} & {*whole.topk(n_best).indices.tolist()}) / n_best


@torch.inference_mode()
def _scores(tagger: Tagger, mel: Tensor, plan: Plan) -> Tensor:
    return tagger.scores(tagger(mel.to(tagger.device), plan).logits)[0].cpu()


def _patches(
    tagger: Tagger,
    mels: Sequence[Tensor],
    cells: Sequence[dict[int, Tensor]],
    intensity: Sequence[np.ndarray],
    variation: Sequence[np.ndarray],
    clustered: Sequence[np.ndarray],
) -> pd.DataFrame:
    tables = []
    for clip, mel in enumerate(mels):
        cell = np.arange(len(intensity[clip]))
        _, n_cols = transformer_of(tagger).patch_grid(mel.shape[2])
        survivors = [after[0].numpy() for after in cells[clip].values()]
        columns = {
            "clip": clip,
            "row": cell // n_cols,
            "col": cell % n_cols,
            "intensity": intensity[clip],
            "variation": variation[clip],
            "cluster": clustered[clip] + 1,
            "left": np.isin(cell, survivors[-1]) if survivors else True,
        }
        tables.append(pd.DataFrame(columns))
    small = {"clip": "int32", "row": "int16", "col": "int16", "cluster": "int8"}
    return pd.concat(tables, ignore_index=True).astype(small)
