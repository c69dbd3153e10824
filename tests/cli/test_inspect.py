"""``audiopatch inspect`` as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from printed import printed

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CONFIG_HOME": "/nonexistent", "COLUMNS": "120"}


def inspect(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "audiopatch", "inspect", "--model", "tiny-random", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def test_one_track_becomes_a_page_and_is_not_replaced_unasked(library, tmp_path):
    track = library / "long.wav"
    first = inspect(track, "--patchout", "F3T2+topk:0.5@2", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stderr.endswith("open inspect.out/index.html\n")
    page = (tmp_path / "inspect.out" / "index.html").read_text(encoding="utf-8")
    assert "<h1>long.wav</h1>" in page and "186 of 549 tokens after block 0, 93 after block 2" in page
    again = inspect(track, cwd=tmp_path)
    assert again.returncode == 7 and "--force" in again.stderr


def test_a_folder_becomes_a_study_of_what_can_be_decoded(library, tmp_path):
    run = inspect(library, "--tracks", "20", "-o", "study", "--patchout", "topk:0.5@1", "--json", cwd=tmp_path)
    assert run.returncode == 3  # two of the files are no audio
    assert "empty.mp3" in run.stderr and "text.ogg" in run.stderr
    assert len(printed("inspect", run.stdout)["failed"]) == 2
    assert "9 of 11 tracks" in (tmp_path / "study" / "index.html").read_text(encoding="utf-8")


def test_a_plan_with_a_mistake_is_refused_with_a_caret(library, tmp_path):
    run = inspect(library / "long.wav", "--patchout", "topk:0.5@2+topp:1", cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.endswith("  topk:0.5@2+topp:1\n             ^\n")
    assert not (tmp_path / "inspect.out").exists()
