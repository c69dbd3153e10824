"""A published model beside its authors' own package, on the same audio: front-end, logits, features, labels' order."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from audiopatch.audio.decode import decode_track
from audiopatch.audio.walk import walk
from audiopatch.bench import references
from audiopatch.errors import EnvironmentProblem, UsageError, WeightsError, first_line
from audiopatch.models.card import ModelCard, Weights
from audiopatch.models.tagger import Tagger
from audiopatch.storage.place import cache_folder
from audiopatch.types import CutSpec, Segment
from audiopatch.zoo import fetch
from audiopatch.zoo.cards import PUBLISHED
from audiopatch.zoo.load import load_model, tagger_of_card

_TOLERANCE = 5e-5  # relative L2, of features and logits in float32 on a CPU
_SHIPPED_TOLERANCE = 2e-3  # of models inside the package, whose weights are rounded to float16
_MAX_CLIPS = 12
_PARTS = ("mel", "logits", "scores", "features")


@dataclass(frozen=True)
class OutputDifference:
    """Over all clips: the largest absolute difference, and the L2 norm of the difference over that of the reference."""

    max: float
    relative: float


@dataclass(frozen=True)
class Check:
    """What came out: ``differences`` by part (mel, logits or scores, features), of ``n_clips`` clips of one segment.

    ``labels`` tells whether the package names its classes in our order; None where it names none. ``environment``
    is the interpreter that ran the package: its versions. ``tolerance`` is how far outputs may differ, relative L2.
    ``agrees`` follows from the differences and the labels.
    """

    name: str
    n_clips: int
    differences: dict[str, OutputDifference]
    labels: bool | None
    environment: dict[str, str]
    tolerance: float = _TOLERANCE
    agrees: bool = field(init=False)

    def __post_init__(self) -> None:
        outputs = [self.differences[part] for part in _PARTS[1:] if part in self.differences]
        agrees = self.labels is not False and all(one.relative <= self.tolerance for one in outputs)
        object.__setattr__(self, "agrees", agrees)


def check_model(
    card: ModelCard,
    music: Sequence[str],
    *,
    python: str | None = None,
    note: Callable[[str], None] = lambda sentence: None,
) -> Check:
    """Download ``card``'s weights, run them here and in the authors' package, and compare.

    A model that ships inside audiopatch is compared as it ships, with what its authors publish. ``music`` are files
    and folders, of which the first segment of up to twelve tracks is taken. ``python`` is an interpreter that has the
    package; without one, a virtual environment is made in the cache (``references.ENVIRONMENTS``). Families without
    a package are a UsageError, a package that cannot be had or run an EnvironmentProblem.
    """
    if card.family not in references.REFERENCES:
        known = ", ".join(references.REFERENCES)
        raise UsageError(f"'{card.name}' has no package of its authors to run beside; these families have: {known}")
    shipped = card.weights is None
    published = PUBLISHED.get(card.name) if shipped else card
    if published is None:
        raise UsageError(f"'{card.name}' has no published weights to check")
    path = fetch.download(published) if published.weights else None  # musicnn's are inside its package
    tagger = load_model(card.name, device="cpu") if shipped else tagger_of_card(card, offline=True).eval()
    waves = _first_segments(tagger, music)
    note(f"{len(waves)} clips of {card.segment_s:g} s; weights {tagger.weights_sha256[:16]}…")
    python = python or _environment(references.REFERENCES[card.family][1], note)
    theirs, told = _run_reference(python, _job(tagger, path), waves)
    return Check(
        card.name,
        len(waves),
        _compare(_run_ours(tagger, waves), theirs),
        tuple(told["labels"]) == tagger.labels if told["labels"] else None,
        {"python": told["python"]} | told["versions"],
        _SHIPPED_TOLERANCE if shipped else _TOLERANCE,
    )


def _first_segments(tagger: Tagger, music: Sequence[str]) -> list[np.ndarray]:
    spec = CutSpec(tagger.frontend.sample_rate, tagger.card.segment_s, n_segments=1, min_s=tagger.card.segment_s)
    waves: list[np.ndarray] = []
    for track in walk(music):
        if len(waves) == _MAX_CLIPS:
            break
        waves += [outcome.wave for outcome in decode_track(track, spec) if isinstance(outcome, Segment)]
    if not waves:
        raise UsageError(f"no track in {', '.join(music)} is as long as one segment ({tagger.card.segment_s:g} s)")
    return waves


def _environment(name: str, note: Callable[[str], None]) -> str:
    """The interpreter of a virtual environment in the cache, made where it is missing or was made for other packages.

    The families of one environment share it, so that torch is downloaded once.
    """
    folder, wanted = cache_folder() / "references" / name, references.ENVIRONMENTS[name]
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    finished = folder / "finished"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if finished.is_file() and finished.read_text("utf-8") == str(wanted):
            return str(python)
        note(f"making {folder} with {', '.join((*wanted.packages, *wanted.alone))}; this downloads them")
        _install(sys.executable, "venv", "--clear", str(folder))
        _install(str(python), "pip", "install", "--quiet", *wanted.packages)
        if wanted.alone:
            _install(str(python), "pip", "install", "--quiet", "--no-deps", *wanted.alone)
        finished.write_text(str(wanted), encoding="utf-8")
    return str(python)


def _install(python: str, *module: str) -> None:
    done = subprocess.run([python, "-m", *module], capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentProblem(f"the authors' package cannot be installed: {_cause(done.stderr)}")


def _source(url: str) -> Path:
    """The folder of an unpacked repository in the cache, fetched where it is missing."""
    folder = cache_folder() / "references" / Path(url).stem
    if not folder.is_dir():
        archive, unpacked = folder.with_suffix(".zip"), folder.with_suffix(".unpacked")
        archive.parent.mkdir(parents=True, exist_ok=True)
        try:
            fetch.transfer(Weights(url=url, filename=archive.name), archive, lambda n_done, n_total: None)
        except WeightsError as error:
            raise EnvironmentProblem(f"the authors' code cannot be fetched from {url}") from error
        with zipfile.ZipFile(archive) as content:
            content.extractall(unpacked)
        (inner,) = unpacked.iterdir()  # a repository's archive is one folder
        inner.rename(folder)
    return folder


def _job(tagger: Tagger, path: Path | None) -> dict[str, Any]:
    """What a reference must know, as JSON values."""
    card = tagger.card
    hub = card.weights.hub if card.weights else ""
    return {
        "family": card.family,
        "name": card.name,
        "weights": str(path),
        # owner/name at the weights' own commit, in the cache that they lie in: CACHE/models--…/snapshots/COMMIT
        "hub": {"pretrained_model_name_or_path": hub, "revision": path.name, "cache_dir": str(path.parents[2])}
        if path and hub
        else {},
        "n_classes": card.head.n_classes,
        "n_frames": tagger.frontend.n_frames,
        "frontend_options": dict(card.frontend.options),
        "backbone": asdict(card.backbone),
        "source": str(_source(references.SOURCES[card.family])) if card.family in references.SOURCES else "",
    }


def _run_reference(
    python: str, job: dict[str, Any], waves: Sequence[np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with TemporaryDirectory(prefix="audiopatch-") as name:
        folder = Path(name)
        job |= {
            "waves": str(folder / "waves.npz"),
            "outputs": str(folder / "out.npz"),
            "told": str(folder / "told.json"),
        }
        named: dict[str, Any] = {f"wave_{index}": wave for index, wave in enumerate(waves)}
        np.savez(folder / "waves.npz", **named)
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        try:
            done = subprocess.run(
                [python, str(Path(references.__file__)), str(folder / "job.json")],
                capture_output=True,
                text=True,
                check=False,
                cwd=folder,
            )
        except OSError as error:
            raise EnvironmentProblem(f"{python} cannot be run: {first_line(error)}") from error
        if done.returncode:
            raise EnvironmentProblem(f"the authors' package failed: {_cause(done.stderr)}")
        with np.load(folder / "out.npz") as content:
            outputs = {key: content[key] for key in content.files}
        return outputs, json.loads((folder / "told.json").read_text(encoding="utf-8"))


@torch.inference_mode()
def _run_ours(tagger: Tagger, waves: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for index, wave in enumerate(waves):
        mel = tagger.frontend(torch.from_numpy(wave)[None])
        prediction = tagger(mel)
        scores = tagger.scores(prediction.logits)
        for part, value in zip(_PARTS, (mel, prediction.logits, scores, prediction.features), strict=True):
            found[f"{part}_{index}"] = value[0].numpy()
    return found


def _compare(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, OutputDifference]:
    differences = {}
    for part in _PARTS:
        keys = [key for key in theirs if key.rpartition("_")[0] == part]
        if keys:
            pairs = [_as_long(ours[key], theirs[key]) for key in keys]
            found, expected = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
            distance = float(np.linalg.norm(found - expected))
            differences[part] = OutputDifference(
                float(np.abs(found - expected).max()), distance / float(np.linalg.norm(expected) or 1)
            )
    return differences


def _as_long(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mels of both, cut to the shorter: a package may hand out frames that its network then leaves out."""
    if ours.ndim == 2:
        n_frames = min(ours.shape[1], theirs.shape[1])
        return ours[:, :n_frames], theirs[:, :n_frames]
    if ours.shape != theirs.shape:
        raise UsageError(f"the package gives {theirs.shape} where audiopatch gives {ours.shape}")
    return ours, theirs


def _cause(stderr: str) -> str:
    """The line that names the exception of a traceback, which may go on below; else the last line."""
    lines = stderr.strip().splitlines()
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return (raised or lines or ["it said nothing"])[-1]
