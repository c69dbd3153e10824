"""Write what comes from the code: reference pages, the man page, and the package's JSON Schemas and completions.

python scripts/generate_docs.py           # writes all of these; ``files`` says where
python scripts/generate_docs.py --check   # exits with 1, and names them, where files differ from the code
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer

import audiopatch
from audiopatch.cli.complete import TABLE_FILE
from audiopatch.cli.complete import table as completion_table
from audiopatch.cli.main import COMMANDS, app, find_command
from audiopatch.cli.topics import TOPICS
from audiopatch.documents import DOCUMENTS, EVENTS, FILES, SCHEMA_FILE, SPEC_VERSION
from audiopatch.documents import schema as document_schema
from audiopatch.tables import schema
from audiopatch.tables.formats import row_schemas

ROOT = Path(__file__).parents[1]
MADE = "<!-- made by scripts/generate_docs.py: change the code, not this page -->"
MARKUP = re.compile(r"\[/?(?:bold|dim|italic|green|red|yellow|cyan)\]")


def commands_page() -> Iterator[str]:
    """Every command with its options, as ``--help`` has them."""
    yield "# Commands"
    yield MADE
    yield prose(typer.main.get_command(app).help or "")
    for name in COMMANDS:
        yield from command_section(find_command(name), f"audiopatch {name}", level=2)


def command_section(command: Any, name: str, *, level: int) -> Iterator[str]:
    yield f"{'#' * level} {name}"
    yield prose(command.help or "")
    if hasattr(command, "commands"):
        for sub, inner in command.commands.items():
            yield from command_section(inner, f"{name} {sub}", level=level + 1)
        return
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```\n{name} {usage}\n```"
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    rows = [f"| {code(names)} | {cell(meaning)} |" for names, meaning in filter(None, records) if "--help" not in names]
    if rows:
        yield "\n".join(["| option | meaning |", "|---|---|", *rows])


def man_page() -> Iterator[str]:
    """``man audiopatch``: every command with its options, and what ``audiopatch help`` tells."""
    whole = typer.main.get_command(app)
    about, _, more = inspect.cleandoc(whole.help or "").partition("\n\n")
    yield f'.TH AUDIOPATCH 1 "" "audiopatch {audiopatch.__version__}" "User Commands"'
    yield f".SH NAME\naudiopatch \\- {roff(about[:1].lower() + about[1:].rstrip('.'))}"
    yield ".SH SYNOPSIS\n.B audiopatch\n.I COMMAND\n.RI [ options ]"
    yield f".SH DESCRIPTION\n{roff_text(more)}"
    yield ".SH COMMANDS"
    for name in COMMANDS:
        yield from man_section(find_command(name), f"audiopatch {name}")
    for topic, text in TOPICS.items():
        places = text.replace("{user}", "~/.config/audiopatch/config.toml").replace("{cache}", "~/.cache/audiopatch")
        yield f".SH {topic.upper().replace('-', ' ')}\n.nf\n{roff(places.rstrip())}\n.fi"
    yield ".SH SEE ALSO\nhttps://audiopatch.github.io/audiopatch"


def man_section(command: Any, name: str) -> Iterator[str]:
    yield f'.SS "{name}"\n{roff_text(inspect.cleandoc(command.help or ""))}'
    for sub, inner in getattr(command, "commands", {}).items():
        yield from man_section(inner, f"{name} {sub}")
    if hasattr(command, "commands"):
        return
    context = command.make_context(name, [], resilient_parsing=True)
    for names, meaning in filter(None, (one.get_help_record(context) for one in command.get_params(context))):
        if "--help" not in names:
            yield f".TP\n.B {roff(names)}\n{roff(' '.join(MARKUP.sub('', meaning).split()))}"


def roff_text(text: str) -> str:
    """Paragraphs, of which examples keep their lines."""
    parts = [MARKUP.sub("", part) for part in text.replace("\b\n", "").split("\n\n")]
    return "\n.PP\n".join(f".nf\n{roff(part)}\n.fi" if is_examples(part) else roff(part) for part in parts)


def roff(text: str) -> str:
    """Text as roff takes it: with its own backslashes, hyphens and leading dots."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("\\[", "[")
    return re.sub(r"^(?=[.'])", r"\\&", escaped, flags=re.M)


def tables_page() -> Iterator[str]:
    """Every table with its columns, types and units."""
    yield "# Tables"
    yield MADE
    yield (
        f"Schema version {schema.SCHEMA_VERSION}. An output folder holds `run.json` (how it was made, enough to repeat "
        "it), `labels.parquet`, and a folder of Parquet parts per table. A table without rows has one empty file with "
        "its columns, `none.parquet`. Every file carries model, weights' sha256, licence, plan and parameters as JSON "
        "under the metadata key `audiopatch`."
    )
    vector = schema.vector(768, "float16")
    tables = {
        "tracks": (schema.TRACKS, "one row per file"),
        "tags": (schema.TAGS, "one row per track and label"),
        "embeddings": (schema.embeddings_schema(vector, vector), "one row per track, where vectors are asked for"),
        "segments": (schema.segments_schema(vector, vector), "one row per segment, with `--timeline`"),
        "errors": (schema.ERRORS, "one row per failed or damaged file"),
        "labels": (schema.LABELS, "one row per class of the model"),
    }
    for name, (columns, about) in tables.items():
        yield f"## {name}"
        yield f"{about[0].upper()}{about[1:]}."
        rows = ["| column | type | empty | meaning |", "|---|---|---|---|"]
        for column in columns:
            meaning = schema.MEANINGS[column.name]
            rows.append(
                f"| `{column.name}` | {type_name(column.type)} | {'yes' if column.nullable else ''} | {meaning} |"
            )
        yield "\n".join(rows)


def type_name(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return "string"
    if pa.types.is_fixed_size_list(kind):
        return "list of numbers"
    return str(kind).replace("timestamp[us, tz=UTC]", "timestamp, UTC")


def python_page() -> Iterator[str]:
    """The public functions with their signatures and docstrings."""
    yield "# Python"
    yield MADE
    yield "`import audiopatch` imports neither torch nor pyarrow; each name below is loaded when it is first used."
    for name in audiopatch.__all__:
        thing = getattr(audiopatch, name)
        if not callable(thing):
            continue
        yield f"## audiopatch.{name}"
        yield f"```python\n{name}{signature(thing)}\n```"
        yield inspect.getdoc(thing) or ""


def signature(thing: Any) -> str:
    found = inspect.signature(thing)
    parameters, has_star = [], False
    for one in found.parameters.values():
        if one.name == "self":
            continue
        if one.kind is one.KEYWORD_ONLY and not has_star:
            parameters.append("*")
        has_star = has_star or one.kind in (one.KEYWORD_ONLY, one.VAR_POSITIONAL)
        stars = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        kind = "" if one.annotation is one.empty else f": {annotation(one.annotation)}"
        value = "" if one.default is one.empty else f" = {'...' if callable(one.default) else repr(one.default)}"
        parameters.append(f"{stars}{one.name}{kind}{value}")
    result = "" if found.return_annotation is found.empty else f" -> {annotation(found.return_annotation)}"
    short = f"({', '.join(parameters)}){result}"
    return short if len(short) < 90 else "(\n    " + ",\n    ".join(parameters) + f",\n){result}"


def annotation(kind: Any) -> str:
    return kind if isinstance(kind, str) else inspect.formatannotation(kind)


def prose(text: str) -> str:
    """Help text as Markdown: its columns of examples stay columns."""
    text = MARKUP.sub("", inspect.cleandoc(text)).replace("\b\n", "")
    blocks = []
    for block in text.split("\n\n"):
        blocks.append(f"```\n{block}\n```" if is_examples(block) else block)
    return "\n\n".join(blocks)


def is_examples(block: str) -> bool:
    """Whether its lines are commands, each with what it does."""
    return any(re.match(r"\s*audiopatch .+\S {2,}\S", line) for line in block.splitlines())


def code(text: str) -> str:
    """Code in a cell of a table; not every reader of Markdown takes \\| in code for a bar."""
    return f"<code>{escape(text).replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def cell(text: str) -> str:
    return MARKUP.sub("", " ".join(text.split())).replace("|", "\\|").replace("\\[", "[")


def json_page() -> Iterator[str]:
    """Every document that commands print for programs, and what it consists of."""
    parts = document_schema()["$defs"]
    yield "# JSON"
    yield MADE
    yield (
        "With `--json` a command prints one document on stdout; words stay on stderr, and exit codes are the same. "
        f"`spec_version`, now {SPEC_VERSION}, grows when a program that reads a document must change; keys may be "
        "added at any time. A number that there is none for is `null`."
    )
    yield (
        f"Their JSON Schema (2020-12) is in the package, as `{SCHEMA_FILE}`, and on this site: "
        f"[{SCHEMA_FILE}](https://audiopatch.github.io/audiopatch/{SCHEMA_FILE}); the tests hold real output to it."
    )
    yield f"""```python
import json
from importlib.resources import files

schema = json.loads(files("audiopatch").joinpath("{SCHEMA_FILE}").read_text())
print(*schema["$defs"])
```"""
    yield "| document | printed by |\n|---|---|\n" + "\n".join(
        f"| [`{name}`](#{name}_) | {code(one.command)} |" for name, one in DOCUMENTS.items()
    )
    for name in DOCUMENTS:
        yield f"## {name} {{#{name}_}}"
        yield from described(parts.pop(name))
    yield "## Events"
    yield (
        "`tag` and `embed` with `--progress json` write an object per line on stderr; which one is said by `event`. "
        "The last one is `ended`."
    )
    for name in EVENTS:
        yield f"### {name} {{#event-{name}}}"
        yield from described(parts.pop(f"event-{name}"))
    yield "## Files"
    yield (
        "What a run writes into its folder has no `spec_version`: the `schema_version` in `run.json` is that of the "
        "[tables](tables.md), too. With `--format jsonl` each line of a table's files is a row as below, and each line "
        "on stdout a `row-stream`, without what was not asked for; times are ISO 8601, bytes base64."
    )
    yield "| schema | file |\n|---|---|\n" + "\n".join(
        f"| [`{name}`](#file-{name}) | `{one.name}`{', each line' if one.name.endswith('jsonl') else ''} |"
        for name, one in FILES.items()
    )
    for name in FILES:
        yield f"### {name} {{#file-{name}}}"
        yield from described(parts.pop(name))
    for name in row_schemas():
        yield f"### row-{name} {{#row-{name}}}"
        yield from described(parts.pop(f"row-{name}"))
    yield "## Parts"
    for name, kind in parts.items():
        yield f"### {name} {{#{name}}}"
        yield from described(kind)


def described(kind: dict[str, Any]) -> Iterator[str]:
    """An object of the schemas, or one of several: what it is, and its keys."""
    for one in kind.get("anyOf", ()):
        yield from described(one)
    if "anyOf" in kind:
        return
    yield kind.get("description", "")
    rows = [f"| `{key}` | {value_of(inner)} |" for key, inner in kind["properties"].items()]
    yield "\n".join(["| key | value |", "|---|---|", *rows])


def value_of(kind: dict[str, Any]) -> str:
    """A schema in words."""
    if "$ref" in kind:
        name = kind["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    if "const" in kind:
        return f"`{kind['const']}`"
    if "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind["enum"])
    if "anyOf" in kind:
        return " or ".join(map(value_of, kind["anyOf"]))
    if "prefixItems" in kind:
        return f"list of {', '.join(map(value_of, kind['prefixItems']))}"
    if "properties" in kind:
        return f"object with {', '.join(f'`{key}`' for key in kind['properties'])}"
    if "items" in kind:
        return f"list of {value_of(kind['items'])}"
    if "additionalProperties" in kind:
        return f"object of {value_of(kind['additionalProperties'])}"
    found = kind.get("type", "anything")
    return " or ".join(found) if isinstance(found, list) else found


PAGES = {"commands.md": commands_page, "tables.md": tables_page, "json.md": json_page, "python.md": python_page}


def files() -> Iterator[tuple[Path, str]]:
    """Every file that comes from the code, and what it should hold."""
    for name, page in PAGES.items():
        yield ROOT / "docs/reference" / name, "\n\n".join(part for part in page() if part) + "\n"
    yield ROOT / "packaging/man/audiopatch.1", "\n".join(man_page()) + "\n"
    in_package = {SCHEMA_FILE: document_schema(), f"cli/{TABLE_FILE}": completion_table(typer.main.get_command(app))}
    for name, values in in_package.items():
        yield ROOT / "src/audiopatch" / name, json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a file is not current")
    check = parser.parse_args().check
    stale = []
    for path, text in files():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if check and stale:
        print(f"not what the code says: {', '.join(stale)}; run: python scripts/generate_docs.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
