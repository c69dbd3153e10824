from __future__ import annotations

import pandas as pd
from typer.testing import CliRunner

import audiopatch
from audiopatch.cli.main import app
from printed import printed


def _compact(*arguments: object):
    return CliRunner().invoke(app, ["compact", *map(str, arguments)])


def test_compact_merges_says_so_and_changes_no_row(library, tmp_path):
    out = tmp_path / "out"
    for music in (library / "long.wav", library / "album 0"):
        audiopatch.tag(music, out, model="tiny-random", threads=1, workers=0)
    before = audiopatch.read(out).tags
    done = _compact(out)
    assert done.exit_code == 0 and f"Merged 2 parts into 1 → {out}/" in done.stderr
    pd.testing.assert_frame_equal(audiopatch.read(out).tags, before)
    assert f"Nothing to merge in {out}/" in _compact(out).stderr
    again = printed("compact", _compact(out, "--json").stdout)
    assert (again["parts_before"], again["parts_after"]) == (1, 1)


def test_compact_refuses_what_is_no_output(tmp_path):
    refused = _compact(tmp_path)
    assert refused.exit_code == 2 and "there are no tables in" in refused.stderr
    assert list(tmp_path.iterdir()) == []
