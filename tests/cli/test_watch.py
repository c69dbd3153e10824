"""``audiopatch tag --watch`` as people start and end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from audiopatch.tables.read import read


def test_a_watch_takes_up_a_new_file_and_ctrl_c_ends_it_cleanly(tone, tmp_path):
    tone(tmp_path / "music" / "one.flac", seconds=1)
    command = [
        sys.executable,
        "-m",
        "audiopatch",
        "tag",
        "music",
        "--watch",
        "--model",
        "tiny-random",
        "--workers",
        "1",
    ]
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    ) as process:
        assert process.stderr is not None
        said = iter(process.stderr.readline, "")
        assert any("1 track is current; watching for changes until Ctrl-C" in line for line in said)
        tone(tmp_path / "music" / "two.flac", seconds=1, frequency=300)
        assert any(line.endswith("1 done; 2 tracks\n") for line in said)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        last = [line for line in said if line.startswith("Watched for")]
        assert process.wait(20) == 0
    assert len(last) == 1 and "tagged 2 tracks → audiopatch.out/" in last[0]
    tables = read(tmp_path / "audiopatch.out")
    assert len(tables.tracks) == 2 and tables.run["status"] == "finished"
