"""What the commands do, as functions: each returns what was made or found, and asks nobody.

Names and defaults are those of the command line, where ``max_memory`` is ``--max-memory``; a value that cannot work is
an ``audiopatch.errors.AudioPatchError`` that names it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiopatch.audio.inputs import Inputs
from audiopatch.events import TqdmBar, silent
from audiopatch.inference.settings import TOKENS, Analysis, Runtime, Stack
from audiopatch.tables.read import Tables, read
from audiopatch.zoo import DEFAULT_MODEL

if TYPE_CHECKING:
    from audiopatch.bench.estimate import Estimate
    from audiopatch.bench.run import BenchReport
    from audiopatch.distill.shrink import Shrunk
    from audiopatch.inspection.inspect import Inspected

AnyPath = str | os.PathLike[str]
Paths = AnyPath | Sequence[AnyPath]


def tag(
    paths: Paths,
    output: AnyPath | None = None,
    *,
    model: str = Analysis.model,
    patchout: str | None = Analysis.patchout,
    top: int = Analysis.top,
    min_score: float = Analysis.min_score,
    thresholds: bool = Analysis.thresholds,
    pool: str = Analysis.pool,
    segments: int | None = Analysis.segments,
    overlap: float = Analysis.overlap,
    timeline: bool = Analysis.timeline,
    dense: bool = Analysis.dense,
    embeddings: bool = Analysis.embeddings,
    block: int | Sequence[int] | None = None,
    tokens: Sequence[str] = TOKENS,
    vectors: str = Analysis.vectors,
    seed: int = Analysis.seed,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    format: str = "parquet",
    force: bool = Runtime.force,
    retry_failed: bool = Runtime.retry_failed,
    prune: bool = Runtime.prune,
    offline: bool = Runtime.offline,
    runner: str = Runtime.runner,
    address: str = Runtime.address,
    device: str = Runtime.device,
    dtype: str = Runtime.dtype,
    engine: str = Runtime.engine,
    batch: int | None = Runtime.batch,
    workers: int | None = Runtime.workers,
    threads: int | None = Runtime.threads,
    max_memory: str | None = Runtime.max_memory,
    decode_timeout: float = Runtime.decode_timeout,
    progress: bool = False,
) -> Tables:
    """Tag files, folders, globs and lists of them (``paths``); the tables come back lazily as pandas frames.

    ``output`` is a folder, or an address as ``s3://bucket/tags``, that the same call resumes; without one the tables
    are kept only as long as the result. ``.tags`` has ``top`` rows per track (0: all labels), each with a ``score`` in
    0..1: ``pool`` (mean, max, median, noisy-or) over segments that share ``overlap`` (0 to below 1), of which only
    ``segments`` are taken where that is given. ``patchout`` drops tokens (``F3T2``, ``topk:0.7``).
    ``thresholds`` keeps tags that reach what ``evaluate`` measured. ``embeddings`` adds a vector per track, ``block``
    takes it after that block of the network, ``timeline`` adds a row per segment, ``dense`` every label's score.
    Files that fail are rows of ``.errors``, never an exception.

    Raises UsageError for what cannot work, NoAudioError, WeightsError, EnvironmentProblem where the machine lacks
    something, OutputMismatchError for a folder of other parameters (``force`` recomputes it).
    """
    analysis = Analysis(
        model=model, patchout=patchout, top=top, min_score=min_score, thresholds=thresholds, pool=pool,
        segments=segments, overlap=overlap, timeline=timeline, dense=dense, embeddings=embeddings or block is not None,
        stack=Stack.of(block, tokens), vectors=vectors, seed=seed,
    )  # fmt: skip
    runtime = Runtime(
        force=force, retry_failed=retry_failed, prune=prune, offline=offline, runner=runner, address=address,
        device=device, dtype=dtype, engine=engine, batch=batch, workers=workers, threads=threads, max_memory=max_memory,
        decode_timeout=decode_timeout,
    )  # fmt: skip
    return _run(_inputs(paths, include, exclude), output, analysis, runtime, format, progress)


def embed(
    paths: Paths,
    output: AnyPath | None = None,
    *,
    model: str = Analysis.model,
    block: int | Sequence[int] | None = None,
    tokens: Sequence[str] = TOKENS,
    patchout: str | None = Analysis.patchout,
    segments: int | None = Analysis.segments,
    overlap: float = Analysis.overlap,
    timeline: bool = Analysis.timeline,
    vectors: str = Analysis.vectors,
    seed: int = Analysis.seed,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    format: str = "parquet",
    force: bool = Runtime.force,
    retry_failed: bool = Runtime.retry_failed,
    prune: bool = Runtime.prune,
    offline: bool = Runtime.offline,
    runner: str = Runtime.runner,
    address: str = Runtime.address,
    device: str = Runtime.device,
    dtype: str = Runtime.dtype,
    engine: str = Runtime.engine,
    batch: int | None = Runtime.batch,
    workers: int | None = Runtime.workers,
    threads: int | None = Runtime.threads,
    max_memory: str | None = Runtime.max_memory,
    decode_timeout: float = Runtime.decode_timeout,
    progress: bool = False,
) -> Tables:
    """Embed files and folders: the pooled features before the head, or ``tokens`` (cls, dist, avg) after ``block``.

    The ``embedding`` column of ``.embeddings`` holds one vector (E,) per track, the mean over its segments; with
    ``timeline`` the one of ``.segments`` holds one per segment. The rest, errors too, is as in ``tag``.
    """
    analysis = Analysis(
        model=model, tags=False, embeddings=True, stack=Stack.of(block, tokens), patchout=patchout, segments=segments,
        overlap=overlap, timeline=timeline, vectors=vectors, seed=seed,
    )  # fmt: skip
    runtime = Runtime(
        force=force, retry_failed=retry_failed, prune=prune, offline=offline, runner=runner, address=address,
        device=device, dtype=dtype, engine=engine, batch=batch, workers=workers, threads=threads, max_memory=max_memory,
        decode_timeout=decode_timeout,
    )  # fmt: skip
    return _run(_inputs(paths, include, exclude), output, analysis, runtime, format, progress)


def evaluate(
    dataset: str,
    data_dir: AnyPath,
    output: AnyPath,
    *,
    model: str = DEFAULT_MODEL,
    against: str | None = None,
    split: str = "test",
    patchout: str | None = Analysis.patchout,
    pool: str = Analysis.pool,
    overlap: float = Analysis.overlap,
    fold: int | None = None,
    allow_missing: bool = False,
    resamples: int = 1000,
    save: bool = True,
    device: str = Runtime.device,
    workers: int | None = Runtime.workers,
) -> dict[str, Any]:
    """Score a labelled data set as ``tag`` would, and write figures, pictures and a page into ``output``.

    Returns what evaluation.json says: ``["figures"]["clip"]["map_macro"]`` has ``value``, ``low`` and ``high`` (95 %,
    by ``resamples`` bootstraps). ``against`` is another model to compare with. ``save`` keeps figures and thresholds in
    the card of a model folder. Raises UsageError for an unknown data set or a model that lacks its labels.
    """
    from audiopatch.evaluation.run import evaluate_model, require_training_extra
    from audiopatch.training.data import open_dataset

    require_training_extra()
    models = [model] if against is None else [model, against]
    options = {} if fold is None else {"fold": fold}
    found = open_dataset(dataset, Path(data_dir), options, allow_missing=allow_missing, models=models)
    return evaluate_model(
        model, found, Path(output),
        split=split, plan=patchout, pool=pool, overlap=overlap, device=device, against=against,
        workers=Runtime(workers=workers).n_workers, save_thresholds=save, n_resamples=resamples,
    )  # fmt: skip


def train(
    recipe: str,
    data_dir: AnyPath,
    output: AnyPath,
    *,
    model: str | None = None,
    settings: Mapping[str, Any] | None = None,
    fold: int | None = None,
    evaluate: bool = True,
    allow_missing: bool = False,
    device: str = Runtime.device,
    devices: int = 1,
    workers: int | None = Runtime.workers,
    resume: bool = False,
    force: bool = False,
) -> Path:
    """Train by a ``recipe`` (``folder`` where sub-folders are the labels); returns the folder of the model.

    ``settings`` change the recipe, as in ``{"optimizer.lr": 2e-5}``. Raises UsageError for a setting that there is not
    and OutputMismatchError where ``output`` holds another run.
    """
    from audiopatch.training.config import spelled
    from audiopatch.training.experiment import TrainRun, run_recipe

    run = TrainRun(
        Path(data_dir), Path(output), allow_missing, device, devices, workers, resume, force, evaluate, silent
    )
    on = None if fold is None else str(fold)
    return run_recipe(recipe, run, model=model, settings=spelled(settings), fold=on)[0].model


def distill(
    paths: Paths,
    output: AnyPath,
    *,
    teachers: Sequence[str] = ("mn04_as",),
    student: str | None = None,
    segments: int | None = None,
    seconds: float = 8 * 3600.0,
    held_out: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    device: str = Runtime.device,
    resume: bool = False,
    force: bool = False,
) -> Path:
    """Distil ``teachers`` into ``student`` on unlabelled music; returns the folder of the model, with its report.

    ``student`` None begins as the first teacher with blocks put in.

    It learns from ``segments`` crops, or where that is None for ``seconds``. ``held_out`` folders are only measured on;
    what sounds as they do elsewhere is left out.
    """
    from audiopatch.distill.config import DistillConfig
    from audiopatch.distill.repair import refuse_repair
    from audiopatch.distill.run import distill_to_folder
    from audiopatch.training.config import overrides, spelled

    refuse_repair(student, Path(output))
    config = DistillConfig(max_s=seconds) if segments is None else DistillConfig(max_segments=segments)
    distill_to_folder(
        _inputs(paths), Path(output),
        teachers=teachers, student=student, held_out=list(held_out), config=config,
        settings=overrides(spelled(settings)), device=device, resume=resume, force=force,
    )  # fmt: skip
    return Path(output) / "model"


def shrink(
    paths: Paths,
    output: AnyPath,
    *,
    gmacs: float,
    model: str = DEFAULT_MODEL,
    repair_s: float = 0.0,
    device: str = Runtime.device,
    resume: bool = False,
    force: bool = False,
) -> Shrunk:
    """Make a transformer smaller, without the heads and blocks that this music needs least; ``.folder`` is the model's.

    ``gmacs`` is the goal, in billion multiply-adds a segment. With ``repair_s`` it then learns for so many seconds from
    the whole model; ``.repair`` says what that brought on held-out music, and the better of the two models is kept.
    ``resume`` goes on with a repair that came to no end.
    """
    from audiopatch.distill.repair import SHRUNK, repair
    from audiopatch.distill.shrink import shrink_to_folder

    folder = Path(output)
    place = folder / (SHRUNK if repair_s else "model")
    how = {"model": model, "device": device, "resume": resume, "force": force}
    made = shrink_to_folder(_inputs(paths), place, gmacs=gmacs, **how)
    if not repair_s:
        return made
    repaired = repair(_inputs(paths), made, folder, seconds=repair_s, **how)
    assert repaired is not None  # nobody asked it to stop
    return repaired


def bench(
    music: AnyPath,
    *,
    models: Sequence[str] = (DEFAULT_MODEL,),
    patchouts: Sequence[str] | None = None,
    engines: Sequence[str] = ("torch",),
    batches: Sequence[int] | None = None,
    blocks: Sequence[int] = (),
    n_tracks: int = 8,
    whole_runs: bool = False,
    device: str = Runtime.device,
    repeats: int = 7,
    budget_s: float = 60.0,
) -> BenchReport:
    """Measure every combination of models, patchouts and engines on up to ``n_tracks`` tracks of ``music``.

    ``.rows`` of the report have ``minutes_per_s`` (minutes of audio per second), ``quality`` (0..1) and the rest of
    ``bench.sweep.Row``. ``budget_s`` is about how long it takes to measure.
    """
    from audiopatch.bench.run import Wanted, run_bench
    from audiopatch.bench.sweep import Settings

    wanted = Wanted(models=models, patchouts=patchouts, engines=engines, batches=batches, blocks=(None, *blocks))
    settings = Settings(device=device, repeats=repeats, budget_s=budget_s)
    return run_bench(
        wanted, os.fspath(music), settings,
        n_tracks=n_tracks, with_whole_runs=whole_runs,
    )  # fmt: skip


def estimate(
    folder: AnyPath,
    *,
    model: str = DEFAULT_MODEL,
    segments: int | None = Analysis.segments,
    finish_in_s: float | None = None,
    min_quality: float = 0.95,
    engines: Sequence[str] = ("torch",),
    device: str = Runtime.device,
    budget_s: float = 60.0,
) -> Estimate:
    """How long a library takes, and the ``command`` that tags it in ``finish_in_s`` seconds or at ``min_quality``."""
    from audiopatch.bench.estimate import ToTag, Wish
    from audiopatch.bench.estimate import estimate as find

    place = os.fspath(folder)
    library = ToTag(tracks=list(Inputs([place]).tracks()), folder=place, model=model, n_segments=segments)
    wish = Wish(finish_in_s=finish_in_s, min_quality=min_quality)
    return find(library, wish, engines=engines, device=device, budget_s=budget_s)


def export(model: str, file: AnyPath, *, patchout: str | None = None, block: int | None = None) -> Path:
    """Write a model as ONNX, mel (B, n_mels, frames) -> scores (B, C) and features, with a patchout baked in."""
    from audiopatch.inference.extract import find_plan
    from audiopatch.models.engines.onnx import export_onnx
    from audiopatch.zoo import load_model

    tagger = load_model(model, device="cpu", dtype="float32")
    export_onnx(tagger, Path(file), find_plan(tagger, patchout), () if block is None else (block,))
    return Path(file)


def inspect(
    paths: Paths,
    output: AnyPath = "inspect.out",
    *,
    model: str = DEFAULT_MODEL,
    patchout: str | None = None,
    n_tracks: int = 50,
    seed: int = Analysis.seed,
    device: str = Runtime.device,
    dtype: str = Runtime.dtype,
) -> Inspected:
    """Draw what a plan keeps: of one track, or of ``n_tracks`` from all over many; ``.page`` is the page written.

    ``patchout`` None is ``topk:0.7``.
    """
    from audiopatch.inference.extract import find_plan
    from audiopatch.inspection.inspect import DEFAULT_PLAN, inspect_tracks
    from audiopatch.zoo import load_model

    tagger = load_model(model, device=device, dtype=dtype)
    plan = find_plan(tagger, patchout or DEFAULT_PLAN)
    tracks = list(_inputs(paths).tracks())
    return inspect_tracks(tagger, tracks, plan, Path(output), n_tracks=n_tracks, seed=seed)


def _run(
    inputs: Inputs, output: AnyPath | None, analysis: Analysis, runtime: Runtime, format: str, progress: bool
) -> Tables:
    from audiopatch.inference.pipeline import run_to_folder

    kept = None if output is not None else tempfile.TemporaryDirectory(prefix="audiopatch-")
    folder = kept.name if kept else os.fspath(output or "")
    observer = TqdmBar() if progress else silent
    run_to_folder(inputs, folder, analysis, runtime, file_format=format, observer=observer)
    return read(folder, keep=kept)


def _inputs(paths: Paths, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Inputs:
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    return Inputs([os.fspath(path) for path in several], include=tuple(include), exclude=tuple(exclude))
