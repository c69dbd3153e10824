"""Generated pages say what the code does, and each column of the tables is explained."""

import subprocess
import sys
from pathlib import Path

from audiopatch.tables import schema

ROOT = Path(__file__).parents[1]


def test_generated_pages_are_current():
    check = [sys.executable, str(ROOT / "scripts/generate_docs.py"), "--check"]
    result = subprocess.run(check, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr


def test_every_column_is_explained():
    vector = schema.vector(2, "float16")
    made = (schema.embeddings_schema(vector, vector), schema.segments_schema(vector, vector))
    columns = {
        name for table in (schema.TRACKS, schema.TAGS, schema.ERRORS, schema.LABELS, *made) for name in table.names
    }
    assert columns == schema.MEANINGS.keys()
