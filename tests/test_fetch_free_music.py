"""The script that fetches free music: what it keeps of a package, and what it says where apt is absent."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "fetch_free_music.py"


def load_script():
    spec = importlib.util.spec_from_file_location("fetch_free_music", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_music_is_found_in_folders_and_in_zip_archives(tmp_path):
    script = load_script()
    (tmp_path / "usr/share/games/x/music").mkdir(parents=True)
    (tmp_path / "usr/share/games/x/music/a b.OGG").write_bytes(b"ogg")
    (tmp_path / "usr/share/games/x/readme.txt").write_text("no music")
    with zipfile.ZipFile(tmp_path / "usr/share/games/x/data.pk3", "w") as archive:
        archive.writestr("sound/t1.mp3", b"mp3")
        archive.writestr("maps/m.bsp", b"map")
    found = {name: path.read_bytes() for path, name in script._audio(tmp_path)}
    assert found == {"x/music/a b.OGG": b"ogg", "data/sound/t1.mp3": b"mp3"}


def test_where_apt_is_absent_it_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "music", "asc-music"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 6
    assert "apt-get is not here" in done.stderr
    assert not (tmp_path / "music").exists()


def test_a_package_that_is_there_is_not_fetched_again(tmp_path):
    (tmp_path / "asc-music").mkdir()
    assert load_script().fetch("asc-music", tmp_path) is None


def test_a_folder_may_be_relative(tmp_path, monkeypatch):
    script = load_script()
    monkeypatch.chdir(tmp_path)

    def run(command, where):
        if command[0] == "apt-get":
            (where / "x_1_all.deb").touch()
        else:
            assert Path(where, command[2]).exists()  # as dpkg-deb sees it, which runs there
            (where / "tree/usr/share/doc/x").mkdir(parents=True)
            (where / "tree/usr/share/doc/x/copyright").write_text("CC0")

    monkeypatch.setattr(script, "_run", run)
    assert script.fetch("x", Path("build/music")) == 0 and (tmp_path / "build/music/x/copyright").exists()


def test_held_out_packages_are_in_the_list():
    script = load_script()
    assert set(script.HELD_OUT) < set(script.PACKAGES)
    assert len(set(script.PACKAGES)) == len(script.PACKAGES)
