"""Rows of finished tracks -> the Arrow tables of one part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from audiopatch.tables import schema
from audiopatch.tables.schema import Layout
from audiopatch.types import Decoded, Failed, SegmentRow, Track, TrackRow

if TYPE_CHECKING:
    from audiopatch.zoo.labels import Label

TablesByName = dict[str, pa.Table]
_UNWRITABLE = (ValueError, OverflowError, TypeError, pa.ArrowException)


def tables_of(rows: Sequence[TrackRow | Failed], layout: Layout, *, at: datetime | None = None) -> TablesByName:
    """The part that holds ``rows``: only tables that have a row, sorted by path."""
    at = at or datetime.now(UTC)
    rows = sorted(rows, key=lambda row: row.track.path)
    ok = [row for row in rows if isinstance(row, TrackRow)]
    tables = {
        "tracks": _table([_track(row, at, layout) for row in ok], schema.TRACKS),
        "tags": _tags(ok, layout) if layout.labels else None,
        "embeddings": _embeddings(ok, layout),
        "segments": _segments(ok, layout) if layout.timeline else None,
        "errors": _table([error for row in rows if (error := _error(row, at))], schema.ERRORS),
    }
    return {name: table for name, table in tables.items() if table is not None and len(table)}


def writable(rows: Sequence[TrackRow | Failed], layout: Layout) -> TablesByName:
    """``tables_of``, where a row that no table can hold becomes an error of its own and leaves its neighbours alone."""
    try:
        return tables_of(rows, layout)
    except _UNWRITABLE:
        return tables_of([_or_error(row, layout) for row in rows], layout)


def _or_error(row: TrackRow | Failed, layout: Layout) -> TrackRow | Failed:
    try:
        tables_of([row], layout)
    except _UNWRITABLE as error:
        track = replace(row.track, size_bytes=_bounded(row.track.size_bytes), mtime_ns=_bounded(row.track.mtime_ns))
        return Failed(track, "E_WRITE", "write", f"its row fits into no table: {type(error).__name__}: {error}")
    return row


def _bounded(value: int) -> int:
    return max(-(2**63), min(value, 2**63 - 1))


def labels_table(labels: Sequence[Label]) -> pa.Table:
    """label_id, label, parent, leaf, group; null where there is no parent or the group is not known."""
    columns = [
        list(range(len(labels))),
        [label.name for label in labels],
        [label.parent or None for label in labels],
        [label.leaf for label in labels],
        [label.group or None for label in labels],
    ]
    return pa.table(columns, schema=schema.LABELS)


class TextPath(NamedTuple):
    """A path as valid text, and its bytes where the text could not hold them (a name that is not UTF-8)."""

    text: str
    raw: bytes | None = None


def text_path(path: str) -> TextPath:
    """A path as the tables hold it."""
    try:
        path.encode()
        return TextPath(path)
    except UnicodeEncodeError:
        raw = path.encode(errors="surrogateescape")
        return TextPath(raw.decode(errors="replace"), raw)


def _table(rows: list[dict[str, Any]], kind: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=kind)


def place(track: Track) -> dict[str, Any]:
    """The columns that say which file a row is about, and how it was found."""
    path, path_bytes = text_path(track.path)
    return {
        "track_id": track.track_id,
        "path": path,
        "path_bytes": path_bytes,
        "root": text_path(track.root).text,
        "size_bytes": track.size_bytes,
        "mtime_ns": track.mtime_ns,
    }


def own_names(found: Decoded) -> dict[str, str | None]:
    """What the file itself says it is."""
    return {name: _clean(found.tags.get(name)) for name in ("artist", "album", "title", "genre")}


def _track(row: TrackRow, at: datetime, layout: Layout) -> dict[str, Any]:
    found, scores = row.decoded, row.scores
    content = {} if scores is None else {name: float(scores[number]) for name, number in layout.content.items()}
    return place(row.track) | own_names(found) | content | {
        "audio_hash": found.audio_hash,
        "duration_s": found.duration_s,
        "sample_rate": found.sample_rate,
        "channels": found.channels,
        "codec": found.codec,
        "n_segments": found.n_segments,
        "coverage": found.coverage,
        "status": "damaged" if found.damaged else "ok",
        "processed_at": at,
    }  # fmt: skip


def _error(row: TrackRow | Failed, at: datetime) -> dict[str, Any] | None:
    """A failed track, or one that was read in spite of damage; None for a sound one."""
    if isinstance(row, Failed):
        what = {"code": row.code, "stage": row.stage, "message": row.message, "position_s": row.position_s}
        tried = row.decoders_tried
    elif row.decoded.damaged:
        code = "E_TRUNCATED" if row.decoded.coverage < 1 and not row.decoded.n_errors else "E_DECODE"
        what = {"code": code, "stage": "decode", "message": row.decoded.message or "damaged audio", "position_s": None}
        tried = row.decoded.decoders_tried
    else:
        return None
    return place(row.track) | what | {"message": _clean(what["message"]), "decoders_tried": tried, "processed_at": at}


def _clean(text: Any) -> str | None:
    """Any tag or message as text that can be stored; control characters and broken bytes do not survive."""
    if text is None:
        return None
    text = str(text).encode(errors="replace").decode()
    return "".join(char if char.isprintable() else " " for char in text).strip()


def _tags(rows: Sequence[TrackRow], layout: Layout) -> pa.Table:
    """The best labels of each track, best first; equal scores in label order."""
    chosen = [_best(row.scores, layout) for row in rows if row.scores is not None]
    counts = [len(best) for best in chosen]
    index = np.concatenate([*chosen, np.empty(0, np.int64)]).astype(np.int64)
    column = lambda value: [value(row) for row, n in zip(rows, counts, strict=True) for _ in range(n)]  # noqa: E731
    rank = [np.arange(1, n + 1) for n in counts]
    split = [schema.split_label(label, layout.parents) for label in layout.labels]
    return pa.table(
        {
            "track_id": column(lambda row: row.track.track_id),
            "path": column(lambda row: text_path(row.track.path).text),
            "rank": np.concatenate([*rank, np.empty(0)]).astype(np.int16),
            "label": _words(layout.labels[i] for i in index),
            "parent": _words(split[i][0] for i in index),
            "leaf": _words(split[i][1] for i in index),
            "score": _gather(rows, chosen, lambda row: row.scores),
            "score_max": _gather(rows, chosen, lambda row: row.scores_max),
        },
        schema=schema.TAGS,
    )


def _best(scores: np.ndarray, layout: Layout) -> np.ndarray:
    least = np.maximum(layout.min_score, layout.min_scores or (0.0,)).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    return order[(scores >= least)[order]][: layout.top_k]


def _words(values: Any) -> pa.DictionaryArray:
    return pa.array(list(values), pa.string()).dictionary_encode()


def _gather(rows: Sequence[TrackRow], chosen: list[np.ndarray], value: Callable[[TrackRow], Any]) -> np.ndarray:
    parts = [value(row)[best] for row, best in zip(rows, chosen, strict=True)]
    return np.concatenate([*parts, np.empty(0)]).astype(np.float32)


def _embeddings(rows: Sequence[TrackRow], layout: Layout) -> pa.Table | None:
    embedding = _vectors([row.embedding for row in rows], layout.vectors)
    scores = _vectors([row.scores for row in rows] if layout.dense else [], "float16")
    if embedding is None and scores is None:
        return None
    place = [[row.track.track_id for row in rows], [text_path(row.track.path).text for row in rows]]
    kind = schema.embeddings_schema(_type(embedding), _type(scores))
    return pa.table([*place, *(vector for vector in (embedding, scores) if vector is not None)], schema=kind)


def _segments(rows: Sequence[TrackRow], layout: Layout) -> pa.Table | None:
    pairs: list[tuple[str, SegmentRow]] = [(row.track.track_id, cut) for row in rows for cut in row.segments]
    if not pairs:
        return None
    embedding = _vectors([cut.embedding for _, cut in pairs], layout.vectors)
    scores = _vectors([cut.scores for _, cut in pairs], layout.vectors)
    place = [
        [track_id for track_id, _ in pairs],
        [cut.index for _, cut in pairs],
        [cut.start_s for _, cut in pairs],
        [cut.end_s for _, cut in pairs],
    ]
    kind = schema.segments_schema(_type(embedding), _type(scores))
    return pa.table([*place, *(vector for vector in (embedding, scores) if vector is not None)], schema=kind)


def _vectors(values: list[np.ndarray | None], kind: str) -> pa.Array | None:
    """[(D,), ...] -> a fixed-size list column, or None when there is nothing to write."""
    if not values or values[0] is None:
        return None
    stacked = np.stack([value for value in values if value is not None]).astype(kind)
    return pa.FixedSizeListArray.from_arrays(pa.array(stacked.ravel()), type=schema.vector(stacked.shape[1], kind))


def _type(column: pa.Array | None) -> pa.DataType | None:
    return None if column is None else column.type
