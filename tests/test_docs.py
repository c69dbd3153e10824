"""Each column of the tables is explained (that generated pages are current, `make docs` sees to)."""

from audiopatch.tables import schema


def test_every_column_is_explained():
    vector = schema.vector(2, "float16")
    made = (schema.embeddings_schema(vector, vector), schema.segments_schema(vector, vector))
    columns = {
        name for table in (schema.TRACKS, schema.TAGS, schema.ERRORS, schema.LABELS, *made) for name in table.names
    }
    assert columns == schema.MEANINGS.keys()
