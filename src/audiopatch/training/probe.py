"""Probes: an MLP on frozen features, tried on every block × token and setting (MAEST, section 4.1)."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from audiopatch import __version__
from audiopatch.datasets.recipe import Dataset, Item, Targets, grouped_split, targets
from audiopatch.datasets.waves import Waves, quiet
from audiopatch.errors import UsageError
from audiopatch.evaluation import metrics
from audiopatch.inference.clips import clip_rows
from audiopatch.inference.extract import find_plan, n_embedding, stack_names, stack_names_of
from audiopatch.inference.settings import Analysis, Stack
from audiopatch.models.card import ModelCard
from audiopatch.models.config import HeadConfig, TransformerConfig
from audiopatch.models.heads import build_head
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import Plan
from audiopatch.training.config import LearningRate, ProbeConfig
from audiopatch.training.optimizer import LOSSES, Loss, lr_share
from audiopatch.training.run_folder import RunFolder

POOLED = 0  # the "block" of a network's own features, at its end
_AT_ONCE = 64  # clips whose features are kept together; those a Ctrl-C may cost


@dataclass(frozen=True)
class ClipFeatures:
    """stacks (N, n_blocks, P + 1, D): each clip's mean over segments; of the network's own features, (N, 1, 1, E)."""

    blocks: tuple[int, ...]
    tokens: tuple[str, ...]
    stacks: np.ndarray

    def of(self, block: int, tokens: Sequence[str]) -> np.ndarray:
        """(N, E): the named tokens after a block, one after the other."""
        index = [self.tokens.index(token) for token in tokens]
        return self.stacks[:, self.blocks.index(block)][:, index].reshape(len(self.stacks), -1)


def choices(card: ModelCard, blocks: Sequence[int], tokens: Sequence[str]) -> list[tuple[int, tuple[str, ...]]]:
    """The (block, tokens) cells to try; impossible ones are a UsageError.

    A network that ends in convolutions has one cell, its features: they hold what a last block's tokens do, and more.
    """
    backbone = card.backbone
    ends_in_tail = not isinstance(backbone, TransformerConfig) or (backbone.stem is not None and backbone.stem.tail)
    if not isinstance(backbone, TransformerConfig) or (ends_in_tail and not blocks):
        return [(POOLED, ("pooled",))]
    named = stack_names_of(backbone)
    for block in blocks:
        if not 1 <= block <= backbone.depth:
            raise UsageError(f"block {block} does not exist; {card.name} has blocks 1 to {backbone.depth}")
    split = [tuple(text.split("+")) for text in tokens]
    for token in (token for some in split for token in some):
        if token not in ("cls", "dist", "avg"):
            raise UsageError(f"unknown token '{token}'; choose cls, dist, avg or a sum of them such as cls+avg")
    usable = list(dict.fromkeys(tuple(token for token in some if token in named) for some in split))
    return [(block, some) for block in blocks or range(1, backbone.depth + 1) for some in usable if some]


def extract(
    tagger: Tagger,
    waves: Waves,
    items: Sequence[Item],
    blocks: Sequence[int],
    *,
    plan: Plan,
    overlap: float,
    progress: Callable[[int, int], None] = quiet,
) -> ClipFeatures:
    """Features of clips as ``embed`` finds them, in the order of ``items``.

    They are kept beside the samples, some clips at a time: whoever asks again, after a Ctrl-C or for another fold,
    computes only what is not there yet.
    """
    tokens = stack_names(tagger)
    stack = None if blocks == [POOLED] else Stack(blocks=tuple(blocks), tokens=tokens)
    analysis = Analysis(
        model=tagger.card.name, tags=False, embeddings=True, stack=stack, patchout=str(plan), overlap=overlap
    )
    kept, rows = _kept(tagger, analysis, waves), {path: row for row, path in enumerate(sorted(waves.spans))}
    missing = [item for item in items if np.isnan(kept[rows[str(item.path)], 0])]
    for start in range(0, len(missing), _AT_ONCE):
        some, done = missing[start : start + _AT_ONCE], len(items) - len(missing) + start
        clips = waves.clips(some, lambda n, _, done=done: progress(done + n, len(items)))
        names = [item.path for item in some]
        kept[[rows[str(name)] for name in names]] = clip_rows(tagger, clips, analysis).require_all(names).embeddings
    found = np.asarray(kept[[rows[str(item.path)] for item in items]])
    if stack is None:
        return ClipFeatures((POOLED,), ("pooled",), found[:, None, None])
    return ClipFeatures(tuple(blocks), tokens, found.reshape(len(found), len(blocks), len(tokens), -1))


def _kept(tagger: Tagger, analysis: Analysis, waves: Waves) -> np.ndarray:
    """(all clips of ``waves`` by name, numbers of an embedding): NaN where nothing is known; a file where that pays."""
    shape = (len(waves.spans), n_embedding(tagger, analysis))
    if tagger.weights_sha256 == "random":
        return np.full(shape, np.nan, np.float32)
    about = [__version__, tagger.weights_sha256, tagger.engine, str(tagger.dtype), shape, asdict(analysis)]
    name = hashlib.blake2b(json.dumps(about).encode(), digest_size=8).hexdigest()
    file = waves.folder / f"features-{name}.npy"
    if not file.exists():
        unfinished = waves.folder / f"unfinished-{os.getpid()}.npy"
        np.save(unfinished, np.full(shape, np.nan, np.float32))
        unfinished.replace(file)
    return np.load(file, mmap_mode="r+")


def probe_card(
    base: ModelCard, block: int, tokens: Sequence[str], head: HeadConfig, *, name: str, multilabel: bool
) -> ModelCard:
    """The card of a probe: the network up to ``block``, whose features are the named tokens, under an MLP."""
    backbone = base.backbone
    if isinstance(backbone, TransformerConfig) and block != POOLED:
        stem = backbone.stem and replace(backbone.stem, tail=False)
        backbone = replace(backbone, depth=block, final_norm=False, pool="stack", stack=tuple(tokens), stem=stem)
    return replace(
        base,
        name=name,
        backbone=backbone,
        head=head,
        labels="own",
        multilabel=multilabel,
        weights=None,
        scores={},
        thresholds=(),
        summary=f"probe on {base.name}" + (f", block {block}, {'+'.join(tokens)}" if block else ""),
    )


OnRow = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Fitted:
    """The best epoch of one setting on one cell: its figures on the validation clips and the head's weights.

    ``value`` chose the epoch, and chooses between cells: a figure, and what decides between equal ones. ``chosen_on``
    is "train" where there were no validation clips but those it was fitted on, else "valid".
    """

    block: int
    tokens: tuple[str, ...]
    setting: dict[str, float]
    epoch: int
    value: tuple[float, float]
    figures: dict[str, float]
    state: dict[str, Tensor]
    chosen_on: str = "valid"


def probe(
    config: ProbeConfig,
    tagger: Tagger,
    dataset: Dataset,
    waves: Waves,
    folder: Path,
    *,
    force: bool = False,
    report: OnRow = lambda row: None,
    progress: Callable[[int, int], None] = quiet,
    fitting: Callable[[int, int], None] = quiet,
) -> Fitted:
    """Fit all probes and leave the best one in ``folder`` as a model, with the grid as grid.csv and heat map.

    ``tagger`` is the frozen model that ``config`` names. A dataset without a validation split lends a tenth of its
    training groups; one too small for that is judged on what it was fitted on. ``progress`` hears of clips whose
    features are there, ``fitting`` of probes.
    """
    run = RunFolder(folder)
    run.start(config, force=force)
    cells = choices(tagger.card, config.blocks, config.tokens)
    train, valid = fitting_split(dataset, config.seed)
    blocks = sorted({block for block, _ in cells})
    plan = find_plan(tagger, config.patchout)
    features = extract(tagger, waves, (*train, *valid), blocks, plan=plan, overlap=0.5, progress=progress)
    fit = Fit(config, dataset, train, valid, features, tagger.device)
    rows: list[dict[str, Any]] = []
    best: Fitted | None = None
    for number, (cell, setting) in enumerate(itertools.product(cells, _settings(config))):
        fitting(number, len(cells) * len(_settings(config)))
        fitted = fit(cell, setting)
        rows.append(_row(fitted))
        run.write({"step": number, "kind": "probe", **rows[-1]})
        report({"step": number, "kind": "probe", **rows[-1]})
        if best is None or fitted.value > best.value:
            best = fitted
    assert best is not None
    pd.DataFrame(rows).to_csv(folder / "grid.csv", index=False)
    run.save_model(assemble(tagger, best, dataset, config, name=run.name))
    return best


def assemble(tagger: Tagger, fitted: Fitted, dataset: Dataset, config: ProbeConfig, *, name: str) -> Tagger:
    """The probe as a Tagger: the frozen network up to its block, with the fitted head on top."""
    head = HeadConfig(len(dataset.labels), "probe", n_hidden=config.n_hidden, dropout=fitted.setting["dropout"])
    card = probe_card(tagger.card, fitted.block, fitted.tokens, head, name=name, multilabel=dataset.multilabel)
    whole = Tagger(card, dataset.labels)
    frozen = tagger.state_dict()
    state = {key: frozen[key] for key in whole.state_dict() if not key.startswith("head.")}
    whole.load_state_dict(state | {f"head.{key}": value for key, value in fitted.state.items()})
    return whole.eval().to(tagger.device)


class Fit:
    """Fits heads on cells of the same features."""

    def __init__(
        self,
        config: ProbeConfig,
        dataset: Dataset,
        train: Sequence[Item],
        valid: Sequence[Item],
        features: ClipFeatures,
        device: torch.device,
    ):
        self.config: ProbeConfig = config
        self.dataset: Dataset = dataset
        self.features: ClipFeatures = features
        self.device: torch.device = device
        self.n_train: int = len(train)
        self.chosen_on: str = "train" if valid is train else "valid"
        self.targets: Targets = targets((*train, *valid), dataset.labels)
        self.loss: Loss = LOSSES["bce" if dataset.multilabel else "cross_entropy"]
        # exponential rise over 10 of 60 epochs, then linear down to 1e-7 of the rate (the published code)
        rise = config.epochs / 6
        self.schedule: LearningRate = LearningRate(
            "exponential", rise, "linear", rise, config.epochs - rise, last_share=1e-7
        )

    def __call__(self, cell: tuple[int, tuple[str, ...]], setting: dict[str, float]) -> Fitted:
        x = torch.from_numpy(self.features.of(*cell)).to(self.device)
        mean, std = x[: self.n_train].mean(dim=0), x[: self.n_train].std(dim=0, correction=0).clamp(min=1e-6)
        x = (x - mean) / std
        y, known = (
            torch.from_numpy(a.astype(np.float32)).to(self.device) for a in (self.targets.truth, self.targets.known)
        )
        torch.manual_seed(self.config.seed)
        kind = HeadConfig(y.shape[1], "probe", n_hidden=self.config.n_hidden, dropout=setting["dropout"])
        head = build_head(kind, x.shape[1]).to(self.device)
        optimizer = torch.optim.AdamW(head.parameters(), lr=setting["lr"], weight_decay=setting["weight_decay"])
        best, best_epoch, scores, state = (-np.inf, -np.inf), 0, np.empty(0), {}
        for epoch in range(self.config.epochs):
            self._epoch(head, optimizer, x[: self.n_train], y[: self.n_train], known[: self.n_train], epoch)
            answer = self._scores(head, x[self.n_train :])
            value = self._value(answer)
            if value > best:
                best, best_epoch, scores = value, epoch, answer
                state = {key: tensor.detach().clone() for key, tensor in head.state_dict().items()}
        figures, weights = self._figures(scores), _folded(state, mean, std)
        return Fitted(*cell, setting, best_epoch, best, figures, weights, self.chosen_on)

    def _epoch(
        self, head: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, known: Tensor, epoch: int
    ) -> None:
        head.train()
        order = torch.randperm(len(x))
        n_batches = max(1, len(x) // self.config.batch_size)
        for number, index in enumerate(order.chunk(n_batches)):
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("full_lr", group["lr"]) * lr_share(
                    self.schedule, epoch + number / n_batches
                )
            loss = self.loss(head(x[index]), y[index], known[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def head(self, fitted: Fitted) -> nn.Module:
        """features (N, E) -> logits (N, C), as fitted; in evaluation mode."""
        n_features = fitted.state["0.weight"].shape[1]
        kind = HeadConfig(self.targets.truth.shape[1], "probe", n_hidden=self.config.n_hidden)
        head = build_head(kind, n_features).to(self.device)
        head.load_state_dict(fitted.state)
        return head.eval()

    @torch.no_grad()
    def _scores(self, head: nn.Module, x: Tensor) -> np.ndarray:
        """(N, C) of the validation clips."""
        head.eval()
        logits = head(x)
        return (logits.sigmoid() if self.dataset.multilabel else logits.softmax(dim=1)).cpu().numpy()

    def _value(self, scores: np.ndarray) -> tuple[float, float]:
        """What chooses epochs and cells: ROC-AUC as MAEST does it, or accuracy where labels exclude each other.

        A few validation clips leave many ties; among those the higher mean log score of the right answers decides.
        """
        truth, known = self.targets.truth[self.n_train :], self.targets.known[self.n_train :]
        multilabel = self.dataset.multilabel
        value = metrics.roc_auc(truth, scores, known).value if multilabel else metrics.accuracy(truth, scores)
        right = np.where(truth > 0, scores, 1 - scores)[known]
        return (-1.0 if np.isnan(value) else value), float(np.log(right.clip(1e-7)).mean())

    def _figures(self, scores: np.ndarray) -> dict[str, float]:
        truth, known = self.targets.truth[self.n_train :], self.targets.known[self.n_train :]
        return metrics.summary(truth, scores, known, multilabel=self.dataset.multilabel)


def _folded(state: dict[str, Tensor], mean: Tensor, std: Tensor) -> dict[str, Tensor]:
    """The standardisation of features as part of the first layer: W ((x - m) / s) + b = (W / s) x + (b - W m / s)."""
    weight = state["0.weight"] / std
    return {**state, "0.weight": weight, "0.bias": state["0.bias"] - weight @ mean}


def fitting_split(dataset: Dataset, seed: int) -> tuple[Sequence[Item], Sequence[Item]]:
    """What to fit on, and what to choose by: a tenth of the training groups where there is no validation split, and
    all that is fitted on, itself, where there are too few groups for a tenth."""
    if dataset.splits.get("valid"):
        return dataset.items("train"), dataset.items("valid")
    made = grouped_split(dataset.items("train"), shares={"train": 0.9, "valid": 0.1}, seed=seed)
    return made["train"], made["valid"] or made["train"]


def _settings(config: ProbeConfig) -> list[dict[str, float]]:
    grid = itertools.product(config.lrs, config.weight_decays, config.dropouts)
    return [{"lr": lr, "weight_decay": decay, "dropout": dropout} for lr, decay, dropout in grid]


def _row(fitted: Fitted) -> dict[str, Any]:
    return {
        "block": fitted.block,
        "tokens": "+".join(fitted.tokens),
        **fitted.setting,
        "epoch": fitted.epoch,
        **{f"valid_{name}": value for name, value in fitted.figures.items()},
        "valid_log_score": fitted.value[1],
    }
