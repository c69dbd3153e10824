from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from audiopatch.errors import EnvironmentProblem, OutputMismatchError
from audiopatch.sinks.lock import locked

_HOLD = (
    "import sys, time; from pathlib import Path; from audiopatch.sinks.lock import locked\n"
    "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def test_a_second_run_is_refused_and_a_dead_one_is_no_obstacle(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    try:
        with (
            pytest.raises(OutputMismatchError, match=f"in use by another run \\(process {holder.pid}"),
            locked(tmp_path),
        ):
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with locked(tmp_path):
        pass


def test_a_disk_that_cannot_lock_is_said(tmp_path, monkeypatch):
    def flock(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(EnvironmentProblem, match="cannot lock files"), locked(tmp_path):
        pass
