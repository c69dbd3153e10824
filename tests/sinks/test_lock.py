from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from audiopatch.errors import OutputMismatchError
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
