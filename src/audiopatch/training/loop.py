"""The training loop: one for every recipe, on Lightning Fabric.

Order, crops, augmentation and random patchout are functions of (seed, epoch, place) or (seed, step). So a checkpoint
holds weights, optimizer and counters and nothing else, a resumed run equals an uninterrupted one bit by bit, and two
processes take the steps one process would.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel

from audiopatch.datasets.recipe import Dataset, targets
from audiopatch.datasets.waves import Waves
from audiopatch.errors import OutputMismatchError
from audiopatch.evaluation import metrics
from audiopatch.inference.clips import clip_rows
from audiopatch.inference.extract import find_plan
from audiopatch.inference.settings import Analysis
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import NO_REDUCTION, Plan
from audiopatch.training.clips import Clips, epoch_order, in_epoch
from audiopatch.training.config import TrainConfig
from audiopatch.training.optimizer import Objective, build_optimizer, lr_share
from audiopatch.training.run_folder import RunFolder


def plans_by_epoch(
    plan: Plan, n_epochs: int, *, start_epoch: int = 0, ramp_epochs: int = 0, before: Plan = NO_REDUCTION
) -> list[Plan]:
    """The plan for each of ``n_epochs`` epochs: keep all before ``start_epoch``, then reduce more along a cosine.

    After ``ramp_epochs`` it is ``plan`` itself (EViT, section 4.1: keep rates fall from 1 by half a cosine). Keep rates
    and the sizes of random and adaptive patchout are scaled; a fixed patchout has no strength and acts from the start.
    ``before``, where it reduces anything, is the plan of the epochs before ``start_epoch``.
    """
    scaled = [plan.scaled(_share(epoch, start_epoch, ramp_epochs)) for epoch in range(n_epochs)]
    return scaled if before == NO_REDUCTION else [before] * min(start_epoch, n_epochs) + scaled[start_epoch:]


def _share(epoch: int, start_epoch: int, ramp_epochs: int) -> float:
    if epoch >= start_epoch + ramp_epochs:
        return 1.0
    done = max(0, epoch - start_epoch) / ramp_epochs if ramp_epochs else 0.0
    return (1 - math.cos(math.pi * done)) / 2


OnRow = Callable[[Mapping[str, Any]], None]


def quiet(row: Mapping[str, Any]) -> None:
    """A report for nobody."""


class TrainOutcome(NamedTuple):  # no frozen dataclass: Fabric takes results apart
    """How a run ended: ``finished`` or interrupted (its checkpoint is saved); the best validation and its epoch."""

    finished: bool
    best: float
    best_epoch: int


@dataclass
class Position:
    """Where a run stands: batches done in all and in this epoch, and the best validation so far."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: float = -math.inf
    best_epoch: int = -1
    losses: list[float] = field(default_factory=list)


class Loop:
    """Epochs of steps, a validation after each, and a checkpoint after each or when asked to stop."""

    def __init__(
        self,
        fabric: Fabric,
        config: TrainConfig,
        dataset: Dataset,
        clips: Clips,
        tagger: Tagger,
        run: RunFolder,
        report: OnRow,
    ):
        self.fabric: Fabric = fabric
        self.config: TrainConfig = config
        self.dataset: Dataset = dataset
        self.clips: Clips = clips
        self.tagger: Tagger = tagger
        self.folder: RunFolder = run
        self.report: OnRow = report
        self.progress: Position = Position()
        self.board: OnRow = board(run.path) if fabric.is_global_zero else quiet
        objective = Objective(tagger, config.loss, config.augment)
        self.objective: Objective = objective
        self.module, self.optimizer = fabric.setup(objective, build_optimizer(objective, config.optimizer))
        self.average: AveragedModel | None = None
        reduction = config.reduction
        self.plans: Sequence[Plan] = plans_by_epoch(
            find_plan(tagger, reduction.train),
            config.epochs,
            start_epoch=reduction.start_epoch,
            ramp_epochs=reduction.ramp_epochs,
            before=find_plan(tagger, reduction.before),
        )
        self.validation: Validation | None = Validation.of(
            dataset, clips.waves, find_plan(tagger, reduction.inference), fabric
        )

    def run(self, stop: Callable[[], bool]) -> TrainOutcome:
        self._resume()
        while self.progress.epoch < self.config.epochs:
            if not self._epoch(stop):
                self._checkpoint()
                return TrainOutcome(False, self.progress.best, self.progress.best_epoch)
        self._finish()
        return TrainOutcome(True, self.progress.best, self.progress.best_epoch)

    def _epoch(self, stop: Callable[[], bool]) -> bool:
        """The rest of the current epoch; False where it was stopped in between."""
        at, began = self.progress, time.monotonic()
        order = epoch_order(self.clips.truth, self.config.sampling, seed=self.config.seed, epoch=at.epoch)
        n_batches = len(order) // self.config.sampling.batch_size
        self.objective.plan = self.plans[at.epoch]
        self.objective.augment = in_epoch(self.config.augment, at.epoch)
        self.tagger.train()
        while at.batch < n_batches:
            if self._anyone(stop()):
                return False
            lr = self._lr(n_batches)
            loss = self._step(order, lr)
            at.losses.append(loss)
            at.batch, at.step = at.batch + 1, at.step + 1
            self._log({"kind": "step", "epoch": at.epoch, "loss": loss, "lr": lr})
        self._update_average()
        row = {
            "kind": "epoch",
            "epoch": at.epoch,
            "train_loss": float(np.mean(at.losses)),
            "plan": str(self.objective.plan),
        }
        row |= self._validate() | {"seconds": round(time.monotonic() - began, 3)}
        at.epoch, at.batch, at.losses = at.epoch + 1, 0, []
        self._log(row)
        self._checkpoint()
        return True

    def _step(self, order: np.ndarray, lr: float) -> float:
        """One update on a global batch, in as many parts as devices and memory need -> its mean loss."""
        config, at, world = self.config, self.progress, self.fabric.world_size
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
        batch_size = config.sampling.batch_size
        part = config.sampling.micro_batch or batch_size // world
        n_parts = batch_size // (part * world)
        total = torch.zeros((), device=self.fabric.device)
        for number in range(n_parts):
            first = at.batch * batch_size + (number * world + self.fabric.global_rank) * part
            batch = self.clips.batch(order, range(first, first + part), at.epoch).to(self.fabric.device)
            torch.manual_seed(config.seed * 1_000_003 + at.step)  # every part and process draws the same patchout
            last = number == n_parts - 1
            with nullcontext() if last else self.fabric.no_backward_sync(self.module, enabled=world > 1):
                loss = self.module(batch) / n_parts
                self.fabric.backward(loss)
            total += loss.detach()
        if config.optimizer.clip_norm:
            self.fabric.clip_gradients(self.module, self.optimizer, max_norm=config.optimizer.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        mean = self.fabric.all_reduce(total, reduce_op="mean")
        assert isinstance(mean, torch.Tensor)
        return float(mean)

    def _lr(self, n_batches: int) -> float:
        """The learning rate of the batch at hand, before any layer's decay."""
        config, at = self.config, self.progress
        return config.optimizer.lr * lr_share(config.learning_rate, at.epoch + at.batch / n_batches)

    def _validate(self) -> dict[str, float]:
        """Figures on the validation split, by segments of whole tracks; a better model becomes ``model``."""
        if self.validation is None:
            return {}
        figures = self.validation(self.tagger)
        value = figures[f"valid_{self.dataset.metrics[0]}"]
        if value > self.progress.best or self.progress.best_epoch < 0:
            self.progress.best, self.progress.best_epoch = value, self.progress.epoch
            self._save(self.tagger, "model")
        return figures

    def _update_average(self) -> None:
        averaging, epoch = self.config.averaging, self.progress.epoch
        if averaging.start_epoch < 0 or epoch < averaging.start_epoch:
            return
        if (epoch - averaging.start_epoch) % averaging.every_epochs == 0:
            average = self.average or AveragedModel(self.tagger)
            average.update_parameters(self.tagger)
            self.average = average

    def _finish(self) -> None:
        """Save the last weights and the average; ``model`` is the best of all by validation, else the average, else
        the last."""
        self._save(self.tagger, "last" if self.validation else "model")
        if self.average is None:
            return
        averaged = self.average.module
        assert isinstance(averaged, Tagger)
        averaged.dtype = self.tagger.dtype
        self._save(averaged, "swa")
        figures = self.validation(averaged) if self.validation else {}
        value = figures.get(f"valid_{self.dataset.metrics[0]}", math.inf)
        self._log({"kind": "swa", "epoch": self.config.epochs, **figures})
        if value > self.progress.best:
            self._save(averaged, "model")

    def _save(self, tagger: Tagger, name: str) -> None:
        if self.fabric.is_global_zero:
            self.folder.save_model(tagger, name)

    def _log(self, row: Mapping[str, Any]) -> None:
        if self.fabric.is_global_zero:
            row = {"step": self.progress.step, **row}
            for write in (self.folder.write, self.board, self.report):
                write(row)

    def _checkpoint(self) -> None:
        if self.fabric.is_global_zero:
            average = None if self.average is None else self.average.state_dict()
            self.folder.save_checkpoint(
                {
                    "clips": self.clips.digest,
                    "progress": vars(self.progress),
                    "tagger": self.tagger.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "average": average,
                    "scaler": self.fabric.strategy.precision.state_dict(),
                }
            )
        self.fabric.barrier()

    def _resume(self) -> None:
        state = self.folder.load_checkpoint()
        if state is not None:
            self._restore(state)
        if self.fabric.is_global_zero:
            self.folder.forget_after(self.progress.step)

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Go back to where ``_checkpoint`` was called."""
        if state["clips"] != self.clips.digest:
            raise OutputMismatchError(
                f"{self.folder.path} was trained on other clips than the dataset now holds; begin anew with --force"
            )
        self.progress = Position(**state["progress"])
        self.tagger.load_state_dict(state["tagger"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["scaler"])
        if state["average"] is not None:
            average = AveragedModel(self.tagger)
            average.load_state_dict(state["average"])
            self.average = average

    def _anyone(self, stopped: bool) -> bool:
        """Whether any process was asked to stop: all must leave at the same step."""
        if self.fabric.world_size == 1:
            return stopped
        flag = torch.tensor(float(stopped), device=self.fabric.device)
        return bool(self.fabric.all_reduce(flag, reduce_op="sum"))


@dataclass(frozen=True)
class Validation:
    """A Tagger -> its ``valid_*`` figures, the same in every process."""

    dataset: Dataset
    waves: Waves
    plan: Plan
    fabric: Fabric

    @classmethod
    def of(cls, dataset: Dataset, waves: Waves, plan: Plan, fabric: Fabric) -> Self | None:
        """None for a dataset without a validation split."""
        return cls(dataset, waves, plan, fabric) if dataset.splits.get("valid") else None

    def __call__(self, tagger: Tagger) -> dict[str, float]:
        items = self.dataset.items("valid")
        rank, world = self.fabric.global_rank, self.fabric.world_size
        tagger.eval()
        analysis = Analysis(model=tagger.card.name, patchout=str(self.plan))
        rows = clip_rows(tagger, self.waves.clips(items[rank::world]), analysis)
        scores = np.full((len(items), len(tagger.labels)), np.nan, np.float32)
        for other, (kept, found) in enumerate(self._gathered((rows.kept, rows.scores))):
            scores[np.arange(len(items))[other::world][kept]] = found
        scored = np.flatnonzero(np.isfinite(scores).all(axis=1))  # but for clips too short for the model
        scores, items = scores[scored], [items[row] for row in scored]
        truth, known = targets(items, self.dataset.labels)
        figures = metrics.summary(truth, scores, known, multilabel=self.dataset.multilabel)
        return {f"valid_{name}": value for name, value in figures.items()}

    def _gathered(self, own: tuple[np.ndarray, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        if self.fabric.world_size == 1:
            return [own]
        found: list[Any] = [None] * self.fabric.world_size
        torch.distributed.all_gather_object(found, own)
        return found


def board(folder: Path) -> Callable[[Mapping[str, Any]], None]:
    """A function that writes a row's figures under ``folder``/tensorboard, or does nothing without the package."""
    if find_spec("tensorboard") is None:
        return lambda row: None
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def write(row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if isinstance(value, float):
                writer.add_scalar(f"{row['kind']}/{name}", value, row["step"])
        if row["kind"] != "step":
            writer.flush()

    return write
