"""What is printed and written for programs: each document by its name, its version, its values, and its JSON Schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import Enum
from importlib import import_module
from operator import attrgetter
from pathlib import PurePath
from types import FunctionType, NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

SPEC_VERSION = 2  # of every document and event; it grows when a program that reads one must change
SCHEMA_FILE = "documents.schema.json"  # beside this file; scripts/generate_docs.py writes it

MaybeNaN = Annotated[float, "null in JSON where it is NaN"]


@dataclass(frozen=True)
class Document:
    """``command`` prints what ``source`` ("module:name") is or, of a function, returns: under ``key``, or as it is."""

    command: str
    source: str
    key: str = ""


_CLI, _LIBRARY = "audiopatch.cli", "audiopatch.library"
DOCUMENTS = {
    "version": Document("--version", f"{_CLI}.main:Version"),
    "tag": Document("tag ..., embed ...", f"{_CLI}.analyse:Summary"),
    "tag-dry-run": Document("tag ... --dry-run, embed ... --dry-run", f"{_CLI}.analyse:Foreseen"),
    "show": Document("show [TRACK|LABEL]", f"{_LIBRARY}.show:show"),
    "labels": Document("labels", f"{_LIBRARY}.label_names:labels", "labels"),
    "similar": Document("similar TRACK", f"{_LIBRARY}.similar:similar"),
    "playlist": Document("playlist ...", f"{_LIBRARY}.playlist:playlist", "tracks"),
    "duplicates": Document("duplicates", f"{_LIBRARY}.duplicates:duplicates", "groups"),
    "report": Document("report", f"{_LIBRARY}.report:report"),
    "adapt": Document("adapt ..., own-labels.json", f"{_LIBRARY}.adapt_report:OwnLabels"),
    "train": Document("train RECIPE ..., train probe ...", "audiopatch.training.experiment:run_recipe", "runs"),
    "train-distill": Document("train distill ...", f"{_CLI}.train:Distilled"),
    "train-list": Document("train --list", "audiopatch.training.recipes:Listed", "recipes"),
    "evaluate": Document("evaluate ..., evaluation.json", "audiopatch.evaluation.report:Evaluated"),
    "inspect": Document("inspect ...", f"{_CLI}.inspect:Looked"),
    "bench": Document("bench, bench.json", "audiopatch.bench.run:BenchReport"),
    "estimate": Document("estimate FOLDER", "audiopatch.bench.estimate:estimate"),
    "export": Document("export ...", f"{_CLI}.export:Exported"),
    "shrink": Document("shrink ...", "audiopatch.distill.shrink:Shrunk"),
    "write-preview": Document("write", f"{_CLI}.write:Preview"),
    "write": Document("write --apply", f"{_CLI}.write:Applied"),
    "undo": Document("undo", f"{_CLI}.undo:TakenBack"),
    "undo-list": Document("undo --list, undo --forget-before DATE", "audiopatch.writing.undo:list_writes", "writes"),
    "compact": Document("compact", f"{_CLI}.library:CompactedFolder"),
    "config-init": Document("config init", f"{_CLI}.settings_file:ConfigWritten"),
    "config-show": Document("config show COMMAND", f"{_CLI}.settings_file:ConfigShown"),
    "config-path": Document("config path", f"{_CLI}.settings_file:Places"),
    "models-list": Document("models list", "audiopatch.zoo.cards:select_cards", "models"),
    "models-compare": Document("models compare A B", "audiopatch.bench.compare:compare_models", "models"),
    "models-info": Document("models info MODEL", "audiopatch.zoo.cards:find_card"),
    "models-download": Document("models download MODEL", f"{_CLI}.models:Downloaded"),
    "models-verify": Document("models verify MODEL", f"{_CLI}.models:Verified"),
    "models-check": Document("models check MODEL", "audiopatch.bench.check:check_model"),
    "doctor": Document("doctor", f"{_CLI}.doctor:Finding", "findings"),
}

_EVENTS = "audiopatch.events"
EVENTS = {
    "note": f"{_EVENTS}:Note",
    "passed_over": f"{_EVENTS}:PassedOver",
    "doing": f"{_EVENTS}:Doing",
    "planned": f"{_EVENTS}:Planned",
    "track": f"{_EVENTS}:TrackDone.values",
    "current": f"{_EVENTS}:Current",
    "measured": f"{_EVENTS}:Measured",
    "finished": f"{_EVENTS}:Finished",
    "ended": f"{_CLI}.analyse:Ending",
}
"""Name -> source, as above: the lines of ``--progress json``."""


@dataclass(frozen=True)
class File:
    """``name`` holds what ``source`` is, or, where it ends in jsonl, a line of it is that.

    Keys of a file ``by_hand`` that have a default may be left out. No file has a ``spec_version``.
    """

    name: str
    source: str
    by_hand: bool = False


FILES = {
    "run": File("run.json", "audiopatch.inference.record:RunValues"),
    "change": File("write --changes FILE.jsonl", "audiopatch.writing.changes:Change", by_hand=True),
    "metrics": File("metrics.jsonl", "audiopatch.training.log_rows:LogRow"),
    "environment": File("environment.json", "audiopatch.training.run_folder:RunEnvironment"),
}
ROWS = "audiopatch.tables.formats:row_schemas"
"""What gives the schemas of the lines that ``--format jsonl`` writes."""


def document(result: Any, key: str = "") -> dict[str, Any]:
    """A result as plain values for JSON, its version first; what is no object stands under ``key``."""
    values = plain(result)
    return {"spec_version": SPEC_VERSION, **({key: values} if key else values)}


def plain(value: Any) -> Any:
    """Dataclasses as objects, tuples as lists, paths as text, and null for what is no finite number."""
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, Enum | PurePath):
        return value.value if isinstance(value, Enum) else str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12).

    ``$defs`` has documents and files by name, events as ``event-NAME``, rows as ``row-NAME``, and what is in them.
    """
    made, version = _Schemas(), {"spec_version": Literal[SPEC_VERSION]}
    found = {name: made.whole(one.source, version, one.key) for name, one in DOCUMENTS.items()}
    found |= {
        f"event-{name}": made.whole(source, version | {"event": Literal[name]}) for name, source in EVENTS.items()
    }
    found |= {name: made.whole(one.source, {}, by_hand=one.by_hand) for name, one in FILES.items()}
    found |= {f"row-{name}": row for name, row in _named(ROWS)().items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://audiopatch.github.io/audiopatch/{SCHEMA_FILE}",
        "title": "What audiopatch prints and writes for programs",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in found],
        "$defs": found | dict(sorted(made.parts.items())),
    }


def _named(source: str) -> Any:
    module, _, name = source.partition(":")
    return attrgetter(name)(import_module(module))


_SIMPLE = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}


@dataclass
class _Schemas:
    """Turns types into schemas; ``parts`` are those of the classes met, each once, by their names."""

    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    names: dict[type, str] = field(default_factory=dict)

    def whole(self, source: str, first: Mapping[str, Any], key: str = "", *, by_hand: bool = False) -> dict[str, Any]:
        """What ``source`` is or returns, with ``first`` before it, perhaps under a key."""
        found = _named(source)
        returned = isinstance(found, FunctionType)
        kind = get_type_hints(found, include_extras=True)["return"] if returned else found
        if key:
            return self._object({**first, key: kind if returned else tuple[found, ...]})
        kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        several = [self.described(inner, first, by_hand=by_hand) for inner in kinds]
        return several[0] if len(several) == 1 else {"anyOf": several}

    def described(self, kind: type, first: Mapping[str, Any] | None = None, *, by_hand: bool = False) -> dict[str, Any]:
        """An object with the fields of a dataclass or TypedDict, ``first`` before them, and what its docstring says."""
        hints = get_type_hints(kind, include_extras=True)
        if not is_typeddict(kind):
            optional = {entry.name for entry in fields(kind) if by_hand and entry.default is not MISSING}
            hints = {
                entry.name: NotRequired[hints[entry.name]] if entry.name in optional else hints[entry.name]
                for entry in fields(kind)
            }
        about = " ".join((kind.__doc__ or "").replace("``", "`").split())
        return {"description": about, **self._object({**(first or {}), **hints})}

    def _object(self, named: Mapping[str, Any]) -> dict[str, Any]:
        properties = {name: self._of(kind) for name, kind in named.items()}
        required = [name for name, kind in named.items() if get_origin(kind) is not NotRequired]
        return {"type": "object", "properties": properties, "required": required}

    def _of(self, kind: Any) -> dict[str, Any]:
        """The schema of a value of some type."""
        origin, inner = get_origin(kind), get_args(kind)
        if kind is Any or kind is object:
            return {}
        if kind in _SIMPLE:
            return {"type": _SIMPLE[kind]}
        if kind == MaybeNaN:
            return {"type": ["number", "null"]}
        if origin is NotRequired:
            return self._of(inner[0])
        if origin is Literal:
            return {"const": inner[0]} if len(inner) == 1 else {"enum": list(inner)}
        if origin in (Union, UnionType):
            return {"anyOf": [self._of(one) for one in inner]}
        if origin is tuple and inner[-1] is not ...:
            return {"type": "array", "prefixItems": [self._of(one) for one in inner], "items": False}
        if isinstance(origin, type):
            if issubclass(origin, Mapping):
                return {"type": "object", "additionalProperties": self._of(inner[1])}
            return {"type": "array", "items": self._of(inner[0])}
        if issubclass(kind, Enum):
            return {"enum": [choice.value for choice in kind]}
        return {"type": "string"} if issubclass(kind, PurePath) else self._part(kind)

    def _part(self, kind: type) -> dict[str, Any]:
        """A reference to a class: by its name, with its module's before it where another has the same.

        A class that has a form of its own in JSON says so by what its ``to_json`` returns.
        """
        if hasattr(kind, "to_json") and is_typeddict(form := get_type_hints(kind.to_json)["return"]):
            kind = form
        if kind not in self.names:
            short = kind.__name__
            name = f"{kind.__module__.rpartition('.')[2]}.{short}" if short in self.names.values() else short
            self.names[kind] = name
            self.parts[name] = self.described(kind)
        return {"$ref": f"#/$defs/{self.names[kind]}"}
