"""Python as good as the command line: every function says what it takes, and its defaults are the command line's."""

from __future__ import annotations

import inspect
import sys
from importlib.resources import files

import numpy as np
import pytest
import soundfile

import audiopatch
from audiopatch.errors import UsageError
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.option import options_of

WORKFLOWS = ("tag", "embed", "evaluate", "train", "distill", "bench", "estimate", "export", "inspect", "shrink", "read")


@pytest.mark.parametrize("name", [*WORKFLOWS, "load_model"])
def test_every_parameter_is_named_typed_and_told_of(name):
    function = getattr(audiopatch, name)
    parameters = inspect.signature(function).parameters.values()
    assert function.__doc__ and len(parameters) >= 2
    assert all(parameter.annotation is not parameter.empty for parameter in parameters)
    assert not {parameter.kind for parameter in parameters} & {inspect.Parameter.VAR_KEYWORD}


@pytest.mark.parametrize("name", ["tag", "embed"])
def test_options_and_defaults_are_those_of_the_command_line(name):
    parameters = inspect.signature(getattr(audiopatch, name)).parameters
    own = {"top", "min_score", "thresholds", "pool", "dense", "embeddings"} if name == "embed" else set()
    for holder in (Analysis, Runtime):
        for option in options_of(holder).keys() - own:
            assert parameters[option].default == getattr(holder, option), option


def test_types_reach_whoever_installs_it():
    assert (files("audiopatch") / "py.typed").is_file()
    assert set(audiopatch.__all__) <= set(dir(audiopatch))


def test_errors_name_the_parameter(tmp_path):
    with pytest.raises(UsageError, match="`top` -1"):
        audiopatch.tag(tmp_path, top=-1)
    with pytest.raises(UsageError, match=r"`overlap` 1\.5"):
        audiopatch.embed(tmp_path, overlap=1.5)
    with pytest.raises(TypeError, match="topp"):
        audiopatch.tag(tmp_path, topp=3)  # pyright: ignore[reportCallIssue]


def test_a_library_call_leaves_its_host_as_it_was(tmp_path):
    import torch

    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.4, 0.4, 32_000), 16_000)
    before = _host(torch)
    audiopatch.tag(tmp_path / "a.wav", model="tiny-random", threads=1, workers=0)
    tagger = audiopatch.load_model("tiny-random", device="cpu")
    tagger.tag(np.zeros(32_000, np.float32), 16_000)
    assert _host(torch) == before


def _host(torch) -> tuple:
    import logging
    import threading

    lanes = [thread for thread in threading.enumerate() if thread.name.startswith(("model", "audiopatch"))]
    return (
        torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark,
        logging.getLogger().level, list(sys.path), len(lanes),
    )  # fmt: skip


def test_a_function_keeps_its_name_when_the_folder_of_that_name_is_imported():
    import audiopatch.bench.run
    import audiopatch.distill.run

    assert callable(audiopatch.bench) and callable(audiopatch.distill)
