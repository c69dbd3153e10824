"""The output folder, whole: columns, parts that appear all at once or not at all, what is done, how to read it."""

from audiopatch.catalog import Catalog

FORMATS = Catalog(
    "format",
    {
        "parquet": "audiopatch.tables.formats:ParquetSink",
        "jsonl": "audiopatch.tables.formats:JsonlSink",
    },
)
