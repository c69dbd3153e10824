"""``audiopatch tag`` and ``embed`` as a user runs them, with decoding workers."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import chdir, redirect_stderr, suppress
from pathlib import Path

import pandas as pd
import pytest

from audiopatch.cli.analyse import Foreseen, _tell_foreseen, exit_code
from audiopatch.cli.main import app
from audiopatch.cli.options import FailOn
from audiopatch.events import Counts
from printed import printed
from typed import Typed, typed

OURS = {"AUDIOPATCH_MODEL": "tiny-random", "XDG_CONFIG_HOME": "/nonexistent", "COLUMNS": "120"}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", **OURS}
COMMAND = [sys.executable, "-m", "audiopatch"]


def audiopatch(*arguments: str | bytes | Path, cwd: Path, **options) -> subprocess.CompletedProcess[str]:
    """Runs a command on the smallest model, in a process of its own."""
    options = {"capture_output": True, "text": True, "check": False, "env": ENVIRONMENT, **options}
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, **options)


def here(*arguments: str | Path, cwd: Path) -> Typed:
    """The same in this process, where nothing depends on that."""
    return typed(*arguments, cwd=cwd, **OURS)


def on_a_terminal(*arguments: str, cwd: Path) -> list[str]:
    """The lines that a terminal of 120 columns has got at the end, those of the progress bar among them."""
    reading, terminal = pty.openpty()
    said: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # how a terminal says that nobody writes to it any more
            while piece := os.read(reading, 1 << 16):
                said.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(terminal, "w") as stream, redirect_stderr(stream), chdir(cwd), pytest.MonkeyPatch.context() as patch:
        for name, value in OURS.items():
            patch.setenv(name, value)
        with suppress(SystemExit):
            app([*arguments])
    reader.join()
    os.close(reading)
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", b"".join(said).decode())
    return [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]


def test_tag_a_library_and_tag_it_again(library, tmp_path):
    first = audiopatch("tag", library, "--json", "--show", "--embeddings", cwd=tmp_path)
    assert first.returncode == 3  # two of the files are no audio
    summary = printed("tag", first.stdout)
    assert (summary["found"], summary["ok"], summary["failed"], summary["left"]) == (11, 9, 2, 0)
    last = first.stderr.splitlines()[-3:]
    assert last[0].startswith("9 tagged, 2 failed; ") and last[0].endswith("→ audiopatch.out/")
    assert last[1:] == ["why tracks failed: audiopatch.out/errors/", "see them: audiopatch show"]
    assert "track 0.wav" in first.stderr and "random weights" in first.stderr
    run = printed("run", (tmp_path / "audiopatch.out" / "run.json").read_text())
    assert run["status"] == "finished" and run["counts"]["n_ok"] == 9

    second = here("tag", library, "--json", "--embeddings", cwd=tmp_path)
    assert second.returncode == 0
    assert json.loads(second.stdout) | {"elapsed_s": 0} == summary | {
        "ok": 0, "up_to_date": 9, "inferences": 0, "audio_s": 0, "elapsed_s": 0, "times_real_time": 0, "exit_code": 0
    }  # fmt: skip
    assert "Nothing to do: 9 current, 2 failed earlier" in second.stderr

    other = here("tag", library, "--top", "3", "-q", cwd=tmp_path)
    assert other.returncode == 7 and "top was 10, now 3" in other.stderr and "--force" in other.stderr


@pytest.mark.parametrize(("n_tracks", "begins"), [(3, "Tags by tiny-random"), (21, "Commonest tags by tiny-random")])
def test_a_terminal_ends_in_the_tags_of_few_tracks_or_the_commonest_of_many(library, tmp_path, n_tracks, begins):
    (tmp_path / "music").mkdir()
    for number in range(n_tracks):
        shutil.copy(library / "album 0" / "track 0.wav", tmp_path / "music" / f"{number}.wav")
    lines = on_a_terminal("tag", "music", cwd=tmp_path)
    at = next(number for number, line in enumerate(lines) if line.startswith(begins))
    assert re.search(r"\(21\)" if n_tracks == 21 else r"0\.\d\d", " ".join(lines[at + 1 : -2]))
    assert lines[-2].startswith(f"{n_tracks} tagged") and lines[-1] == "see them: audiopatch show"


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(library, tmp_path):
    facts = printed("tag-dry-run", here("tag", library, "--dry-run", "--json", cwd=tmp_path).stdout)
    assert (facts["found"], facts["to_do"], facts["current"]) == (11, 11, 0)
    assert facts["audio_s"] > 0 and facts["takes_s"] > 0 and list(tmp_path.iterdir()) == []


def test_a_dry_run_tells_minutes_of_audio_from_those_it_takes(capsys):
    counts = {"found": 3, "to_do": 3, "current": 0, "failed_earlier": 0}
    foreseen = Foreseen(**counts, audio_s=360, takes_s=2, output="o", model="m")
    _tell_foreseen(foreseen, as_json=False)
    said = capsys.readouterr().err
    assert "3 of 3 tracks to do, about 6 min of audio\n" in said and "takes about 2.0 s" in said


def test_lines_on_stdout_and_a_reader_who_leaves(library, tmp_path):
    arguments = ["tag", library, "--format", "jsonl", "-o", "-", "-q", "--timeline", "--embeddings"]
    everything = here(*arguments, cwd=tmp_path)
    lines = [printed("row-stream", line) for line in everything.stdout.splitlines()]
    assert len(lines) == 11
    assert [line.split(":")[0] for line in everything.stderr.splitlines()] == ["failed", "failed"]
    assert sum(line["status"] == "ok" and len(line["tags"]) == 10 for line in lines) == 9
    assert sum(line["status"] == "failed" and "error" in line for line in lines) == 2

    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as piped:
        assert piped.stdout is not None and piped.stderr is not None
        assert json.loads(piped.stdout.readline())
        piped.stdout.close()
        assert all(line.startswith(b"failed: ") for line in piped.stderr)
    assert piped.returncode in (3, 141)
    assert list(tmp_path.iterdir()) == []


def test_any_name_and_a_folder_that_cannot_be_written(tone, tmp_path):
    music = tmp_path / "music"
    for name in (b"caf\xe9.wav", b"two\nlines.wav", b"\x1b[31mred.wav", "naïve ♫.wav".encode()):
        tone(music / "x.wav", seconds=1).rename(music / os.fsdecode(name))
    listed = b"\0".join(os.fsencode(path) for path in music.iterdir())
    music.chmod(0o555)
    options = {"input": listed, "text": False, "env": {**ENVIRONMENT, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}}
    done = audiopatch("tag", "--files-from", "-", "-0", "-o", "out", "--show", cwd=tmp_path, **options)
    assert done.returncode == 0, done.stderr
    assert b"\x1b[31m" not in done.stdout + done.stderr
    tracks = pd.read_parquet(tmp_path / "out" / "tracks")
    assert len(tracks) == 4
    assert tracks["path_bytes"].dropna().tolist() == [os.fsencode(music) + b"/caf\xe9.wav"]
    assert len(list(music.iterdir())) == 4  # nothing was written beside the music


def test_an_output_whose_name_looks_like_an_address(library, tmp_path):
    done = here("tag", library / "album 0", "-o", "topk:0.7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_parquet(tmp_path / "topk:0.7" / "tracks")) == 4


def test_outputs_that_cannot_be_written_are_refused_in_words(library, tmp_path):
    (tmp_path / "file").touch()
    done = here("tag", library, "-o", "/proc/nowhere", cwd=tmp_path)
    assert done.returncode == 6 and "cannot write to /proc/nowhere" in done.stderr and "Traceback" not in done.stderr
    done = here("tag", library, "-o", "file", cwd=tmp_path)
    assert done.returncode == 2 and "file is a file; tables need a folder" in done.stderr
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").touch()
    done = here("tag", library, "-o", "letters", cwd=tmp_path)
    assert done.returncode == 7 and "such as dear.txt" in done.stderr
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["dear.txt"]


def test_a_missing_engine_does_not_claim_the_output(library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    done = here("tag", library, "--engine", "openvino", "-o", "out", cwd=tmp_path)
    assert done.returncode == 6 and "[openvino]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_embed(library, tmp_path):
    arguments = ("--block", "2", "--tokens", "cls,avg", "--patchout", "F3T2", "--vectors", "float32")
    done = here("embed", library / "long.wav", *arguments, "--progress", "json", cwd=tmp_path)
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("{")]
    events = [printed(f"event-{json.loads(line)['event']}", line) for line in lines]
    assert [event["event"] for event in events if event["event"] != "note"] == [
        "doing",
        "doing",
        "planned",
        "track",
        "finished",
        "ended",
    ]
    assert json.loads(done.stderr.splitlines()[-1])["exit_code"] == 0
    notes = " ".join(event["text"] for event in events if event["event"] == "note")
    assert "drop rows 0, 7, 8 of 9, keep every 2nd of 61 columns: 186 of 549 tokens, 34 %" in notes
    run = printed("run", (tmp_path / "audiopatch.out" / "run.json").read_text())
    assert run["parameters"]["stack"] == {"blocks": [2], "tokens": ["cls", "avg"]}
    vectors = pd.read_parquet(tmp_path / "audiopatch.out" / "embeddings")
    assert len(vectors["embedding"][0]) == 128 and vectors["embedding"][0].dtype == "float32"


def test_all_files_failing_is_not_success(tmp_path):
    (tmp_path / "a.mp3").write_bytes(b"nothing")
    done = here("tag", "a.mp3", "--fail-on", "all", cwd=tmp_path)
    assert done.returncode == 3 and "failed: " in done.stderr and "(E_" in done.stderr


@pytest.mark.parametrize(
    ("ok", "failed", "codes", "later"),
    [
        (2, 0, (0, 0, 0, 0), (0, 0, 0, 0)),
        (1, 1, (3, 3, 0, 0), (0, 3, 0, 0)),
        (0, 2, (3, 3, 3, 0), (0, 3, 0, 0)),
    ],
    ids=["none", "some", "all"],
)
def test_what_counts_as_failure(ok, failed, codes, later):
    first = Counts(n_found=2, n_ok=ok, n_failed=failed)
    again = Counts(n_found=2, n_up_to_date=ok, n_failed_before=failed)
    for counts, expected in ((first, codes), (again, later)):
        policies = (FailOn.new, FailOn.any, FailOn.all, FailOn.never)
        assert tuple(exit_code(counts, policy) for policy in policies) == expected
    new = Counts(n_found=3, n_up_to_date=ok, n_failed=1)
    assert exit_code(new, FailOn.all) == 3  # what was tried now has failed, whatever went well before


def test_a_missing_device_is_an_error_not_a_fallback(library, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = here("tag", library, "--device", "cuda", cwd=tmp_path)
    assert done.returncode == 6 and "--device cuda was asked for" in done.stderr
    assert not (tmp_path / "audiopatch.out").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_finishes_the_batch_and_flushes(tone, tmp_path, number, code):
    for index in range(40):
        tone(tmp_path / "music" / f"{index:02d}.wav", seconds=40, frequency=100 + index)
    command = [*COMMAND, "tag", "music", "--progress", "json"]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        while '"event": "track"' not in run.stderr.readline():
            pass
        run.send_signal(number)
        rest = run.stderr.read()
    assert run.returncode == code, rest
    last = json.loads(rest.splitlines()[-1])
    assert (last["event"], last["interrupted"], last["exit_code"]) == ("ended", True, code)
    counts = json.loads((tmp_path / "audiopatch.out" / "run.json").read_text())["counts"]
    assert 0 < counts["n_ok"] < 40
    assert len(pd.read_parquet(tmp_path / "audiopatch.out" / "tracks")) == counts["n_ok"]


def _mount_tmpfs(folder: Path, size: str) -> bool:
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    return bool(mounted) and mounted.returncode == 0


@pytest.mark.fault("full disk")
def test_a_full_disk_is_an_error_of_the_environment_and_costs_nothing_finished(library, tmp_path):
    full = tmp_path / "full"
    if not _mount_tmpfs(full, "200k"):
        pytest.skip("no right to mount a small disk here")
    try:
        assert here("tag", library / "album 0", "-o", full / "out", cwd=tmp_path).returncode == 0
        before = pd.read_parquet(full / "out" / "tracks")
        (full / "ballast").write_bytes(b"x" * (shutil.disk_usage(full).free - 4096))
        done = here("tag", library, "-o", full / "out", cwd=tmp_path)
        assert done.returncode == 6 and "no space left" in done.stderr and "Traceback" not in done.stderr
        (full / "ballast").unlink()
        pd.testing.assert_frame_equal(pd.read_parquet(full / "out" / "tracks"), before)
        done = here("tag", library, "-o", full / "out", "--json", cwd=tmp_path)
        assert json.loads(done.stdout)["up_to_date"] == 4 and json.loads(done.stdout)["ok"] == 5
    finally:
        subprocess.run(["umount", full], check=True)


@pytest.mark.fault("two runs on one output")
def test_two_runs_on_one_output(library, tmp_path):
    command = [*COMMAND, "tag", library, "--progress", "json"]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        while '"event": "planned"' not in first.stderr.readline():
            pass
        os.kill(first.pid, signal.SIGSTOP)
        second = here("tag", library, cwd=tmp_path)
        os.kill(first.pid, signal.SIGCONT)
        first.stderr.read()
    assert second.returncode == 7 and f"in use by another run (process {first.pid}" in second.stderr
    assert first.returncode == 3
