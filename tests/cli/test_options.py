"""An option has one name and one default, wherever it is set."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from audiopatch.cli import config
from audiopatch.cli import options as o
from audiopatch.cli.main import COMMANDS, find_command
from audiopatch.errors import UsageError
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.option import options_of


@pytest.mark.parametrize("name", COMMANDS)
def test_configuration_files_and_the_environment_call_an_option_as_the_command_line_does(name):
    command = find_command(name)
    for spelt, parameter in config.option_names(command).items():
        param = next(param for param in command.params if param.name == parameter)
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
