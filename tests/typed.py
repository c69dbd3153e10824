"""``audiopatch`` as somebody types it, but in this process: a new one spends CPU seconds on imports."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from audiopatch.cli.main import app


@dataclass(frozen=True)
class Typed:
    """How a command ended, by the names of ``subprocess.CompletedProcess``."""

    returncode: int
    stdout: str
    stderr: str


def typed(*arguments: str | Path, cwd: Path | str = ".", **environment: str) -> Typed:
    """Run a command in the folder ``cwd``, with ``environment`` beside the one of the tests."""
    surroundings = {"COLUMNS": "100", "XDG_CONFIG_HOME": "/nonexistent", **environment}
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(app, [*map(str, arguments)], env=surroundings, prog_name="audiopatch")
    return Typed(done.exit_code, done.stdout, done.stderr)
