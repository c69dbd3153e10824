"""The tables stay true: a file we retagged is not new to the next run, nor to one that watches."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import audiopatch
from audiopatch.audio.inputs import Inputs
from audiopatch.events import Current, Note, silent
from audiopatch.inference.pipeline import run_to_folder
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.inference.watching import watch_folders
from audiopatch.writing.changes import Change
from audiopatch.writing.containers import open_tags
from containers import make
from soundness import assert_sound

KINDS = ("mp3", "flac", "ogg", "m4a", "wav", "wv")


@pytest.fixture
def music(tmp_path) -> Path:
    (tmp_path / "music").mkdir()
    for kind in KINDS:
        make(tmp_path / "music", kind)
    return tmp_path / "music"


class Notes:
    def __init__(self):
        self.said, self.counts, self.looks = "", [], 0

    def __call__(self, event):
        if isinstance(event, Note):
            self.said += event.text
        elif isinstance(event, Current):
            self.looks += 1
            self.counts.append((event.counts.n_found, event.counts.n_inferences))


def _changes(music: Path, value: str = "Polka") -> list[Change]:
    rows = {row.path: row for row in audiopatch.read(music.parent / "out").tracks.itertuples()}
    paths = [str(path) for path in sorted(music.iterdir())]
    return [Change(path, "GENRE", (), (value,), track_id=rows[path].track_id) for path in paths]


def _run(music: Path, out: Path, observer=silent):
    analysis, runtime = Analysis(model="tiny-random", top=3), Runtime(threads=1, workers=0)
    return run_to_folder(Inputs([str(music)]), out, analysis, runtime, observer=observer)


def test_a_run_after_a_write_or_an_undo_finds_nothing_new_and_decodes_nothing(music, tmp_path):
    out = tmp_path / "out"
    _run(music, out)
    written = audiopatch.apply_changes(_changes(music), out)
    assert (written.n("written"), written.note) == (len(KINDS), "")
    for verb in ("write", "undo"):
        notes = Notes()
        counts = _run(music, out, notes).counts
        assert (counts.n_up_to_date, counts.n_inferences) == (len(KINDS), 0), verb
        assert "retagged" not in notes.said, verb  # no file was even decoded to compare its audio
        genres = assert_sound(out, music.iterdir()).tracks["genre"]
        assert set(genres.fillna("")) == ({"Polka"} if verb == "write" else {""}), verb
        audiopatch.undo(out)


def test_a_watching_run_takes_up_what_was_written_once_and_analyses_nothing(music, tmp_path):
    out, stop, notes = tmp_path / "out", threading.Event(), Notes()
    analysis, runtime = Analysis(model="tiny-random", top=3), Runtime(threads=1, workers=0)
    watch = threading.Thread(
        target=watch_folders,
        args=(Inputs([str(music)]), out, analysis, runtime),
        kwargs={"observer": notes, "stop": stop},
    )
    watch.start()
    try:
        _until(lambda: notes.looks == 1)
        written = audiopatch.apply_changes(_changes(music), out)
        assert written.n("written") == len(KINDS) and "in use by another run" in written.note
        _until(
            lambda: sum(found for found, _ in notes.counts[1:]) >= len(KINDS) - 1
        )  # flac has room: same size and time
        looks = notes.looks
        time.sleep(4)
        assert notes.looks == looks, "it goes on about what it has seen"
    finally:
        stop.set()
        watch.join()
    assert sum(inferences for _, inferences in notes.counts[1:]) == 0
    assert len(assert_sound(out, music.iterdir()).tracks) == len(KINDS)
    assert open_tags(str(music / "song.mp3"))[1].read("GENRE") == ("Polka",)


def _until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_two_writes_at_once_are_kept_apart(music, tables):
    from audiopatch.errors import OutputMismatchError
    from audiopatch.tables.local import locked

    out = tables(*music.iterdir())
    with locked(out / "writes"), pytest.raises(OutputMismatchError, match="in use by another run"):
        audiopatch.apply_changes(_changes(music), out)
