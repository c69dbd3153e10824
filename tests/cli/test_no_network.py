"""No command and no engine asks for a name or opens a connection that nobody asked for: dependencies included."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Runs in every process of a command, decoders too, before anything else is imported.
RECORDER = """
import os, sys
def hear(event, args):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        said = args[0]
    elif event in ("socket.connect", "socket.sendto"):
        said = args[1] if isinstance(args[1], tuple) else None
    else:
        return
    if said is not None:
        with open({log!r}, "a") as log:
            log.write(f"{{event}} {{said}} by {{sys.argv[:3]}}\\n")
sys.addaudithook(hear)
"""
# All in one process where they can be: each start of torch takes seconds.
RUN = """
import os, sys
from audiopatch.cli import main
for line in sys.stdin.read().strip().splitlines():
    words = line.split()
    sys.argv[1:] = words
    try:
        main.app(prog_name="audiopatch")
        code = 0
    except SystemExit as end:
        code = end.code
    print(f"{words[0]}:{code or 0}", flush=True)
    if words[0] != "doctor":
        assert not code, (line, code)
"""
COMMANDS = """
tag lib -o tags --model tiny-random --quiet
embed lib -o vectors --model tiny-random --quiet
compact tags
similar lib/a/0.wav --in vectors
playlist --like lib/a/0.wav --in vectors -o list.m3u8
duplicates --in vectors
write --in tags
undo --in tags
models list
models info audiopatch-small
doctor
"""
LONG = """
tag lib -o small --model audiopatch-small --quiet
inspect lib --tracks 1 -o page --model tiny-random
bench lib --model tiny-random --tracks 2 --budget 20 -o bench
estimate lib --model audiopatch-small
train folder lib --model tiny-random -o trained --set epochs=1
evaluate folder lib --model trained/model -o evaluated
"""
EXTRAS = {
    "openvino": "tag lib -o openvino --model audiopatch-small --quiet --offline --engine openvino",
    "nncf": "export audiopatch-small --int8 lib --tracks 2",
    "onnxscript": "export tiny-random --onnx tiny.onnx",
}


@pytest.fixture
def place(tmp_path, tone) -> Path:
    for label, pitch in (("a", 300), ("b", 500)):
        for number in range(4):
            tone(tmp_path / "lib" / label / f"{number}.wav", seconds=3.0, frequency=pitch + 20 * number)
    for name in ("site", "home", "cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(RECORDER.format(log=str(tmp_path / "asked")))
    return tmp_path


def asked_by(place: Path, lines: str) -> str:
    """What the commands asked the network for, all of which must end well."""
    path = [str(place / "site"), *(entry for entry in sys.path if entry)]
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "AUDIOPATCH_"))}
    surroundings = {
        "PYTHONPATH": os.pathsep.join(path),
        "HOME": str(place / "home"),
        "AUDIOPATCH_CACHE": str(place / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    ended = subprocess.run(
        [sys.executable, "-c", RUN], input=lines, cwd=place, env=mine | surroundings, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout[-500:] + ended.stderr[-3000:]
    asked = place / "asked"
    return asked.read_text() if asked.exists() else ""


def test_the_recorder_hears(place):
    code = "import socket\ntry: socket.getaddrinfo('example.invalid', 80)\nexcept OSError: pass"
    surroundings = os.environ | {"PYTHONPATH": str(place / "site")}
    subprocess.run([sys.executable, "-c", code], env=surroundings, check=True)
    assert "example.invalid" in (place / "asked").read_text()


def test_no_command_asks_the_network(place):
    assert asked_by(place, COMMANDS) == ""
    assert not list((place / "home/intel").rglob("*"))


@pytest.mark.slow
def test_no_long_command_asks_the_network(place):
    assert asked_by(place, LONG) == ""


@pytest.mark.parametrize("package", [pytest.param(name, marks=pytest.mark.slow) for name in EXTRAS])
def test_no_extra_asks_the_network(place, package):
    """OpenVINO and NNCF come with a package that calls an analytics service and leaves an id in the home."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    assert asked_by(place, EXTRAS[package]) == ""
    assert not [path for path in (place / "home").rglob("*") if "intel" in path.parts]
