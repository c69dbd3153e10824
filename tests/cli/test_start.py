"""The command line before any work: quick answers, help, configuration, refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from audiopatch.cli import console
from audiopatch.cli.main import COMMANDS, find_command
from audiopatch.zoo.cards import CARDS
from printed import printed
from typed import typed

HEAVY = {"torch", "numpy", "pandas", "pyarrow", "av", "matplotlib", "huggingface_hub"}


def test_help_and_version_import_nothing_heavy():
    """One process asks for all of them: what is imported stays, and the first that imports it is named."""
    wanted = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    code = (
        "import sys; from audiopatch.cli.main import app\n"
        f"for arguments in {wanted!r}:\n"
        "  try: app(arguments)\n"
        "  except SystemExit: pass\n"
        f"  print(*arguments, *{HEAVY!r} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout and done.stderr.splitlines() == [" ".join(arguments) for arguments in wanted]


def test_the_list_of_commands_says_what_each_says_of_itself():
    assert {name: find_command(name).get_short_help_str(200) for name in COMMANDS} == {
        name: about for name, (_, about) in COMMANDS.items()
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_leads_with_three_examples(name):
    lines = [line.strip() for line in typed(name, "--help", COLUMNS="80").stdout.splitlines()]
    first = next(at for at, line in enumerate(lines) if line.startswith(f"audiopatch {name}"))
    examples = lines[first : first + 3]
    assert all(line.startswith(f"audiopatch {name}") for line in examples) and not lines[first + 3], "each on one line"
    assert len({line.rindex("  ") for line in examples if "  " in line}) <= 1, "explanations begin in one column"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["tag"], 2, "nothing to do"),
        (["tag", "/no/such/place"], 2, "no such file or folder"),
        (["tag", ".", "--overlap", "1"], 2, "--overlap 1.0 cannot work"),
        (["tag", ".", "--pool", "maxx"], 2, "did you mean 'max'"),
        (["tag", ".", "--format", "csv", "-o", "-"], 2, "only --format jsonl can"),
        (["tag", ".", "--tokens", "cls,foo", "--block", "1"], 2, "unknown token 'foo'"),
        (["tag", ".", "--block", "x"], 2, "write a number from 1"),
        (["tag", ".", "--frobnicate"], 2, "unknown option '--frobnicate'"),
        (["tag", ".", "--topp", "3"], 2, "did you mean '--top'?"),
        (["tag", ".", "--top", "ten"], 2, "--top takes a whole number, not 'ten'"),
        (["tag", ".", "--min-score", "2"], 2, "--min-score 2 cannot work; it is at most 1"),
        (["tag", ".", "--format", "jsn"], 2, "--format: 'jsn' is not one of"),
        (["tag", ".", "-0"], 2, "--files-from"),
        (["tagg"], 2, "did you mean 'tag'"),
        (["tag", "."], 4, "no audio found"),
        (["models", "info", "tiny-randm"], 2, "did you mean 'tiny-random'"),
        (["models", "info", "nothing-like-it"], 2, "see: audiopatch models list"),
        (["models", "verify", "tiny-randm"], 2, "did you mean 'tiny-random'"),
    ],
)
def test_refusals_are_sentences_with_their_exit_code(arguments, code, words, tmp_path):
    done = typed(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert words in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_flags_beat_the_environment_beats_the_project_file_beats_the_users_file(tmp_path):
    def effective(*flags: str, **environment: str) -> str:
        """Which --pool a run would use; an impossible one is named in the refusal."""
        done = typed("tag", "a.wav", *flags, cwd=tmp_path, XDG_CONFIG_HOME=str(tmp_path / "home"), **environment)
        return done.stderr.split("unknown pooling '")[1].split("'")[0]

    (tmp_path / "a.wav").touch()
    (tmp_path / "home" / "audiopatch").mkdir(parents=True)
    (tmp_path / "home" / "audiopatch" / "config.toml").write_text('pool = "user"\n')
    assert effective() == "user"
    (tmp_path / "audiopatch.toml").write_text('[tag]\npool = "project"\n')
    assert effective() == "project"
    assert effective(AUDIOPATCH_POOL="environment") == "environment"
    assert effective("--pool", "flag", AUDIOPATCH_POOL="environment") == "flag"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"pool = ", "not valid TOML"),
        (b"pool = '\xff'", "not valid TOML"),
        (b"[tag]\npol = 'max'", "did you mean 'pool'"),
        (b"[tga]\npool = 'max'", "did you mean 'tag'"),
        (b"tag = 3", "unknown option 'tag'"),
    ],
)
def test_a_broken_configuration_is_named(tmp_path, text, words):
    (tmp_path / "audiopatch.toml").write_bytes(text)
    done = typed("tag", ".", cwd=tmp_path)
    assert done.returncode == 2 and words in done.stderr and "audiopatch.toml" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk here that is always full")
def test_a_disk_that_fills_while_a_file_is_written(capsys):
    with pytest.raises(console.typer.Exit) as stopped, console.errors_to_words(), open("/dev/full", "w") as file:
        file.write("x")
    said = capsys.readouterr().err
    assert stopped.value.exit_code == 6 and "No space left" in said and "Traceback" not in said


def test_models_and_doctor():
    assert "tiny-random" in typed("models", "list").stdout
    assert "sound" in typed("models", "verify", "tiny-random").stdout
    done = typed("doctor", "--json")
    found = {(one["part"], one["name"]) for one in printed("doctor", done.stdout)["findings"]}
    assert {("format", "flac"), ("software", "audiopatch")} <= found and done.returncode in (0, 6)


def test_the_list_of_models_fits_a_pipe():
    lines = typed("models", "list", COLUMNS="80").stdout.splitlines()
    assert len(lines) == len(CARDS) + 1
    assert all(name in line and "…" not in line for name, line in zip(CARDS, lines[1:], strict=True))


def test_a_bad_value_that_was_not_typed_is_traced_to_where_it_stands(tmp_path):
    done = typed("tag", ".", cwd=tmp_path, AUDIOPATCH_SEGMENTS="x")
    assert done.returncode == 2 and "AUDIOPATCH_SEGMENTS in the environment sets --segments" in done.stderr
    (tmp_path / "audiopatch.toml").write_text('segments = "x"\n')
    done = typed("tag", ".", cwd=tmp_path)
    assert done.returncode == 2 and "a configuration file sets --segments" in done.stderr
    assert "sets" not in typed("tag", ".", "--segments", "y", cwd=tmp_path).stderr


def test_without_the_packages_of_training_their_names_are_said(tmp_path):
    (tmp_path / "label").mkdir()
    lines = ("train folder .", "train probe folder .", "train distill .", "evaluate folder . --model tiny-random")
    hidden = (
        "import sys; sys.modules['lightning_fabric'] = None; from audiopatch.cli.main import app\n"
        f"for line in {lines!r}:\n"
        "  try: app(line.split())\n"
        "  except SystemExit as ended: print(ended.code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", hidden], cwd=tmp_path, capture_output=True, text=True, check=True)
    said = [line for line in done.stderr.splitlines() if line != "reading the data"]
    assert said[1::2] == ["6"] * len(lines) and all("[train]'" in line for line in said[::2]), done.stderr


def test_loading_the_default_model_leaves_the_compiler_alone():
    """torch._dynamo and what it brings cost a CPU second; nothing needs them to build a network and tell its plan."""
    code = (
        "import sys, audiopatch; from audiopatch.reducers.plan import describe, parse_plan; "
        "grid = audiopatch.load_model('audiopatch-small', device='cpu').grid; "
        "describe(parse_plan('F3T2+topk:0.7@2'), grid); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_models_info_tells_what_the_default_model_learnt_from_and_cannot_do():
    said = typed("models", "info", "audiopatch-small").stdout
    assert "freely licensed music" in said and "What it cannot do" in said
