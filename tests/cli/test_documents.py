"""Every command has ``--json``, and what it prints is as its schema says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from audiopatch.cli.main import COMMANDS, app, find_command
from audiopatch.documents import DOCUMENTS, FILES, document
from printed import SCHEMA, printed

PROSE = {"help", "config schema"}  # a text to read; a schema itself
QUICK = [
    ("version", "--json --version"),
    ("labels", "labels metal"),
    ("labels", "labels --model tiny-random"),
    ("config-init", "config init"),
    ("config-show", "config show tag"),
    ("config-path", "config path"),
    ("models-list", "models list"),
    ("models-info", "models info audiopatch-music"),
    ("models-info", "models info mn04_as"),
    ("models-download", "models download audiopatch-music"),
    ("models-verify", "models verify tiny-random"),
    ("models-compare", "models compare tiny-random mn01_as --no-speed"),
    ("train-list", "train --list"),
]


def test_the_schemas_are_schemas():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    nested = getattr(command, "commands", {})
    for sub, inner in nested.items():
        yield from _commands(inner, f"{name} {sub}")
    if not nested:
        yield name, command


def test_every_command_has_json_and_a_document():
    described = {word.removesuffix(" ...") for one in DOCUMENTS.values() for word in one.command.split(", ")}
    for name, command in [pair for top in COMMANDS for pair in _commands(find_command(top), top)]:
        takes = any(param.name == "json" for param in command.params)
        assert takes != (name in PROSE), f"{name} lacks --json"
        spoken = name.replace("train recipe", "train RECIPE")
        assert not takes or any(word.startswith(spoken) for word in described), f"no document is said to be of {name}"


def test_every_document_is_held_to_its_schema_by_a_test():
    texts = [path.read_text(encoding="utf-8") for path in Path(__file__).parents[1].rglob("test_*.py")]
    held = {name for text in texts for name in re.findall(r'printed\(\s*"([\w-]+)"', text)}
    assert held | {name for name, _ in QUICK} == {*DOCUMENTS, *FILES, "row-stream"}


@pytest.mark.parametrize(("name", "words"), QUICK)
def test_documents_that_take_no_time(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    done = CliRunner().invoke(app, words.split() if "--json" in words else [*words.split(), "--json"])
    assert done.exit_code == 0, done.output
    assert printed(name, done.stdout)


def test_what_is_no_number_is_null():
    assert document({"a": float("nan"), "b": (Path("c"), float("inf"))})["b"] == ["c", None]
