"""``audiopatch inspect`` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from audiopatch.cli.main import app
from printed import printed


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def inspect(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["inspect", "--model", "tiny-random", *map(str, arguments)])


def test_one_track_becomes_a_page_and_is_not_replaced_unasked(library, tmp_path):
    track = library / "long.wav"
    first = inspect(track, "--patchout", "F3T2+topk:0.5@2")
    assert first.exit_code == 0, first.stderr
    assert first.stderr.endswith("wrote inspect.out/index.html\n")
    page = (tmp_path / "inspect.out" / "index.html").read_text(encoding="utf-8")
    assert "<h1>long.wav</h1>" in page and "186 of 549 tokens after block 0, 93 after block 2" in page
    again = inspect(track)
    assert again.exit_code == 7 and "--force" in again.stderr


def test_a_folder_becomes_a_study_of_what_can_be_decoded(tone, tmp_path):
    for number in range(3):
        tone(tmp_path / "music" / f"{number}.wav", seconds=1 + number)
    (tmp_path / "music" / "empty.mp3").touch()
    (tmp_path / "music" / "text.ogg").write_text("this is no audio\n" * 100)
    run = inspect(tmp_path / "music", "--tracks", "20", "-o", "study", "--patchout", "topk:0.5@1", "--json")
    assert run.exit_code == 3  # two of the files are no audio
    assert "empty.mp3" in run.stderr and "text.ogg" in run.stderr
    assert len(printed("inspect", run.stdout)["failed"]) == 2
    assert "3 of 5 tracks" in (tmp_path / "study" / "index.html").read_text(encoding="utf-8")


def test_a_plan_with_a_mistake_is_refused_with_a_caret(library, tmp_path):
    run = inspect(library / "long.wav", "--patchout", "topk:0.5@2+topp:1")
    assert run.exit_code == 2
    assert run.stderr.endswith("  topk:0.5@2+topp:1\n             ^\n")
    assert not (tmp_path / "inspect.out").exists()
