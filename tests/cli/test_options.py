"""An option has one name and one default, wherever it is set."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import jsonschema
import pytest
import torch
from typer.testing import CliRunner

from audiopatch.cli import config
from audiopatch.cli import options as o
from audiopatch.cli.complete import answer
from audiopatch.cli.durations import parse_duration
from audiopatch.cli.main import COMMANDS, app, find_command
from audiopatch.cli.topics import TOPICS
from audiopatch.errors import UsageError
from audiopatch.inference.extract import find_plan
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.option import TIME, TIME_FORMS, options_of
from audiopatch.zoo import DEFAULT_MODEL, load_model
from printed import printed


@pytest.mark.parametrize("name", COMMANDS)
def test_configuration_files_and_the_environment_call_an_option_as_the_command_line_does(name):
    command = find_command(name)
    for spelt, param in config.options(command).items():
        assert f"--{spelt.replace('_', '-')}" in param.opts and param.envvar == f"AUDIOPATCH_{spelt.upper()}"


@pytest.mark.parametrize("holder", [Analysis, Runtime, o.Sources, o.Target, o.Talk])
def test_a_default_is_written_once(holder):
    params = {param.name: param for param in find_command("tag").params}
    defaults = {entry.name: entry.default for entry in fields(holder)}
    assert options_of(holder)
    for name, about in options_of(holder).items():
        assert params[name].default in (defaults[name], None) and params[name].help == about.help


def test_a_number_out_of_bounds_is_refused_by_name():
    with pytest.raises(UsageError, match="`min_score` 2 cannot work; from 0 to 1"):
        Analysis(min_score=2)
    with pytest.raises(UsageError, match="`segments` 0 cannot work; at least 1"):
        Analysis(segments=0)


def test_commands_take_their_options_apart_and_together_again():
    taken = []

    @o.with_options(without=("offline",))
    def command(analysis: Analysis, runtime: Runtime, extra: int = 3) -> None:
        taken.append((analysis, runtime, extra))

    names = inspect.signature(command).parameters
    assert "top" in names and "offline" not in names and "decoder_mb" not in names
    values = {name: parameter.default for name, parameter in names.items()}
    command(**values | {"top": 4})
    assert taken == [(Analysis(top=4), Runtime(), 3)]


def test_a_configuration_file_is_made_shown_and_described(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AUDIOPATCH_POOL", "max")
    cli = CliRunner()
    assert cli.invoke(app, ["config", "init"]).exit_code == 0
    assert cli.invoke(app, ["config", "init"]).exit_code == 7  # it is there
    text = (tmp_path / "audiopatch.toml").read_text()
    assert tomllib.loads(text) == {"tag": {}, "embed": {}, "evaluate": {}}  # every option stands there as a comment
    (tmp_path / "audiopatch.toml").write_text(text.replace("# top = 10\n", "top = 7\n"))
    facts = printed("config-show", cli.invoke(app, ["config", "show", "tag", "--json"]).stdout)
    found = {one["name"]: (one["value"], one["source"]) for one in facts["options"]}
    assert found["top"] == (7, "audiopatch.toml") and found["pool"][0] == "max" and found["seed"] == (0, "default")
    schema = json.loads(cli.invoke(app, ["config", "schema"]).stdout)
    assert schema["properties"]["tag"]["properties"]["format"]["enum"] == ["parquet", "jsonl", "csv"]
    jsonschema.validate({"top": 3, "tag": {"pool": "max"}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"tag": {"topp": 3}}, schema)


def test_every_option_that_takes_a_time_takes_it_as_people_write_it():
    assert [parse_duration(text) for text in ("90", "90s", "2h", "1h 30m", "1.5d")] == [90, 90, 7200, 5400, 129600]
    for text in ("h", "-5", "1h30", "2 weeks", "2h!", "nan", ""):
        with pytest.raises(ValueError, match="is no time; write it as 90, 90s, 15m or 2h"):
            parse_duration(text)
    found = {spelt: param for name in COMMANDS for spelt, param in config.options(find_command(name)).items()}
    timed = {spelt: param for spelt, param in found.items() if param.metavar == TIME}
    others = [param.help or "" for spelt, param in found.items() if spelt not in timed]
    assert not [text for text in others if re.search(r"(?i)seconds\b(?! for a machine)", text)]
    assert {"budget", "decode_timeout", "finish_in", "length", "repair"} == timed.keys()
    assert all(f"({TIME_FORMS})." in param.help for param in timed.values())


def test_a_time_is_read_alike_from_the_line_the_environment_and_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    cli = CliRunner()
    few = cli.invoke(app, ["estimate", ".", "--budget", "4s"])
    assert few.exit_code == 2 and "4s is too short; give at least 5 s" in " ".join(few.stderr.split())
    Path("audiopatch.toml").write_text("decode_timeout = '2 weeks'\n")
    assert "'2 weeks' is no time" in cli.invoke(app, ["tag", "x"]).stderr
    Path("audiopatch.toml").write_text("decode_timeout = '15m'\n")
    schema = json.loads(cli.invoke(app, ["config", "schema"]).stdout)
    for value in ("15m", 90):
        jsonschema.validate({"tag": {"decode_timeout": value}}, schema)
    assert "is no time" not in cli.invoke(app, ["tag", "x"]).stderr
    monkeypatch.setenv("AUDIOPATCH_DECODE_TIMEOUT", "soon")
    assert "'soon' is no time" in cli.invoke(app, ["tag", "x"]).stderr


def test_a_variable_that_sets_nothing_is_named(monkeypatch):
    monkeypatch.setenv("AUDIOPATCH_TOPS", "3")
    done = CliRunner().invoke(app, ["tag", "x"])
    assert done.exit_code == 2 and "did you mean 'AUDIOPATCH_TOP'?" in done.stderr


def test_help_on_topics():
    cli = CliRunner()
    for name in TOPICS:
        assert name in cli.invoke(app, ["help"]).stdout and cli.invoke(app, ["help", name]).stdout.strip()
    assert "did you mean 'plans'" in cli.invoke(app, ["help", "plan"]).stderr


def test_every_plan_and_block_that_help_and_pages_name_runs_on_the_default_model():
    tagger = load_model(DEFAULT_MODEL, device="cpu")
    mel = tagger.frontend(torch.zeros(1, 10 * tagger.frontend.sample_rate))
    helps = [find_command(name) for name in COMMANDS]
    helps += [nested for command in helps for nested in getattr(command, "commands", {}).values()]
    examples = "\n".join(re.sub(r"\[/?bold\]", "", command.help or "") for command in helps)
    page = (Path(__file__).parents[2] / "docs/patchout.md").read_text(encoding="utf-8").partition("\nBlocks are")[0]
    plans = {line.split()[0] for line in TOPICS["plans"].splitlines() if line.startswith("  ")}
    plans |= {*re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\| (`.+?) \|", page, re.M)))}
    plans |= {*re.findall(r"--patchout (\S+)", examples), *o.complete_plans()}
    others = {"my_module:MyReducer", "module:Class"}  # reducers of one's own
    assert len(plans - others) > 12
    for plan in plans - others:
        assert tagger(mel, find_plan(tagger, plan), seeds=torch.zeros(1, dtype=torch.int64)).logits.isfinite().all()
    for block in re.findall(r"--blocks? ([\d,]+)", examples):
        assert all(1 <= int(number) <= tagger.card.backbone.depth for number in block.split(","))


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("audiopatch sh", "show"),
        ("audiopatch tag --patcho", "--patchout"),
        ("audiopatch tag --model tiny-r", "tiny-random"),
        ("audiopatch show heav", "Heavy\\ metal"),
        ("audiopatch train openm", "openmic"),
        ("audiopatch tag --patchout F3T2 ~/Music --runner r", "ray"),
        ("audiopatch config show est", "estimate"),
        ("audiopatch help exit", "exit-codes"),
    ],
)
def test_the_shell_completes_without_anything_heavy(typed, completed):
    code = (
        "import sys; from audiopatch.__main__ import main; main()\n"
        "print(*{'torch', 'numpy', 'pyarrow', 'typer', 'dataclasses'} & set(sys.modules), file=sys.stderr)"
    )
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), "_AUDIOPATCH_COMPLETE": "complete_bash"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=os.environ | words, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == completed and done.stderr.strip() == ""


def test_each_shell_is_answered_in_its_own_form(monkeypatch, capsys):
    def told(shell: str, line: str) -> str:
        monkeypatch.setenv("_AUDIOPATCH_COMPLETE", f"complete_{shell}")
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        assert answer()
        return capsys.readouterr().out.rstrip("\n")

    about = "Show what was found: the library at a glance, the tags of one track, the best tracks of a label."
    assert told("fish", "audiopatch sho") == f"show\t{about}"
    monkeypatch.setenv("_TYPER_COMPLETE_WORD_TO_COMPLETE", "sho")
    assert told("powershell", "audiopatch sho") == f"show:::{about}"
    monkeypatch.setenv("_TYPER_COMPLETE_WORD_TO_COMPLETE", "")
    assert [line.split(":::")[0] for line in told("pwsh", "audiopatch config").splitlines()][:2] == ["init", "show"]
    assert told("zsh", "audiopatch sho") == f"local -a found=({shlex.quote(f'show:{about}')}); _describe '' found"
    assert told("zsh", "audiopatch show heav") == "local -a found=('Heavy metal'); _describe '' found"
    assert told("zsh", "audiopatch tag ") == "_files" and told("fish", "audiopatch tag ") == ""
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "is-args")
    with pytest.raises(SystemExit) as left:
        told("fish", "audiopatch tag ")
    assert left.value.code == 1


def test_without_a_shell_that_asks_nothing_is_answered(monkeypatch):
    monkeypatch.delenv("_AUDIOPATCH_COMPLETE", raising=False)
    assert not answer()
    monkeypatch.setenv("_AUDIOPATCH_COMPLETE", "source_bash")  # which Typer answers
    assert not answer()
