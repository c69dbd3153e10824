"""Names that would paint the terminal, forge a line or run in a page: shown as they are, and do nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import audiopatch
from audiopatch.cli import console
from audiopatch.cli.main import app
from audiopatch.cli.progress import Bar, Plain
from audiopatch.cli.show import print_tracks
from audiopatch.events import Counts, Finished, Note, PassedOver, Planned, TrackDone
from audiopatch.library.show import shown
from audiopatch.tables.formats import dumps
from audiopatch.types import Failed, Track
from audiopatch.zoo import load_model, native

NAMES = (
    "[red]x.wav",
    "[link=evil.org]y.wav",
    "[bold red on white]z.wav",
    "\x1b[31mred.wav",
    "\x9b2J8bit.wav",
    "two\nTagged 9 of 9 tracks.wav",
    "back\rover.wav",
    "\u202ecod.wav",
    ":bomb:.wav",
)
_OBEYED = "\x1b\x9b\r\u202e"


@pytest.fixture
def music(tone, tmp_path) -> Path:
    for name in NAMES:
        tone(tmp_path / "plain.wav", seconds=1).rename(_in(tmp_path / "music", name))
    return tmp_path / "music"


def _in(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    return folder / name


def _assert_harmless(said: str, names=NAMES) -> None:
    assert not any(char in said for char in _OBEYED)
    flat = "".join(char for char in said if not char.isspace() and char not in "│┃")
    for name in names:
        assert console.printable(name).replace(" ", "") in flat


def test_in_the_table_of_tags(music, tmp_path, capsys):
    tables = audiopatch.tag(music, tmp_path / "out", model="tiny-random", threads=1, workers=0)
    assert set(tables.tracks["path"]) == {os.fspath(music / name) for name in NAMES}
    print_tracks(shown(tables, tables.tracks), "tiny-random", to_stdout=True)
    _assert_harmless(capsys.readouterr().out)


@pytest.mark.parametrize("observer", [Plain, Bar])
def test_in_the_progress_of_a_run(observer, capsys):
    watching = observer(verbose=True)
    watching(Planned(Counts(n_found=len(NAMES))))
    for name in NAMES:
        failed = Failed(Track(name, "/", "0" * 16, 1, 1), "E_DECODE", "open", f"bad: {name}")
        watching(TrackDone(failed, Counts()))
        watching(Note(f"skipped {name}"))
        watching(PassedOver(name))
    watching(Finished(Counts()))
    said = capsys.readouterr().err
    _assert_harmless(said)
    assert not any(line.startswith("Tagged") for line in said.splitlines())


def test_in_a_model_from_a_stranger(tmp_path):
    tagger = load_model("tiny-random", device="cpu")
    native.save(tagger, tmp_path / "model")
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    (tmp_path / "model" / "card.json").write_text(json.dumps(card | {"name": NAMES[3], "licence": NAMES[0]}))
    for verb in ("info", "verify"):
        said = CliRunner().invoke(app, ["models", verb, str(tmp_path / "model")])
        assert said.exit_code == 0, said.output
        _assert_harmless(said.output, (NAMES[3],))


def test_in_the_report_of_the_doctor(tmp_path):
    said = CliRunner().invoke(app, ["doctor", "-o", str(tmp_path / "[red]x[/red]")], env={"COLUMNS": "400"})
    assert "[red]x[/red]" in said.output and " ok " in said.output


def test_in_an_internal_error(capsys):
    with pytest.raises(console.typer.Exit), console.errors_to_words():
        raise RuntimeError(NAMES[3])
    _assert_harmless(capsys.readouterr().err, (NAMES[3],))


def test_in_a_place_that_cannot_be_written(tmp_path, capsys):
    place = tmp_path / NAMES[3].replace("/", "_")
    place.touch()
    with pytest.raises(console.typer.Exit) as stopped, console.errors_to_words():
        (place / "page").mkdir()
    said = capsys.readouterr().err
    assert stopped.value.exit_code == 6 and "cannot use" in said and "Traceback" not in said
    _assert_harmless(said, (place.name,))


def test_in_lines_of_json():
    for name in NAMES[:-2]:
        line = dumps({"path": name})
        assert json.loads(line) == {"path": name}
        assert not any(char in line for char in "\x1b\x9b\r\n")


def test_in_a_page(tone, tmp_path):
    name = "<img src=x onerror=alert(1)>\x1b&\u202e.wav"
    (tmp_path / "music").mkdir()
    tone(tmp_path / "plain.wav", seconds=2).rename(tmp_path / "music" / name)
    torch.set_num_threads(1)
    done = CliRunner().invoke(app, ["inspect", str(tmp_path / "music"), "-m", "tiny-random", "-o", str(tmp_path / "p")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "p" / "index.html").read_text()
    assert "<img src=x" not in page and "&lt;img src=x onerror=alert(1)&gt;\ufffd&amp;\ufffd.wav" in page
    assert not any(char in page for char in _OBEYED)
