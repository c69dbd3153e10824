"""The surroundings as containers, daemons and launchers give them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audiopatch.cli.config import expand_homes, read_defaults
from audiopatch.errors import UsageError, install_command
from audiopatch.storage.place import cache_folder
from audiopatch.tables.formats import ParquetSink
from audiopatch.tables.output import folder_at
from audiopatch.tables.parts import PartStore

QUICK = ["models", "list"]


def run(*arguments: str, before: str = "", **options) -> subprocess.CompletedProcess[str]:
    """``audiopatch`` in a process of its own; ``before`` is Python that runs first there."""
    code = f"{before}\nfrom audiopatch.cli.main import main\nmain()"
    path = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    environment = {**os.environ, **path, **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment, text=True, errors="replace", **({"capture_output": True} | options),
    )  # fmt: skip


def test_homes_that_no_shell_has_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/of me")
    monkeypatch.setenv("AUDIOPATCH_OUTPUT", "~/tags")
    words = ["tag", "~/Music", "--output=~/out", "-o", "~", "--title=x~/y"]
    assert expand_homes(words) == [
        "tag", "/home/of me/Music", "--output=/home/of me/out", "-o", "/home/of me", "--title=x~/y",
    ]  # fmt: skip
    assert os.environ["AUDIOPATCH_OUTPUT"] == "/home/of me/tags"


def test_homes_and_a_byte_order_mark_in_a_configuration_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    text = '[tag]\noutput = "~/tags"\nmodel = "x"\n'
    (tmp_path / "audiopatch.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    options = {name: SimpleNamespace(name=name) for name in ("output", "model")}
    assert read_defaults("tag", lambda command: options, ["tag"]) == {"output": "/home/me/tags", "model": "x"}


NOBODY = """
import os, pwd
os.environ.pop("HOME", None)
def unknown(*arguments):
    raise KeyError("getpwuid(): uid not found: 12345")
pwd.getpwuid = pwd.getpwnam = unknown
"""


@pytest.mark.parametrize("arguments", [QUICK, ["--version"], ["models", "info", "tiny-random"]])
def test_a_user_without_entry_and_home(tmp_path, arguments):
    ended = run(*arguments, before=NOBODY, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert not list(tmp_path.iterdir())


def test_the_cache_of_a_user_without_home_is_no_folder_named_tilde(tmp_path, monkeypatch):
    for name in ("HOME", "AUDIOPATCH_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache_folder().is_absolute()


@pytest.mark.skipif(os.name != "posix", reason="descriptors of a shell")
@pytest.mark.parametrize("closed", ["1", "2", "0 1 2"])
def test_closed_streams(tmp_path, closed):
    close = [int(number) for number in closed.split()]
    before = f"import os\nfor n in {close}: os.close(n)\nos.execv({sys.executable!r}, [{sys.executable!r}, '-c', "
    again = "'from audiopatch.cli.main import main; main()', *os.sys.argv[1:]])"
    ended = run(*QUICK, before=before + again, cwd=tmp_path)
    assert ended.returncode == 0 and "internal error" not in ended.stderr
    if 1 not in close:
        assert "tiny-random" in ended.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_a_full_stdout_and_a_full_stderr(tmp_path):
    with open("/dev/full", "w") as full:
        ended = run(*QUICK, stdout=full, stderr=subprocess.PIPE, capture_output=False)
        assert ended.returncode == 6 and "No space left" in ended.stderr and "internal" not in ended.stderr
        assert run("tag", "nothing here", stdout=None, stderr=full, capture_output=False).returncode == 2


@pytest.mark.parametrize(
    ("url", "facts", "installer", "file", "command"),
    [
        (None, {}, "pip", None, "{python} -m pip install 'audiopatch[train]'"),
        (None, {}, "uv", None, "uv pip install --python {python} 'audiopatch[train]'"),
        (None, {}, "pip", "pipx_metadata.json", "pipx install --force 'audiopatch[train]'"),
        (None, {}, "uv", "uv-receipt.toml", "uv tool install --force 'audiopatch[train]'"),
        ("file:///a%20b", {"dir_info": {"editable": True}}, "pip", None, "{python} -m pip install -e '/a b[train]'"),
        ("file:///src", {"dir_info": {}}, "uv", "uv-receipt.toml", "uv tool install --force '/src[train]'"),
        (
            "file:///a.whl",
            {"archive_info": {}},
            "pip",
            None,
            "{python} -m pip install 'audiopatch[train] @ file:///a.whl'",
        ),
    ],
)
def test_what_brings_an_extra_to_this_installation(url, facts, installer, file, command, tmp_path, monkeypatch):
    texts = {"direct_url.json": json.dumps({"url": url} | facts) if url else None, "INSTALLER": f"{installer}\n"}
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: SimpleNamespace(read_text=texts.get))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/opt/py")
    if file:
        (tmp_path / file).touch()
    assert install_command("train") == command.format(python="/opt/py")


@pytest.mark.parametrize(
    ("file", "text", "command"),
    [
        ("pipx_metadata.json", '"package_or_url": "audiopatch[write,s3] @ file:///a.whl"', "pipx install"),
        ("uv-receipt.toml", '{ name = "audiopatch", extras = ["write", "s3"], path = "/a.whl" }', "uv tool install"),
    ],
)
def test_one_more_extra_does_not_cost_those_that_are_there(file, text, command, tmp_path, monkeypatch):
    """pipx and uv make a tool anew."""
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: SimpleNamespace(read_text=lambda name: None))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / file).write_text(text)
    assert install_command("train") == f"{command} --force 'audiopatch[s3,train,write]'"


def test_an_output_without_a_name():
    with pytest.raises(UsageError, match="has no name"):
        folder_at("")


@pytest.mark.skipif(sys.platform == "darwin" or os.name == "nt", reason="names are bytes on Linux")
def test_tables_below_a_folder_whose_name_is_not_utf8(tmp_path):
    folder = folder_at(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    with folder.locked():
        store = PartStore(folder, ParquetSink())
        store.add("part-0", {"tracks": pa.table({"track_id": ["1"]})})
        folder.write_text("run.json", "{}")
    assert store.track_ids("part-0") == {"1"}


def test_a_current_folder_that_is_gone(tmp_path):
    before = f"import os\nos.mkdir({str(tmp_path / 'x')!r})\nos.chdir({str(tmp_path / 'x')!r})\nos.rmdir(os.getcwd())"
    ended = run("tag", "music", before=before)
    assert ended.returncode in (2, 6) and "internal error" not in ended.stderr


def test_a_thread_inside_a_library_holds_nobody_up_at_the_end(tmp_path):
    """Reading Parquet in the background: ended by the interpreter, one in some such processes aborts or hangs."""
    pq.write_table(pa.table({"word": ["a"] * 100_000}), tmp_path / "table.parquet")
    code = """
import atexit, sys, threading, time
import pyarrow.parquet as pq
from audiopatch.cli import main

def read():
    while True:
        with open(sys.argv[1], "rb") as file:
            pq.ParquetFile(file).read()

for _ in range(3):
    threading.Thread(target=read, daemon=True).start()
atexit.register(lambda: print("tidied"))
threading.Thread(target=lambda: (time.sleep(0.3), print("waited"))).start()
main.app = lambda **_: sys.exit(3)
main.main()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "table.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, "waited\ntidied\n", "")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's memory")
def test_memory_that_a_network_frees_is_not_fetched_from_the_system_again():
    code = """
import resource
from concurrent.futures import ThreadPoolExecutor
from audiopatch.cli import main

main._keep_memory()
faults = []
with ThreadPoolExecutor(1) as lane:
    for _ in range(3):
        lane.submit(lambda: [bytearray(24 << 20) for _ in range(4)] and None).result()  # more than an arena's 64 MB
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[2] - faults[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1000  # pages of 4 KiB; else 12 289
