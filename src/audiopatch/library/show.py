"""What the tables of a run say, as an answer: the library at a glance, one track, or the best tracks of a label."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiopatch.audio.names import looks_like_audio
from audiopatch.catalog import nearest
from audiopatch.errors import UsageError
from audiopatch.library.label_names import find_labels
from audiopatch.tables.read import Tables, read
from audiopatch.zoo.cards import least_scores
from audiopatch.zoo.labels import CONTENT, GROUPS, OWN, groups_in

if TYPE_CHECKING:
    import pandas as pd

SHOWN_GROUPS = tuple(group for group in GROUPS if group != "sound")
_ELSE_GROUPS = ("sound", "")  # count for the tracks that have no other
_N_LABELS = 8  # of a group, at a glance


@dataclass(frozen=True)
class Tag:
    """A label, its group ("" where unknown) and how sure the model is of it, from 0 to 1.

    ``meant`` where that reaches what ``zoo.cards.least_scores`` asks of the label; anything less is a guess.
    """

    label: str
    group: str
    score: float
    meant: bool


@dataclass(frozen=True)
class Shown:
    """A track with its tags, best first; for the tracks of a label with that label's alone."""

    path: str
    duration_s: float
    status: str
    tags: tuple[Tag, ...]


@dataclass(frozen=True)
class LabelCount:
    """In how many tracks a label is the best of its group and meant, and the track that has most of it."""

    label: str
    group: str
    n_tracks: int
    best: str
    score: float


@dataclass(frozen=True)
class Glance:
    """A library in a few numbers; ``counts`` by group, in each the commonest label first.

    ``n_guessed`` tracks have no label that is meant, and do not count; ``meant_from`` says how that is known.
    """

    folder: str
    model: str
    n_tracks: int
    n_damaged: int
    n_failed: int
    n_guessed: int
    duration_s: float
    meant_from: str
    counts: tuple[LabelCount, ...]


@dataclass(frozen=True)
class LabelTracks:
    """The tracks of a label, best first. ``complete`` where every track has a score for it in the tables.

    ``others`` are further labels that the words fit.
    """

    label: str
    group: str
    tracks: tuple[Shown, ...]
    complete: bool
    others: tuple[str, ...] = ()


def glance(tables: str | os.PathLike[str] | Tables = "audiopatch.out", *, n_labels: int = _N_LABELS) -> Glance:
    """The library at a glance: for each group the labels that are the best one of most tracks.

    Tables without tags are a UsageError.
    """
    tables = _opened(tables)
    tracks, tags = tables.tracks, _grouped(tables)
    tags = tags[tags["meant"]]
    best = tags.drop_duplicates(["track_id", "group"])  # tags are in the order of their rank
    counts: list[LabelCount] = []
    for group in (*SHOWN_GROUPS, *_ELSE_GROUPS):
        mine = best[best["group"] == group]
        if group in _ELSE_GROUPS:
            mine = mine[~mine["track_id"].isin(best.loc[best["group"].isin(SHOWN_GROUPS), "track_id"])]
        found = [_count(label, group, rows) for label, rows in mine.groupby("leaf", observed=True)]
        counts += sorted(found, key=lambda one: (-one.n_tracks, one.label))[:n_labels]
    n_failed = int((~tables.errors["track_id"].isin(tracks["track_id"])).sum()) if len(tables.errors) else 0
    return Glance(
        str(tables.folder),
        tables.run["parameters"]["model"],
        len(tracks),
        int((tracks["status"] == "damaged").sum()) if len(tracks) else 0,
        n_failed,
        len(tracks) - best["track_id"].nunique(),
        float(tracks["duration_s"].sum()) if len(tracks) else 0.0,
        least_scores(tables.run, ())[1],
        tuple(counts),
    )


def track_tags(track: str, tables: str | os.PathLike[str] | Tables = "audiopatch.out") -> Shown:
    """One track's tags; ``track`` is its path or the end of it. One that is not in the tables is a UsageError."""
    tables = _opened(tables)
    row = _find_track(track, tables)
    if row is None:
        raise UsageError(_unknown_track(track, tables))
    return shown(tables, tables.tracks.iloc[[row]])[0]


def label_tracks(
    label: str, tables: str | os.PathLike[str] | Tables = "audiopatch.out", *, top: int = 10
) -> LabelTracks:
    """The ``top`` tracks of a label, which may be written as people say it: "metal" finds "Heavy metal".

    Every track is asked where the tables hold all scores (``dense``, or ``top`` 0 when tagging); else those that have
    the label among their tags. A word that fits no label is a UsageError.
    """
    tables = _opened(tables)
    names, groups = list(tables.labels["label"]), groups_in(tables.labels)
    found = find_labels(label, names)
    leaf = dict(zip(names, tables.labels["leaf"], strict=True))
    name = found[0]
    scores, complete = _scores_of(tables, names.index(name), name)
    least = least_scores(tables.run, [name])[0][name]
    tracks = tables.tracks.set_index("track_id", drop=False)
    best = sorted(scores, key=lambda track_id: (-scores[track_id], track_id))[:top]
    rows = tracks.loc[[track_id for track_id in best if track_id in tracks.index]]
    entries = tuple(
        Shown(
            row.path,
            float(row.duration_s),
            row.status,
            (Tag(leaf[name], groups[name], round(scores[row.track_id], 4), scores[row.track_id] >= least),),
        )
        for row in _rows(rows)
    )
    return LabelTracks(leaf[name], groups[name], entries, complete, tuple(leaf[other] for other in found[1:]))


def show(
    what: str | None = None, tables: str | os.PathLike[str] | Tables = "audiopatch.out", *, top: int = 10
) -> Glance | Shown | LabelTracks:
    """``glance`` of everything, else ``track_tags`` or, where no track is called so, ``label_tracks``.

    What is no label either may be the name of a track without its ending.
    """
    tables = _opened(tables)
    if what is None:
        return glance(tables)
    if _find_track(what, tables) is not None:
        return track_tags(what, tables)
    if _is_path(what):
        raise UsageError(_unknown_track(what, tables))
    try:
        return label_tracks(what, tables, top=top)
    except UsageError:
        if (row := _find_track(what, tables, by_stem=True)) is None:
            raise
        return shown(tables, tables.tracks.iloc[[row]])[0]


def shown(tables: Tables, tracks: pd.DataFrame) -> list[Shown]:
    """Some rows of ``tracks`` with their tags."""
    tags = _grouped(tables)
    tags = tags[tags["track_id"].isin(tracks["track_id"])]
    of = {track_id: _tags(rows) for track_id, rows in tags.groupby("track_id", sort=False)}
    return [Shown(row.path, float(row.duration_s), row.status, of.get(row.track_id, ())) for row in _rows(tracks)]


def _opened(tables: str | os.PathLike[str] | Tables) -> Tables:
    found = tables if isinstance(tables, Tables) else read(tables)
    if not found.run["parameters"].get("tags", True):
        raise UsageError(f"{found.folder} holds embeddings and no tags; make some: audiopatch tag ~/Music -o tags")
    return found


def _grouped(tables: Tables) -> pd.DataFrame:
    """``tags`` with columns ``group`` and ``meant``, without those that only say what kind of audio it is."""
    tags = tables.tags
    if not len(tags):
        return tags.reindex(columns=["track_id", "path", "rank", "label", "leaf", "score", "group", "meant"])
    labels = tags["label"].astype(str)
    least, _ = least_scores(tables.run, labels.unique())
    tags = tags.assign(group=labels.map(groups_in(tables.labels)), meant=tags["score"] >= labels.map(least))
    own = tables.run.get("model", {}).get("labels", "").startswith(OWN)
    return tags if own else tags[(tags["group"] != CONTENT) & (tags["leaf"] != "Music")]


def _tags(rows: pd.DataFrame) -> tuple[Tag, ...]:
    return tuple(Tag(str(row.leaf), row.group, round(float(row.score), 4), bool(row.meant)) for row in _rows(rows))


def _count(label: Any, group: str, rows: pd.DataFrame) -> LabelCount:
    first = rows.iloc[int(np.argmax(rows["score"]))]
    return LabelCount(str(label), group, len(rows), first["path"], round(float(first["score"]), 4))


def _rows(frame: pd.DataFrame) -> Iterable[Any]:
    return frame.itertuples()


def _scores_of(tables: Tables, index: int, name: str) -> tuple[Mapping[str, float], bool]:
    """Track id -> score of a label, and whether that is known of every track."""
    if tables.run["parameters"].get("dense"):
        pairs = (
            (track_id, float(score))
            for ids, scores in tables.vectors("scores")
            for track_id, score in zip(ids, scores[:, index], strict=True)
        )
        return dict(pairs), True
    tags = tables.tags
    mine = tags[tags["label"] == name] if len(tags) else tags
    top_k, min_score = tables.run["parameters"]["top_k"], tables.run["parameters"]["min_score"]
    complete = (top_k is None or top_k >= len(tables.labels)) and not min_score
    return dict(zip(mine["track_id"], mine["score"].astype(float), strict=True)) if len(mine) else {}, complete


def _find_track(name: str, tables: Tables, *, by_stem: bool = False) -> int | None:
    """The row of a track by its path, or the end of it, or its stem; what several share is a UsageError."""
    paths: Sequence[str] = list(tables.tracks["path"]) if len(tables.tracks) else []
    whole = os.path.abspath(name)  # noqa: PTH100 (names stay as they are)
    for given in (name, whole):
        if given in paths:
            return paths.index(given)
    if by_stem:
        ends = [row for row, path in enumerate(paths) if Path(path).stem.casefold() == name.casefold()]
    else:
        ends = [row for row, path in enumerate(paths) if path.endswith(name.removeprefix("." + os.sep))]
    if len(ends) > 1:
        raise UsageError(f"'{name}' may be {paths[ends[0]]} or {paths[ends[1]]}; name more of its path")
    return ends[0] if ends else None


def _is_path(words: str) -> bool:
    return os.sep in words or looks_like_audio(words)


def _unknown_track(name: str, tables: Tables) -> str:
    failed = tables.errors
    if len(failed):
        failed = failed[failed["path"].str.endswith(Path(name).name)]
    if len(failed):
        return f"{failed.iloc[0]['path']} could not be read: {failed.iloc[0]['message']}"
    names = [Path(path).name for path in tables.tracks["path"]] if len(tables.tracks) else []
    cure = nearest(Path(name).name, names, otherwise="name a track by its path, or by the end of it")
    return f"no track in {tables.folder} is called '{name}'; {cure}"
