"""A model of the user's own labels, learnt from the tags in the files and the embeddings of a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audiopatch.errors import OutputMismatchError, UsageError
from audiopatch.evaluation import bootstrap
from audiopatch.library.adapt_report import write_report
from audiopatch.library.fit import Classifier, Disagreed, Judged, Pooled, disagreements, fit, folds, judge, validate
from audiopatch.library.own_labels import Tagged, read_tagged, write_labels
from audiopatch.library.vectors import Vectors, read_vectors, with_vectors
from audiopatch.models.config import HeadConfig
from audiopatch.models.tagger import Tagger
from audiopatch.models.thresholds import Thresholds
from audiopatch.tables.read import Tables, read
from audiopatch.training.probe import probe_card
from audiopatch.zoo import load_model, native
from audiopatch.zoo.labels import OWN

_N_RESAMPLES = 200
_HEARD = (
    0.55  # ROC-AUC that a label's interval must lie above; chance has 0.5, and a few artists make it look like more
)
MARK = "own-labels.json"  # what tells a folder of ours from any other


@dataclass(frozen=True)
class Adapted:
    """What was learnt. ``labels`` are judged on held-out artists; ``left_out`` says in sentences what was not learnt.

    ``by_segments`` tells that scores were pooled over segments as ``tag`` pools them; else they are those of a track's
    mean embedding, which ``tag`` comes close to.
    """

    folder: Path
    field: str
    n_tracks: int
    n_artists: int
    strength: float
    labels: tuple[Judged, ...]
    figures: dict[str, bootstrap.Interval]
    left_out: tuple[str, ...]
    disagreements: tuple[Disagreed, ...]
    by_segments: bool


def adapt(
    inputs: Sequence[str | os.PathLike[str]] = (),
    output: str | os.PathLike[str] = "my-labels",
    *,
    tables: str | os.PathLike[str] = "audiopatch.out",
    field: str = "genre",
    labels: str | os.PathLike[str] | None = None,
    model: str | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Adapted:
    """Learn ``field`` (genre, mood, grouping or comment) of files as they are tagged, and write a model folder.

    ``inputs`` are folders of the library, none for all of it; their tracks must be in ``tables``, with embeddings: no
    audio is decoded. ``labels`` is an edited ``labels.toml`` of an earlier call. The folder holds the model, its card
    with thresholds, ``labels.toml``, and a report. Too little data, and labels that cannot be heard, are a UsageError
    with the reasons, and nothing is written.
    """
    folder = Path(output)
    _check_place(folder, force=force)
    vectors = read_vectors(read(tables))
    if vectors.kind != "embedding":
        raise UsageError(
            f"{vectors.tables.folder} has no embeddings to learn from; write them: {with_vectors(vectors.tables)}"
        )
    below = [os.fspath(path) for path in inputs]
    tagged = read_tagged(vectors, field, below=below, labels=Path(labels) if labels else None, progress=progress)
    _check_enough(tagged.labels, tagged.left_out, field)
    x = raw_embeddings(vectors)[tagged.rows].astype(np.float32)
    pooled, by_segments = _pooled(vectors, tagged.rows, x)
    fold_of = folds(tagged.truth, tagged.labels, tagged.groups)
    strength, scores = validate(x, tagged.truth, fold_of, pooled)
    judged = judge(tagged.labels, tagged.truth, scores, tagged.groups, fold_of)
    heard = [c for c, one in enumerate(judged) if one.roc_auc.low > _HEARD]
    left_out = (*tagged.left_out, *(_unheard(one) for one in judged if one.roc_auc.low <= _HEARD))
    names, truth, scores = tuple(tagged.labels[c] for c in heard), tagged.truth[:, heard], scores[:, heard]
    _check_enough(names, left_out, field)
    result = Adapted(
        folder=folder,
        field=field,
        n_tracks=len(tagged.rows),
        n_artists=int(tagged.groups.max()) + 1,
        strength=strength,
        labels=tuple(judged[c] for c in heard),
        figures=_figures(truth, scores, tagged.groups),
        left_out=left_out,
        disagreements=tuple(disagreements(names, tagged.rows, truth, scores)),
        by_segments=by_segments,
    )
    _write(result, vectors, tagged, fit(x, truth, strength), model=model)
    return result


def raw_embeddings(vectors: Vectors) -> np.ndarray:
    """(N, D) as stored, a row per track."""
    row_of = {track_id: row for row, track_id in enumerate(vectors.tracks["track_id"])}
    found: np.ndarray | None = None
    for ids, block in vectors.tables.vectors("embedding"):
        if found is None:
            found = np.zeros((len(vectors), block.shape[1]), block.dtype)
        known = [place for place, track_id in enumerate(ids) if track_id in row_of]
        found[[row_of[ids[place]] for place in known]] = block[known]
    assert found is not None
    return found


def _pooled(vectors: Vectors, rows: np.ndarray, x: np.ndarray) -> tuple[Pooled, bool]:
    """How tracks are scored, and whether that is as ``tag`` does it: by the mean over segments, if they are kept."""
    found = _segments(vectors.tables, vectors.tracks["track_id"].iloc[rows].tolist())
    if found is None or vectors.tables.run["parameters"]["pool"] != "mean":
        return lambda linear, places: linear.scores(x[places]), False
    segments, start = found

    def mean_of_segments(linear: Classifier, places: np.ndarray) -> np.ndarray:
        return np.stack(
            [linear.scores(segments[start[p] : start[p + 1]].astype(np.float32)).mean(axis=0) for p in places]
        )

    return mean_of_segments, True


def _segments(tables: Tables, track_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """Embeddings of the segments (S, D) of tracks (M,), and where each track's begin (M + 1,); None without them."""
    place_of = {track_id: place for place, track_id in enumerate(track_ids)}
    blocks, places = [], []
    for ids, block in tables.vectors("embedding", table="segments"):
        known = [k for k, track_id in enumerate(ids) if track_id in place_of]
        blocks.append(block[known])
        places += [place_of[ids[k]] for k in known]
    if len(set(places)) < len(track_ids):
        return None
    order = np.argsort(places, kind="stable")
    counts = np.bincount(places, minlength=len(track_ids))
    return np.concatenate(blocks)[order], np.concatenate([[0], np.cumsum(counts)])


def _figures(truth: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> dict[str, bootstrap.Interval]:
    weighted = {
        "map_macro": bootstrap.weighted_map(truth, scores),
        "roc_auc_macro": bootstrap.weighted_roc_auc(truth, scores),
    }
    return {
        name: bootstrap.interval(figure, len(truth), groups=groups, n=_N_RESAMPLES) for name, figure in weighted.items()
    }


def _check_enough(labels: Sequence[str], left_out: Sequence[str], field: str) -> None:
    if len(labels) < 2:
        reasons = "".join(f"\n  {sentence}" for sentence in left_out)
        raise UsageError(
            f"too little to learn from the field {field}: it takes two labels with 10 tracks by 3 artists each that "
            f"can be heard, and there {'is 1' if labels else 'are none'}. Nothing was written.{reasons}"
        )


def _unheard(one: Judged) -> str:
    auc = one.roc_auc
    return (
        f"cannot hear '{one.label}' in these embeddings: ROC-AUC {auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f}) on "
        f"artists that were held out, of {one.n_tracks} tracks by {one.n_artists}"
    )


def _check_place(folder: Path, *, force: bool) -> None:
    """Only a folder of ours is replaced, and only when told to."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MARK).is_file():
        raise OutputMismatchError(f"{folder} exists and is no model of adapt; choose another folder with -o")
    if not force:
        raise OutputMismatchError(f"{folder} holds a model already; choose another folder with -o, or add --force")


def _write(result: Adapted, vectors: Vectors, tagged: Tagged, linear: Classifier, *, model: str | None) -> None:
    """The model and its report, all at once."""
    names = [one.label for one in result.labels]
    tagger = own_tagger(vectors.tables.run["parameters"], result, linear, names, model=model)
    unfinished = result.folder.with_name(f".{result.folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    native.save(tagger, unfinished)
    write_labels(unfinished / "labels.toml", tagged.spellings)
    write_report(unfinished, report_of(result, vectors), name=str(result.folder))
    if result.folder.exists():
        shutil.rmtree(result.folder)
    unfinished.replace(result.folder)


def report_of(result: Adapted, vectors: Vectors) -> dict[str, Any]:
    """All of a result as plain values, with paths where it has rows."""
    values = asdict(result) | {"folder": str(result.folder), "model": vectors.tables.run["parameters"]["model"]}
    for entry in values["disagreements"]:
        entry["path"] = vectors.paths[entry.pop("row")].encode(errors="replace").decode()
    return values


def own_tagger(
    parameters: dict[str, Any], result: Adapted, linear: Classifier, labels: Sequence[str], *, model: str | None
) -> Tagger:
    """The network of a run under a classifier of its embeddings; ``model`` says where it is, if not in the zoo."""
    base = load_model(model or parameters["model"], device="cpu")
    if base.weights_sha256 != parameters["weights_sha256"]:
        raise UsageError(
            f"the model '{base.card.name}' has other weights than the one that made the tables; "
            "say where that one is: --model FOLDER"
        )
    head, name = HeadConfig(len(labels), "linear"), result.folder.name
    if stack := parameters["stack"]:
        if len(stack["blocks"]) > 1:
            raise UsageError("embeddings of several blocks cannot become a model; embed with one --block, or none")
        card = probe_card(base.card, stack["blocks"][0], stack["tokens"], head, name=name, multilabel=True)
    else:
        card = replace(base.card, name=name, head=head, multilabel=True, weights=None)
    card = replace(
        card,
        labels=f"{OWN} {result.field}",
        scores={name: round(value.value, 4) for name, value in result.figures.items()},
        thresholds=(_thresholds(parameters, result),),
        summary=f"own labels ({result.field}) on {base.card.name}",
    )
    tagger, frozen = Tagger(card, labels), base.state_dict()
    state = {key: frozen[key] for key in tagger.state_dict() if not key.startswith("head.")}
    fitted = {"head.weight": torch.from_numpy(linear.weight), "head.bias": torch.from_numpy(linear.bias)}
    tagger.load_state_dict(state | fitted)
    return tagger.eval()


def _thresholds(parameters: dict[str, Any], result: Adapted) -> Thresholds:
    return Thresholds(
        {one.label: round(one.threshold, 4) for one in result.labels},
        plan=parameters["patchout"],
        pool=parameters["pool"],
        overlap=parameters["overlap"],
        dataset=f"own {result.field} tags of {result.n_tracks} tracks",
        split="held-out artists",
        date=f"{datetime.now(UTC):%Y-%m-%d}",
    )
