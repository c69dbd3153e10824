"""What README and guides print is run: every block marked sh or python, from top to bottom, on real music."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from audiopatch.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "docs/index.md", *sorted((ROOT / "docs/guides").glob("*.md"))]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.M | re.S)


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of the blocks that are meant to be run."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home with a little music, an environment of its own, and ``audiopatch`` on the path."""
    music = tmp_path / "Music"
    music.mkdir()
    pieces = sorted((ROOT / "examples/music").iterdir())
    shutil.copy(next(path for path in pieces if path.suffix == ".mp3"), music / "song.mp3")
    for path in [path for path in pieces if path.suffix in (".ogg", ".opus")][:2]:
        shutil.copy(path, music / path.name)
    script = tmp_path / "bin/audiopatch"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m audiopatch "$@"\n')
    script.chmod(0o755)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_what_a_page_prints_runs(page, home):
    for language, text in blocks(page):
        command = ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def options_of(words: list[str]) -> set[str]:
    """The options of the command that these words call."""
    command, context = typer.main.get_command(app), typer.Context(TyperCommand("audiopatch"))
    names = [word for word in words if word[0] != "-"]
    while isinstance(command, TyperGroup) and names:
        found = command.get_command(context, names.pop(0) if names[0] in command.list_commands(context) else "recipe")
        if found is None:  # no command: "audiopatch --version", "audiopatch COMMAND"
            break
        command = found  # train takes the word recipe as said
    return {option for param in command.params for option in (*param.opts, *param.secondary_opts)}


def test_commands_in_the_text_have_the_options_they_show():
    """Also those that stand in a sentence, or in a block that nobody runs."""
    wrong, n_options = [], 0
    for page in (*PAGES, *(ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        lines = re.findall(r"^audiopatch (.+)|`audiopatch ([^`]+)`", text, re.M)
        for line in (first or second for first, second in lines):
            words = re.split(r" [|#>]|[;)]", line)[0].split()
            shown = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            n_options += len(shown)
            known = options_of(words) | {"--help", "--help-all", "--install-completion"}
            wrong += [f"{page.name}: audiopatch {line}: {option}" for option in shown - known]
    assert n_options > 60 and not wrong


def test_links_between_pages_lead_somewhere():
    missing = []
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                missing.append(f"{page.relative_to(ROOT)}: {target}")
    assert not missing
