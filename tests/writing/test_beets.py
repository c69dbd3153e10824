"""The beets plugin in a real beets library, by the program that its users start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mutagen
import pytest

from audiopatch.zoo import DEFAULT_MODEL
from containers import make

pytest.importorskip("beets")


@pytest.fixture
def beet(tmp_path):
    """beet(arguments...) -> what it said, with a library and a configuration of its own."""
    (tmp_path / "config.yaml").write_text(
        f"directory: {tmp_path / 'library'}\nlibrary: {tmp_path / 'library.db'}\nplugins: audiopatch\n"
        "import: {copy: no, write: yes, autotag: no, quiet: yes}\n"
        "audiopatch: {genre: 1, mood: 1, instrument: 2, min_score: 0.001}\n"
    )
    (tmp_path / "music").mkdir()
    for kind in ("mp3", "flac"):
        make(tmp_path / "music", kind, seconds=2)

    def call(*arguments: str) -> str:
        environment = os.environ | {"BEETSDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "beets", *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    call.music = tmp_path / "music"
    return call


_SHOWN = "$audiopatch_model|$audiopatch_genre|$audiopatch_mood|$audiopatch_instrument|$audiopatch_instrument_score"


def test_items_of_a_library_get_attributes_that_beets_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("BEETSDIR", str(tmp_path))
    import beets
    from beets.library import Item, Library

    from beetsplug.audiopatch import AudioPatchPlugin

    beets.config.clear()
    beets.config.read(user=False)
    beets.config["audiopatch"].set({"genre": 1, "min_score": 0.001, "model": "audiopatch-small"})
    library = Library(str(tmp_path / "library.db"), str(tmp_path))
    for kind in ("flac", "m4a"):
        library.add(Item.from_path(make(tmp_path, kind)))
    (tmp_path / "gone.mp3").write_bytes(b"no music")
    plugin = AudioPatchPlugin()
    plugin.listen(library.items(), write=False, pretend=True)
    assert not any(item.get("audiopatch_model") for item in library.items())
    plugin.listen(library.items(), write=True, pretend=False)
    for item in library.items():
        assert item.get("audiopatch_model") == "audiopatch-small" and 0 < float(item.get("audiopatch_genre_score")) <= 1
        tags = mutagen.File(os.fsdecode(item.path)).tags
        key = "----:com.apple.iTunes:AUDIOPATCH_GENRE" if item.path.endswith(b"m4a") else "audiopatch_genre"
        assert item.get("audiopatch_genre") in (tags[key][0], getattr(tags[key][0], "decode", str)())
    plugin._open.close()


@pytest.mark.slow
def test_an_import_listens_and_beets_writes(beet):
    beet("import", str(beet.music))
    rows = [line.split("|") for line in beet("list", "-f", _SHOWN).splitlines()]
    assert len(rows) == 2
    for model, genre, mood, instrument, scores in rows:
        assert model == DEFAULT_MODEL and genre and mood and len(instrument.split("; ")) == 2
        assert all(0 < float(score) <= 1 for score in scores.split("; "))
    beet("write", "-f")  # what it imports as it is, it does not write by itself
    tags = mutagen.File(beet.music / "song.flac").tags
    assert tags["audiopatch_genre"] == [rows[0][1]] or tags["audiopatch_genre"] == [rows[1][1]]
    assert beet("list", "audiopatch_genre::.").count("\n") == 2


@pytest.mark.slow
def test_a_query_is_listened_to_on_demand_and_pretending_changes_nothing(beet):
    beet("-c", _without_auto(beet.music.parent), "import", str(beet.music))
    assert beet("list", "-f", "[$audiopatch_model]") in ("[]\n[]\n", "[$audiopatch_model]\n" * 2)
    said = beet("audiopatch", "--pretend", "path::mp3$")
    assert "audiopatch_instrument=" in said and said.count(f"audiopatch_model={DEFAULT_MODEL}") == 1
    assert beet("list", f"audiopatch_model:{DEFAULT_MODEL}") == ""
    beet("audiopatch", "path::mp3$")
    assert beet("list", f"audiopatch_model:{DEFAULT_MODEL}").count("\n") == 1
    assert mutagen.File(beet.music / "song.mp3").tags.getall("TXXX:AUDIOPATCH_INSTRUMENT")
    assert "audiopatch_model=" not in beet("audiopatch", "--pretend", "path::mp3$")  # listened to before


def _without_auto(folder: Path) -> str:
    text = (folder / "config.yaml").read_text().replace("{genre: 1", "{auto: no, genre: 1")
    (folder / "without.yaml").write_text(text)
    return str(folder / "without.yaml")
