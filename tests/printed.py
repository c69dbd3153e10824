"""Holds what commands print for programs to the schemas that come with the package."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema

import audiopatch

SCHEMA = json.loads((Path(audiopatch.__file__).parent / "documents.schema.json").read_text(encoding="utf-8"))


def closed(schema: Any) -> Any:
    """The same, refusing keys that it does not name: readers must bear new ones, here each must be described."""
    if isinstance(schema, list):
        return [closed(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    more = {"additionalProperties": False} if "properties" in schema and schema.get("type") == "object" else {}
    return {key: closed(inner) for key, inner in schema.items()} | more


_CLOSED = closed(deepcopy(SCHEMA))


def printed(name: str, text: str) -> dict[str, Any]:
    """What a command printed, which must be the document called ``name`` (see ``audiopatch.documents``)."""
    found = json.loads(text)
    jsonschema.Draft202012Validator(_CLOSED | {"anyOf": [{"$ref": f"#/$defs/{name}"}]}).validate(found)
    return found
