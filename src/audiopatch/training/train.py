"""Start a run: check it, prepare its folder, network and clips, then let the loop work, in one or more processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision

from audiopatch.datasets.recipe import Dataset
from audiopatch.datasets.waves import Waves
from audiopatch.errors import UsageError
from audiopatch.models.engines.eager import fast_float32
from audiopatch.reducers.plan import parse_plan
from audiopatch.training import optimizer
from audiopatch.training.clips import Clips
from audiopatch.training.config import TrainConfig
from audiopatch.training.initialise import build_tagger
from audiopatch.training.interrupt import leave_to_parent, stop_requested
from audiopatch.training.loop import Loop, Outcome, Report, quiet
from audiopatch.training.objective import LOSSES
from audiopatch.training.run_folder import RunFolder
from audiopatch.training.teacher_labels import teacher_labels

# by device -> how Fabric computes; given as plugins, since Fabric itself would turn fp16 on a CPU into bf16
PRECISIONS: dict[str, tuple[Callable[[str], Precision], torch.dtype]] = {
    "fp32": (lambda device: Precision(), torch.float32),
    "bf16": (lambda device: MixedPrecision("bf16-mixed", device), torch.bfloat16),
    "fp16": (lambda device: MixedPrecision("16-mixed", device), torch.float16),
}


@fast_float32()
def train(
    config: TrainConfig,
    dataset: Dataset,
    waves: Waves,
    folder: Path,
    *,
    accelerator: str = "auto",
    devices: int = 1,
    resume: bool = False,
    force: bool = False,
    report: Report = quiet,
) -> Outcome:
    """Train as ``config`` says and leave the result in ``folder``; ``resume`` goes on from its checkpoint, ``force``
    begins anew where a run is.

    ``report`` gets every row of metrics.jsonl as it is written, in the first process.
    """
    check(config, devices)
    RunFolder(folder).start(config, resume=resume, force=force)
    strategy = "ddp_spawn" if devices > 1 else "auto"
    fabric = Fabric(
        accelerator=accelerator, devices=devices, strategy=strategy, plugins=_precision(config, accelerator)
    )
    teacher = None
    if config.teacher.model:
        teacher = teacher_labels(config.teacher, dataset, waves, folder / "teacher.parquet", device=accelerator)
    with stop_requested(devices, heard=lambda number: report({"kind": "stopping", "signal": number})) as stop:
        # partial, since Fabric takes arguments apart, and these are frozen
        work = partial(
            _fit, config=config, dataset=dataset, waves=waves, teacher=teacher, folder=folder, report=report, stop=stop
        )
        try:
            return fabric.launch(work)
        except KeyboardInterrupt:  # the second Ctrl-C
            for process in multiprocessing.active_children():
                process.kill()  # they ignore SIGTERM
            raise


def _precision(config: TrainConfig, accelerator: str) -> Precision:
    is_cuda = torch.cuda.is_available() if accelerator == "auto" else accelerator in ("cuda", "gpu")
    return PRECISIONS[config.precision][0]("cuda" if is_cuda else "cpu")


def check(config: TrainConfig, devices: int) -> None:
    """What cannot work is a UsageError before anything is computed."""
    optimizer.check_schedule(config.learning_rate)
    for name, known in (("precision", PRECISIONS), ("loss", LOSSES)):
        if getattr(config, name) not in known:
            raise UsageError(f"unknown {name} '{getattr(config, name)}'; choose {', '.join(known)}")
    if config.sampling.batch_size % ((config.sampling.micro_batch or 1) * devices):
        raise UsageError(
            f"a batch of {config.sampling.batch_size} clips cannot be shared by {devices} devices "
            f"in parts of {config.sampling.micro_batch or 1}"
        )
    for plan in (config.reduction.train, config.reduction.before, config.reduction.inference):
        parse_plan(plan)
    if config.teacher.model and config.model.head != "separated":
        raise UsageError("a teacher teaches a DIST head of its own: add --set model.head=separated")


def _fit(
    fabric: Fabric,
    config: TrainConfig,
    dataset: Dataset,
    waves: Waves,
    teacher: np.ndarray | None,
    folder: Path,
    report: Report,
    stop: Callable[[], bool],
) -> Outcome:
    """One process of a run."""
    if fabric.world_size > 1:
        stop = leave_to_parent(stop)
    tagger = build_tagger(
        config.model, dataset.labels, name=RunFolder(folder).name, multilabel=dataset.multilabel, seed=config.seed
    )
    tagger.dtype = PRECISIONS[config.precision][1]
    clips = Clips.of(
        dataset.items("train"),
        waves,
        dataset.labels,
        segment_samples=round(tagger.card.segment_s * tagger.frontend.sample_rate),
        augment=config.augment,
        seed=config.seed,
        teacher=teacher,
    )
    return Loop(fabric, config, dataset, clips, tagger, RunFolder(folder), report).run(stop)
