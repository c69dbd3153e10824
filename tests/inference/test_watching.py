"""A watch over real folders while files are copied in, moved, retagged, written slowly, deleted and taken away."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audiopatch.audio.inputs import Inputs
from audiopatch.errors import UsageError
from audiopatch.events import Counts, Current, Note
from audiopatch.inference import watching
from audiopatch.inference.pipeline import RunResult, run_to_folder
from audiopatch.inference.settings import Analysis, Runtime
from audiopatch.tables.read import read
from fabricate import encode, music, retag
from soundness import assert_same, assert_sound

ANALYSIS = Analysis(model="tiny-random", embeddings=True, timeline=True, vectors="float32")
RUNTIME = Runtime(threads=1, workers=0)
_PATIENCE_S = 30


class _Heard:
    """Remembers what brought the tables up to date."""

    def __init__(self):
        self.said: list[Current] = []
        self.notes = ""

    def __call__(self, event):
        if isinstance(event, Current):
            self.said.append(event)
        elif isinstance(event, Note):
            self.notes += event.text

    def counts(self) -> Counts:
        total = Counts()
        for current in self.said:
            total = total.plus(current.counts)
        return total


class Watch:
    """A watch in a thread of its own."""

    def __init__(self, folder: Path, output: Path):
        self.folder, self.output, self.heard = folder, output, _Heard()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.result: RunResult | None = None

    def _work(self) -> None:
        self.result = watching.watch_folders(
            Inputs([str(self.folder)]), self.output, ANALYSIS, RUNTIME, observer=self.heard, stop=self._stop
        )

    def __enter__(self) -> Watch:
        self._thread.start()
        self.until(lambda: bool(self.heard.said))
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(_PATIENCE_S)
        assert not self._thread.is_alive()

    def until(self, reached: Callable[[], bool]) -> None:
        give_up = time.monotonic() + _PATIENCE_S
        while not reached():
            assert self._thread.is_alive() and time.monotonic() < give_up, self.heard.said
            time.sleep(0.05)

    def paths(self) -> list[str]:
        tracks = read(self.output).tracks  # the other tables may be a change ahead
        return sorted(Path(path).relative_to(self.folder).as_posix() for path in tracks.get("path", ()))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    for module, name, value in ((watching, "_QUIET_S", 0.3), (watching, "_GRACE_S", 0.6), (watching, "_TICK_MS", 100)):
        monkeypatch.setattr(module, name, value)
    (tmp_path / "music").mkdir()
    for number, form in enumerate(("flac", "mp3", "ogg")):
        encode(tmp_path / "music" / f"song.{form}", music(2.0, seed=number), artist="Before", title=form)
    return tmp_path / "music"


@pytest.fixture
def watch(folder, tmp_path) -> Iterator[Watch]:
    with Watch(folder, tmp_path / "out") as watch:
        yield watch


def test_tables_follow_whatever_happens_to_the_files(watch, folder, tmp_path):
    assert watch.paths() == ["song.flac", "song.mp3", "song.ogg"]
    encode(tmp_path / "new.m4a", music(3.0, seed=7))
    (folder / "album").mkdir()
    shutil.copy(tmp_path / "new.m4a", folder / "album" / "new.m4a")
    watch.until(lambda: watch.heard.counts().n_ok == 4)
    assert "album/new.m4a" in watch.paths()

    retag(folder / "song.mp3")
    (folder / "album").rename(folder / "renamed")
    watch.until(lambda: watch.heard.counts().n_up_to_date == 2)  # the folder's file, and the retagged one
    assert watch.paths() == ["renamed/new.m4a", "song.flac", "song.mp3", "song.ogg"]
    assert set(assert_sound(watch.output).tracks["artist"].dropna()) == {"Before", "After"}
    assert watch.heard.counts().n_ok == 4  # nothing was computed for that

    encode(folder / "song.ogg", music(4.0, seed=9))
    (folder / "text.mp3").write_text("no audio\n" * 100)
    watch.until(lambda: watch.heard.counts().n_ok == 5 and watch.heard.counts().n_failed == 1)

    (folder / "song.flac").unlink()
    (folder / "text.mp3").unlink()
    shutil.rmtree(folder / "renamed")
    watch.until(lambda: watch.paths() == ["song.mp3", "song.ogg"])
    assert len(assert_sound(watch.output).errors) == 0
    run_to_folder(Inputs([str(folder)]), tmp_path / "reference", ANALYSIS, RUNTIME)
    assert_same(watch.output, tmp_path / "reference")


def test_a_file_that_is_still_being_written_waits(watch, folder, tmp_path):
    whole = encode(tmp_path / "whole.flac", music(6.0, seed=5)).read_bytes()
    step = len(whole) // 12 + 1
    with open(folder / "slow.flac", "wb", buffering=0) as file:
        for start in range(0, len(whole), step):
            assert watch.paths() == ["song.flac", "song.mp3", "song.ogg"]
            file.write(whole[start : start + step])
            time.sleep(0.15)
    watch.until(lambda: watch.heard.counts().n_ok == 4)
    assert "slow.flac" in watch.paths() and watch.heard.counts().n_damaged == 0


def test_rows_of_a_disk_that_is_away_stay(watch, folder, tmp_path):
    """As an unmounted disk looks: the folder is there and empty. Its files were not said to be deleted."""
    time.sleep(0.5)  # the system tells of changes by now
    away = tmp_path / "away"
    folder.rename(away)
    folder.mkdir()
    time.sleep(2)
    assert watch.paths() == ["song.flac", "song.mp3", "song.ogg"]
    folder.rmdir()
    away.rename(folder)
    assert watch.heard.counts().n_failed == 0


def test_what_happened_before_the_watch_is_taken_up_and_missing_files_leave(folder, tmp_path):
    run_to_folder(Inputs([str(folder)]), tmp_path / "out", ANALYSIS, RUNTIME)
    (folder / "song.mp3").unlink()
    encode(folder / "new.wav", music(1.0, seed=3))
    with Watch(folder, tmp_path / "out") as watch:
        watch.until(lambda: watch.paths() == ["new.wav", "song.flac", "song.ogg"])
    assert watch.result is not None and not watch.result.interrupted
    assert (watch.result.counts.n_ok, watch.result.counts.n_up_to_date) == (1, 2)


def test_a_watch_may_begin_with_an_empty_folder_and_looks_where_the_system_is_silent(tmp_path, folder, monkeypatch):
    """As on a network disk: no word of any change, and only looks find them."""
    monkeypatch.setattr(watching, "_LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(watching, "_TICK_S", 0.1)
    monkeypatch.setattr(watching, "_SHARE_OF_LOOKING", 0)
    monkeypatch.setattr(watching, "follow", _silent)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with Watch(inbox, tmp_path / "out") as watch:
        assert watch.paths() == []
        shutil.copy(folder / "song.mp3", inbox / "one.mp3")
        shutil.copy(folder / "song.ogg", inbox / "two.ogg")
        watch.until(lambda: watch.paths() == ["one.mp3", "two.ogg"])
        (inbox / "one.mp3").rename(inbox / "uno.mp3")
        watch.until(lambda: watch.paths() == ["two.ogg", "uno.mp3"])
        (inbox / "two.ogg").unlink()
        watch.until(lambda: watch.paths() == ["uno.mp3"])
    assert watch.heard.counts().n_ok == 2
    assert "does not tell" in watch.heard.notes


def test_rows_stay_where_a_disk_takes_its_folder_along_or_may_not_be_read(tmp_path, folder, monkeypatch):
    """As removable disks have it: their mount point goes, other disks beside it stay."""
    monkeypatch.setattr(watching, "_LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(watching, "_TICK_S", 0.1)
    monkeypatch.setattr(watching, "_SHARE_OF_LOOKING", 0)
    monkeypatch.setattr(watching, "follow", _silent)
    with Watch(folder, tmp_path / "out") as watch:
        folder.rename(tmp_path / "away")
        time.sleep(1)
        assert len(watch.paths()) == 3
        (tmp_path / "away").rename(folder)
        locked = _Locked(folder)
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", locked.scandir)
            (folder / "song.mp3").unlink()
            watch.until(lambda: locked.n_asked > 8)
            assert len(watch.paths()) == 3
        watch.until(lambda: watch.paths() == ["song.flac", "song.ogg"])


class _Locked:
    """``os.scandir`` as it is for who may not read ``folder``; tests may run as root, who may."""

    def __init__(self, folder: Path):
        self.folder, self.n_asked, self._scandir = os.fspath(folder), 0, os.scandir

    def scandir(self, path="."):
        if os.fspath(path) == self.folder:
            self.n_asked += 1
            raise PermissionError(13, "Permission denied")
        return self._scandir(path)


def _silent(folders, stop, *, leave_out):
    raise OSError("no more watches")
    yield


def test_a_disk_taken_away_and_brought_back(tmp_path, folder):
    inside = folder / "disk"
    inside.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", inside], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a disk here")
    try:
        encode(inside / "there.flac", music(1.0, seed=4))
        with Watch(folder, tmp_path / "out") as watch:
            assert "disk/there.flac" in watch.paths()
            subprocess.run(["umount", "--lazy", inside], check=True)
            (folder / "song.mp3").unlink()
            watch.until(lambda: "song.mp3" not in watch.paths())
            assert "disk/there.flac" in watch.paths()
    finally:
        subprocess.run(["umount", "--lazy", inside], capture_output=True, check=False)


@pytest.mark.parametrize(
    ("paths", "listed", "force", "words"),
    [
        (["{}/song.mp3"], (), False, "song.mp3 is none"),
        (["{}"], ("a.mp3",), False, "--files-from"),
        (["{}"], (), True, "--force"),
    ],
)
def test_what_cannot_be_watched_is_said(folder, paths, listed, force, words):
    with pytest.raises(UsageError, match=words):
        Inputs([path.format(folder) for path in paths], listed).check_watchable(force=force)


def test_the_output_among_the_music_does_not_wake_the_watch(folder):
    with Watch(folder, folder / "out") as watch:
        encode(folder / "new.wav", music(1.0, seed=3))
        watch.until(lambda: watch.heard.counts().n_ok == 4)
        time.sleep(1.5)
        assert len(watch.heard.said) == 2  # the first look, and the new file
        assert os.listdir(folder / "out" / "tracks")  # noqa: PTH208
