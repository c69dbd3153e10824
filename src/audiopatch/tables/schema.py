"""The tables of an output folder: every column, its type and unit, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

SCHEMA_VERSION = 1

STORED_NAMES = {"top": "top_k", "segments": "n_segments", "embeddings": "embedding"}
"""Parameters that ``run.json`` and the fingerprint know by the name they had when the first tables were written."""

TABLES = ("tags", "embeddings", "segments", "errors", "tracks")

_LABEL = pa.dictionary(pa.int32(), pa.string())

TRACKS = pa.schema(
    [
        pa.field("track_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("path_bytes", pa.binary()),
        pa.field("root", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("audio_hash", pa.string()),
        pa.field("duration_s", pa.float64()),
        pa.field("sample_rate", pa.int32()),
        pa.field("channels", pa.int16()),
        pa.field("codec", pa.string()),
        pa.field("n_segments", pa.int32()),
        pa.field("coverage", pa.float32()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("processed_at", pa.timestamp("us", tz="UTC"), nullable=False),
        *(pa.field(name, pa.string()) for name in ("artist", "album", "title", "genre")),
        *(pa.field(name, pa.float32()) for name in ("music", "speech", "silence")),
    ]
)

TAGS = pa.schema(
    [
        pa.field("track_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("rank", pa.int16(), nullable=False),
        pa.field("label", _LABEL, nullable=False),
        pa.field("parent", _LABEL),
        pa.field("leaf", _LABEL, nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("score_max", pa.float32(), nullable=False),
    ]
)

ERRORS = pa.schema(
    [
        pa.field("track_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("path_bytes", pa.binary()),
        pa.field("root", pa.string(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("decoders_tried", pa.list_(pa.string())),
        pa.field("position_s", pa.float64()),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("processed_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)

LABELS = pa.schema(
    [
        pa.field("label_id", pa.int32(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("parent", pa.string()),
        pa.field("leaf", pa.string(), nullable=False),
        pa.field("group", pa.string()),
    ]
)

_VECTORS = {"float16": pa.float16(), "float32": pa.float32()}


@dataclass(frozen=True)
class Layout:
    """What a run writes about a track beside its ``tracks`` row.

    labels     (C,) names of the scores; empty when only embeddings are wanted
    parents    label -> its parent in the label set's tree, where the labels themselves do not tell (AudioSet)
    top_k      tags per track, None for every label; those below ``min_score`` do not count
    min_scores (C,) the same for each label by itself; empty where they do not differ
    content    music, speech, silence -> the label whose score is that column of ``tracks``
    dense      all C scores as a vector beside the embedding
    timeline   a row per segment
    vectors    "float16" or "float32", the type of embeddings and dense scores (dense track scores are float16)
    n_embedding  numbers in an embedding; 0 where none is written
    """

    labels: tuple[str, ...] = ()
    parents: Mapping[str, str] = field(default_factory=dict)
    top_k: int | None = 10
    min_score: float = 0.0
    min_scores: tuple[float, ...] = ()
    content: Mapping[str, int] = field(default_factory=dict)
    dense: bool = False
    timeline: bool = False
    vectors: str = "float16"
    n_embedding: int = 0

    def schemas(self) -> dict[str, pa.Schema]:
        """Table -> its columns, of every table there is; those that were not asked for have none of vectors."""
        embedding = vector(self.n_embedding, self.vectors) if self.n_embedding else None
        scores = vector(len(self.labels), "float16") if self.dense else None
        timeline = (embedding, vector(len(self.labels), self.vectors) if self.labels else None)
        return {
            "tracks": TRACKS,
            "tags": TAGS,
            "errors": ERRORS,
            "embeddings": embeddings_schema(embedding, scores),
            "segments": segments_schema(*(timeline if self.timeline else (None, None))),
        }


def vector(dim: int, kind: str) -> pa.DataType:
    """A column type holding ``dim`` numbers per row."""
    return pa.list_(pa.field("element", _VECTORS[kind]), dim)  # the name Parquet gives it on reading


def embeddings_schema(embedding: pa.DataType | None, scores: pa.DataType | None) -> pa.Schema:
    """track_id, path, and the vectors that were asked for."""
    return _with_vectors([("track_id", pa.string()), ("path", pa.string())], embedding, scores)


def segments_schema(embedding: pa.DataType | None, scores: pa.DataType | None) -> pa.Schema:
    """One row per segment, ``0 <= start_s < end_s <= duration_s``."""
    columns = [("track_id", pa.string()), ("segment", pa.int32()), ("start_s", pa.float64()), ("end_s", pa.float64())]
    return _with_vectors(columns, embedding, scores)


def _with_vectors(columns: Sequence[tuple], embedding: pa.DataType | None, scores: pa.DataType | None) -> pa.Schema:
    vectors = [("embedding", embedding), ("scores", scores)]
    wanted = [*columns, *((name, kind) for name, kind in vectors if kind is not None)]
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in wanted])


def split_label(label: str, parents: Mapping[str, str]) -> tuple[str | None, str]:
    """``Electronic---Ambient`` -> (parent, leaf); a label in ``parents`` has its parent there, else it has none."""
    if label in parents:
        return parents[label] or None, label
    parent, separator, leaf = label.partition("---")
    return (parent, leaf) if separator else (None, label)


MEANINGS: Mapping[str, str] = {
    "track_id": "hash of the path relative to the library's root: 16 hexadecimal digits",
    "path": "path relative to the library's root, with forward slashes; what is no UTF-8 in it is replaced",
    "path_bytes": "the path's bytes where it is not UTF-8",
    "root": "the folder or bucket that `path` starts from",
    "size_bytes": "size of the file in bytes",
    "mtime_ns": "time of its last change, nanoseconds since 1970 (UTC)",
    "audio_hash": "`v2:` and a hash of the packets: equal for retagged, renamed and copied files; empty for parts",
    "duration_s": "seconds of audio that were decoded, or declared where only parts were",
    "sample_rate": "of the file, in Hz",
    "channels": "of the file",
    "codec": "as FFmpeg names it",
    "n_segments": "segments that were analysed",
    "coverage": "share of the track's seconds that lie in an analysed segment, 0 to 1",
    "status": "ok, or damaged: what could be decoded was analysed",
    "processed_at": "when the row was made (UTC)",
    "artist": "from the file's own tags",
    "album": "from the file's own tags",
    "title": "from the file's own tags",
    "genre": "from the file's own tags",
    "music": "the score of music in the track, 0 to 1; empty where the model does not tell",
    "speech": "the same of speech",
    "silence": "the same of silence",
    "rank": "1 is the label with the highest score of its track",
    "label": "the class as the model's authors write it",
    "parent": "its parent in the label set's tree, empty where there is none",
    "leaf": "the label without its parent",
    "group": "genre, mood, era, voice, instrument, role or sound; empty where unknown",
    "score": "mean of the segments' scores, 0 to 1",
    "score_max": "the highest score of one segment, 0 to 1",
    "code": "what failed, as in `E_DECODE`",
    "stage": "where: walk, decode, infer, write",
    "message": "the same in words",
    "decoders_tried": "decoders that were asked",
    "position_s": "seconds into the track where it failed, if known",
    "label_id": "number of the class in the model's output",
    "segment": "number of the segment in its track, from 0",
    "start_s": "where it begins, seconds into the track",
    "end_s": "where it ends, seconds into the track",
    "embedding": "the vector, float16 or float32 as the run says",
    "scores": "all scores as a vector, in the order of `labels`",
}
"""What each column holds, with its unit; the documentation's page of tables is made from it."""
