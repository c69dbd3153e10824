"""What reducers saw and kept, and the analyses of the token-pruning study (arXiv 2504.01690) on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audiopatch.errors import UsageError, missing_extra
from audiopatch.inference.extract import Extractor
from audiopatch.inference.settings import Analysis
from audiopatch.models.config import TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.models.transformer import mel_patches
from audiopatch.reducers.plan import Plan
from audiopatch.reducers.reducer import Reducer
from audiopatch.tokens import MelPatches, Signals, TokenGrid
from audiopatch.types import Segment


@dataclass(frozen=True)
class Watched(Reducer):
    """Acts as ``inner`` and notes the cells it left, (B, N)."""

    inner: Reducer
    cells: list[Tensor] = field(default_factory=list)

    @property
    def draws(self) -> bool:  # type: ignore[override]
        """Where what it watches does."""
        return Plan({0: self.inner}).draws

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
    """What a plan did to a segment: its scores, and the cells (N,) left after each block that reduced."""

    scores: Tensor
    cells: dict[int, Tensor]


def scores_of(tagger: Tagger, segment: Segment, plan: Plan, *, seed: int = 0) -> Tensor:
    """(C,) as ``tag`` finds them, chance included; the features (E,) of a model without classes."""
    has_classes = bool(tagger.card.head.n_classes)
    analysis = Analysis(model=tagger.card.name, tags=has_classes, embeddings=not has_classes, seed=seed)
    found = Extractor(tagger, analysis, batch_size=1, plan=plan)([segment])
    values = found.scores if has_classes else found.embeddings
    assert values is not None
    return torch.from_numpy(values[0])


def watch(tagger: Tagger, segment: Segment, plan: Plan, *, seed: int = 0) -> Kept:
    """Run a segment as ``tag`` would, and note what is left of it."""
    watched = {block: Watched(reducer) for block, reducer in plan.items()}
    scores = scores_of(tagger, segment, Plan(watched), seed=seed)
    return Kept(scores, {block: reducer.cells[0][0] for block, reducer in watched.items()})


def attention_by_block(tagger: Tagger, segment: Segment) -> dict[int, Tensor]:
    """Block -> (N,): every block's attention scores, nothing dropped.

    From CLS where the model classifies by its prefix tokens, else from all patch tokens (arXiv 2504.01690, section 3).
    """
    config = transformer_of(tagger)
    score = "token_attention" if config.pool == "patch" else "cls_attention"
    probes = {block: AttentionProbe(score) for block in range(1, config.depth + 1)}
    scores_of(tagger, segment, Plan(probes))
    return {block: probe.scores[0][0] for block, probe in probes.items()}


def mel_of(tagger: Tagger, segment: Segment) -> Tensor:
    """(1, n_mels, frames), whole."""
    with torch.inference_mode():
        return tagger.hear(torch.from_numpy(segment.wave)[None].to(tagger.device)).cpu()


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

    @property
    def clusters(self) -> pd.DataFrame:
        """cluster, intensity, share: the mean log-mel of each intensity cluster, and its share of all patches."""
        groups = self.patches.groupby("cluster")
        shares = pd.DataFrame({"intensity": groups["intensity"].mean(), "share": groups.size() / len(self.patches)})
        return shares.reset_index().assign(cluster=lambda table: "C" + table["cluster"].astype(str))


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


def study(tagger: Tagger, segments: Sequence[Segment], plan: Plan, *, seed: int = 0) -> Study:
    """What the plan keeps of segments, and what attention and scores have to do with loudness."""
    evidence = [patches_of(tagger, mel_of(tagger, segment)) for segment in segments]
    intensity = [patches.intensity[0].numpy() for patches in evidence]
    variation = [patches.variation[0].numpy() for patches in evidence]
    clusters = {"intensity": _clustered(intensity), "variation": _clustered(variation)}
    cells = [watch(tagger, segment, plan, seed=seed).cells for segment in segments]
    return Study(
        tau=_tau(tagger, segments, clusters),
        kept=_kept(cells, clusters["intensity"]),
        removal=_removal(tagger, segments, clusters["intensity"]),
        patches=_patches(evidence, cells, intensity, variation, clusters["intensity"]),
    )


def _clustered(values: Sequence[np.ndarray]) -> list[np.ndarray]:
    clusters = Clusters.fit(np.concatenate(values))
    return [clusters.of(clip) for clip in values]


def _tau(tagger: Tagger, segments: Sequence[Segment], clusters: dict[str, list[np.ndarray]]) -> pd.DataFrame:
    from scipy.stats import kendalltau

    rows = []
    for clip, segment in enumerate(segments):
        for block, scores in attention_by_block(tagger, segment).items():
            for statistic, clustered in clusters.items():
                tau = kendalltau(scores.float().numpy(), clustered[clip])
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
        left = sum(count(labels[clip[block].numpy()]) for clip, labels in zip(cells, clustered, strict=True))
        rows += [(block, name, share) for name, share in zip(names, left / np.maximum(whole, 1), strict=True)]
    return pd.DataFrame(rows, columns=["block", "cluster", "share_kept"])


def _removal(tagger: Tagger, segments: Sequence[Segment], clustered: Sequence[np.ndarray]) -> pd.DataFrame:
    rows = []
    for segment, labels in zip(segments, clustered, strict=True):
        whole = scores_of(tagger, segment, Plan())
        for removed, numbers in REMOVED.items():
            share_removed = float(np.isin(labels, numbers).mean())
            for block in quarter_blocks(transformer_of(tagger).depth, (0, 1, 2, 3)):
                without = RemoveClusters(torch.from_numpy(labels), numbers)
                scores = scores_of(tagger, segment, Plan({block: without}))
                change = float((scores - whole).abs().mean())
                rows.append((block, removed, _agreement(tagger, scores, whole), change, share_removed))
    table = pd.DataFrame(rows, columns=["block", "removed", "agreement", "score_change", "share_removed"])
    return pd.DataFrame(table.groupby(["block", "removed"], as_index=False).mean())


def _agreement(tagger: Tagger, scores: Tensor, whole: Tensor) -> float:
    """The share of the best labels that stay among the best: ten where labels coexist, else the one."""
    n_best = min(10, len(whole)) if tagger.card.multilabel else 1
    return len({*scores.topk(n_best).indices.tolist()} & {*whole.topk(n_best).indices.tolist()}) / n_best


def _patches(
    evidence: Sequence[MelPatches],
    cells: Sequence[dict[int, Tensor]],
    intensity: Sequence[np.ndarray],
    variation: Sequence[np.ndarray],
    clustered: Sequence[np.ndarray],
) -> pd.DataFrame:
    tables = []
    for clip, patches in enumerate(evidence):
        cell = np.arange(len(intensity[clip]))
        n_cols = patches.values.shape[2]
        survivors = [after.numpy() for after in cells[clip].values()]
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
