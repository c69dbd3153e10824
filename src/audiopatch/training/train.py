"""Start a run: check it, prepare its folder, network, clips and targets, then let the loop work, in processes."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision

from audiopatch.datasets.recipe import Dataset, Item, targets
from audiopatch.datasets.waves import Waves, decode_waves
from audiopatch.errors import UsageError
from audiopatch.inference.clips import clip_rows
from audiopatch.inference.settings import Analysis
from audiopatch.models.engines.eager import fast_float32
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import parse_plan
from audiopatch.storage.place import cache_folder
from audiopatch.training import optimizer
from audiopatch.training.clips import Clips
from audiopatch.training.config import Teacher, TrainConfig
from audiopatch.training.initialise import build_tagger
from audiopatch.training.loop import Loop, OnRow, TrainOutcome, quiet
from audiopatch.training.optimizer import LOSSES
from audiopatch.training.run_folder import RunFolder
from audiopatch.zoo.load import load_model

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
    report: OnRow = quiet,
) -> TrainOutcome:
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
    report: OnRow,
    stop: Callable[[], bool],
) -> TrainOutcome:
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


@contextmanager
def stop_requested(
    n_processes: int = 1, heard: Callable[[int], None] = lambda number: None
) -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether SIGINT or SIGTERM came; a second signal acts as it always does.

    With several processes this one listens and the function, handed to the others, tells them too: a terminal or a
    scheduler signals all of them, but ``kill`` only one. ``heard`` is called once, with the first signal's number.
    """
    stop = threading.Event() if n_processes == 1 else multiprocessing.get_context("spawn").Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop.is_set  # only the main thread hears signals
        return
    before = {}

    def handle(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[number])
        heard(number)

    before.update({number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)})
    try:
        yield stop.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_to_parent(stop: Callable[[], bool]) -> Callable[[], bool]:
    """In one of several processes signals are the first one's business; where that is gone, ``stop`` is true, too."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    return lambda: stop() or (parent is not None and not parent.is_alive())


def teacher_labels(teacher: Teacher, dataset: Dataset, waves: Waves, path: Path, *, device: str) -> np.ndarray:
    """(N, C) of 0 and 1 for the training items: scores above the threshold, or the best one where none is.

    They are written to ``path`` (one row per clip, with the labels' names) and read from there by a resumed run. A
    teacher that lacks a label of the dataset is a UsageError; it may know others, and listen at another rate.
    """
    items = dataset.items("train")
    if not path.is_file():
        tagger = load_model(teacher.model, device=device)
        hard = _hard(_scores(tagger, teacher.model, dataset, waves), teacher.threshold)
        names = [[dataset.labels[index] for index in np.flatnonzero(row)] for row in hard]
        pd.DataFrame({"path": [str(item.path) for item in items], "labels": names}).to_parquet(path, index=False)
    return _read(path, items, dataset.labels)


def _scores(tagger: Tagger, name: str, dataset: Dataset, waves: Waves) -> np.ndarray:
    missing = [label for label in dataset.labels if label not in tagger.labels]
    if missing:
        raise UsageError(f"the teacher '{name}' does not know {len(missing)} labels, such as '{missing[0]}'")
    items = dataset.items("train")
    if tagger.frontend.sample_rate != waves.sample_rate:
        waves = decode_waves([item.path for item in items], tagger.frontend.sample_rate, cache_folder(), workers=2)
    columns = [tagger.labels.index(label) for label in dataset.labels]
    rows = clip_rows(tagger, waves.clips(items), Analysis(model=tagger.card.name))
    return rows.require_all([item.path for item in items]).scores[:, columns]


def _hard(scores: np.ndarray, threshold: float) -> np.ndarray:
    hard = scores > threshold
    silent = ~hard.any(axis=1)
    hard[silent, scores[silent].argmax(axis=1)] = True
    return hard


def _read(path: Path, items: Sequence[Item], labels: Sequence[str]) -> np.ndarray:
    table = pd.read_parquet(path)
    if table.path.tolist() != [str(item.path) for item in items]:
        raise UsageError(f"{path} is about other clips than the dataset now holds; choose another -o")
    taught = [Item(item.path, tuple(names)) for item, names in zip(items, table.labels, strict=True)]
    return targets(taught, labels).truth
