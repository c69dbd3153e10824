"""``audiopatch bench``, ``estimate`` and ``export`` as a user runs them, on the smallest model."""

from __future__ import annotations

import json
import shlex
import threading
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import typer

from audiopatch.bench import sweep
from audiopatch.bench.run import EXPERIMENTS, Wanted, cases_of
from audiopatch.cli.console import errors_to_words
from audiopatch.cli.main import find_command
from audiopatch.zoo.load import load_model
from printed import printed
from typed import Typed, typed


@pytest.fixture(scope="module")
def music(tone, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for number in range(2):
        tone(folder / f"{number}.wav", seconds=12, frequency=300 + 200 * number)
    return folder


def audiopatch(*arguments: str | Path, cwd: Path) -> Typed:
    done = typed(*arguments, cwd=cwd, AUDIOPATCH_CACHE=str(cwd / "cache"))
    assert done.returncode == 0, done.stderr
    return done


def test_bench_leaves_figures_and_a_plot(music, tmp_path):
    pytest.importorskip("matplotlib")
    cases = ["--engine", "torch:float32", "--engine", "torch:bfloat16", "--patchout", "F0T0", "--patchout", "F4T10"]
    how = ["--block", "1", "--baseline", "efficientat", "--repeats", "1", "--no-whole", "--json", "--budget", "300"]
    done = audiopatch("bench", music, "-m", "tiny-random", *cases, *how, cwd=tmp_path)
    report = printed("bench", done.stdout)
    assert report == json.loads((tmp_path / "audiopatch.bench" / "bench.json").read_text())
    table = pd.read_parquet(tmp_path / "audiopatch.bench" / "bench.parquet")
    assert len(report["rows"]) == len(table) == 2 * 2 * 2 + 1  # engines, logits or embedding, patchouts; a baseline
    assert report["machine"]["cpu"] and "load_average" in report["machine"]
    full = table.query("patchout == 'F0T0' and dtype == 'float32' and block.isna() and quality.notna()").iloc[0]
    fast = table.query("patchout == 'F4T10' and dtype == 'float32' and block.isna()").iloc[0]
    assert full.quality == 1 and full.error < 1e-5 and full.quality_name.startswith("agreement with the unreduced")
    assert fast.gmacs < full.gmacs / 5 and fast.quality < 1 and fast.n_tokens < full.n_tokens / 5
    assert (
        (table[table.dtype == "float32"].peak_share > 0).all()
        and (table.minutes_per_s > 0).all()
        and (table.latency_ms > 0).all()
    )
    assert (tmp_path / "audiopatch.bench" / "bench.png").stat().st_size > 10_000
    assert "<svg" in (tmp_path / "audiopatch.bench" / "bench.svg").read_text()


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        (["HOPELESS"], "F0T0 torch float32: hopeless here"),
        (["PREPARE"], "F3T2 torch float32 skipped because: no"),
        (["HOPELESS", "PREPARE"], "F3T2 torch float32 skipped because: no"),
    ],
)
def test_bench_keeps_to_its_budget_and_names_what_it_left_out(shares, says, music, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for share in shares:
        monkeypatch.setattr(sweep, share, 0.0)
    how = ["--engine", "torch:float32", "--patchout", "F0T0", "--patchout", "F3T2", "--no-whole", "--budget", "5"]
    bench_command([str(music), "-m", "tiny-random", *how, "--repeats", "1"], standalone_mode=False)
    said = capsys.readouterr()
    assert "2 settings on 2 tracks, in about 5 s" in said.err
    assert says in said.err + said.out.replace("\n", " ")


def test_what_was_timed_until_ctrl_c_is_shown(music, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    stop, really = threading.Event(), sweep.time_runs
    stop.exit_code = 130

    def time_runs(runs, **how):
        """Ctrl-C when the first setting has been timed and the second has not."""
        left = iter([False, False, True])
        found = really(runs, **{**how, "stop": lambda: next(left, True)})
        stop.set()
        return found

    monkeypatch.setattr(sweep, "time_runs", time_runs)
    monkeypatch.setattr("audiopatch.cli.bench.stop_on_signals", lambda: nullcontext(stop))
    how = ["--engine", "torch:float32", "--patchout", "F0T0", "--patchout", "F3T2", "--no-whole"]
    assert bench_command([str(music), "-m", "tiny-random", *how], standalone_mode=False) == 130
    (row,) = json.loads((tmp_path / "audiopatch.bench" / "bench.json").read_text())["rows"]
    assert row["patchout"] == "F0T0" and row["quality"] == 1
    assert " F0T0 " in capsys.readouterr().out


def test_what_compiles_every_setting_cannot_use_up_the_time_of_what_does_not():
    wanted = Wanted(models=("tiny-random",), patchouts=("F0T0", "F3T2"), engines=("torch", "openvino:float32"))
    made = cases_of("tiny-random", load_model("tiny-random", device="cpu"), wanted)
    assert [(case.engine, case.patchout) for case in made] == [
        ("torch", "F0T0"), ("torch", "F3T2"), ("openvino", "F0T0"), ("openvino", "F3T2")
    ]  # fmt: skip


@pytest.mark.slow  # five starts of a run; test_labelled.py has the judging
def test_bench_judges_by_labels_and_times_whole_runs(music, tmp_path):
    pytest.importorskip("sklearn")
    mini = Path(__file__).parents[1] / "mini" / "esc50"
    data = ["--dataset", "esc50", "--data-dir", mini, "--patchout", "F3T2", "--engine", "torch", "--repeats", "1"]
    done = audiopatch("bench", music, "-m", "tiny-random", *data, "--budget", "8", cwd=tmp_path)
    report = json.loads((tmp_path / "audiopatch.bench" / "bench.json").read_text())
    (row,), (whole,) = report["rows"], report["whole_runs"]
    assert row["quality_name"] == "esc50 accuracy of a probe" and 0 <= row["quality"] <= 1
    assert min(whole[stage] for stage in ("decode", "frontend", "network", "whole", "startup_s")) > 0
    assert "esc50 accuracy of a probe" in done.stdout and "whole run" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--patchout", "F3TT"], "F3TT"),
        (["--baseline", "maest"], "did you mean 'maest-infer'"),
        (["--engine", "tensorflow"], "unknown engine"),
        (["--experiment", "maest-figure-4"], "did you mean 'maest-figure-3'"),
        (["--block", "99"], "block 99 does not exist"),
        (["--dataset", "gtzan"], "--data-dir DIR go together"),
        (["--dataset", "gtzan", "--data-dir", "/nonexistent"], "GTZAN"),
        (["nowhere"], "no such file or folder"),
        ([], "Name a folder"),
    ],
)
def test_bench_refuses_in_a_sentence_what_cannot_work(words, says, music, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    where = [] if words in ([], ["nowhere"]) else [str(music)]
    with pytest.raises(typer.Exit) as left:
        bench_command(["-m", "tiny-random", *where, *words], standalone_mode=False)
    assert left.value.exit_code == 2
    assert says in capsys.readouterr().err


def bench_command(words, **how):
    with errors_to_words():
        return find_command("bench").main(words, **how)


def test_a_published_comparison_is_repeated(music, tmp_path, monkeypatch, capsys):
    """On a network and a peer of the smallest size; the command's own take a minute."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    few = ["-m", "tiny-random", "--patchout", "F0T0", "--block", "1", "--baseline", "efficientat", "--repeats", "1"]
    monkeypatch.setitem(EXPERIMENTS, "small", Wanted(models=("tiny-random",), compared_with="efficientat"))
    bench_command([str(music), "--experiment", "small", *few, "--no-whole", "--budget", "60"], standalone_mode=False)
    report = json.loads((tmp_path / "audiopatch.bench" / "bench.json").read_text())
    peer, *ours = sorted(report["rows"], key=lambda row: row["quality"] is not None)
    assert peer["model"] == "efficientat" and len(ours) == 2
    times = [f"{row['minutes_per_s'] / peer['minutes_per_s']:.2g}" for row in ours]
    said = capsys.readouterr().out
    assert "× efficientat" in said and all(number in said for number in times)
    assert (tmp_path / "audiopatch.bench" / "bench.png").stat().st_size > 10_000


def test_estimate_proposes_a_command_that_runs(music, tmp_path):
    options = ["-m", "tiny-random", "--finish-in", "1h", "--engine", "torch", "--budget", "5"]
    done = audiopatch("estimate", music, *options, "--json", cwd=tmp_path)
    found = printed("estimate", done.stdout)
    assert found["library"]["n_tracks"] == 2 and found["chosen"]["tried"]
    assert found["chosen"]["row"]["quality"] == max(option["row"]["quality"] for option in found["options"])
    audiopatch(*shlex.split(found["command"])[1:], "-q", cwd=tmp_path)
    assert (tmp_path / "audiopatch.out" / "run.json").exists()


@pytest.mark.slow  # quantising takes a minute; tests/models/engines has the quick part
def test_an_exported_int8_program_tags(music, tmp_path):
    pytest.importorskip("openvino")
    if find_spec("nncf") is None:  # not imported here, for it calls an analytics service
        pytest.skip("nncf is not installed")
    audiopatch("export", "tiny-random", "--patchout", "F3T2", "--int8", music, cwd=tmp_path)
    how = ["-m", "tiny-random", "--patchout", "F3T2", "--engine", "openvino", "--dtype", "int8"]
    audiopatch("tag", music, *how, cwd=tmp_path)
    run = json.loads((tmp_path / "audiopatch.out" / "run.json").read_text())
    assert (run["model"]["engine"], run["model"]["dtype"]) == ("openvino", "int8")
    assert run["counts"]["n_ok"] == 2
