"""Which tracks a condition in SQL chooses: DuckDB over the tables of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiopatch.errors import UsageError, first_line, missing_extra

if TYPE_CHECKING:
    from audiopatch.tables.read import Tables

_TAG_COLUMNS = ("track_id", "rank", "label", "parent", "leaf", "score", "score_max")
_BEST_FIRST = {"score", "score_max"}  # nobody wants the worst first, so these need no DESC


def select(tables: Tables, *, where: str | None = None, order: str | None = None) -> list[str]:
    """The ``track_id`` of tracks that ``where`` holds for, each once, in the ``order`` given (else by path).

    Both are SQL over one row per track and tag, as in ``leaf = 'Jazz' and score > 0.4 and duration_s < 600``; a track
    comes where its first row does. ``score`` and ``score_max`` alone as ``order`` mean the highest first.
    """
    try:
        import duckdb
    except ImportError as error:
        raise missing_extra("a filter", "duckdb") from error
    order = f"{order} desc" if order and order.strip().lower() in _BEST_FIRST else order or "path"
    tracks, tags = tables.arrow("tracks"), tables.arrow("tags", _TAG_COLUMNS)
    with duckdb.connect(
        ":memory:", config={"enable_external_access": False, "autoload_known_extensions": False}
    ) as sql:
        sql.register("tracks", tracks)
        source = "tracks"
        if tags.num_columns:
            sql.register("tags", tags)
            source = "tracks left join tags using (track_id)"
        try:
            rows = sql.sql(f"select track_id from {source} where ({where or 'true'}) order by {order}, path").fetchall()
        except duckdb.Error as error:
            names = ", ".join(dict.fromkeys([*tracks.column_names, *tags.column_names]))
            raise UsageError(f"DuckDB cannot read this filter: {first_line(error)}; columns are {names}") from error
    return list(dict.fromkeys(track_id for (track_id,) in rows))
