"""What may go wrong while files are written: each is refused by itself, the others are done, and all come back."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import traceback
from pathlib import Path

import pytest

import audiopatch
from audiopatch.writing import apply
from audiopatch.writing.changes import Change
from audiopatch.writing.containers import open_tags
from containers import CONTAINERS, make, state


@pytest.fixture
def music(tmp_path) -> Path:
    """Four files; a test may do to them what it likes."""
    for number, kind in enumerate(("mp3", "flac", "ogg", "m4a")):
        (tmp_path / "music" / str(number)).mkdir(parents=True)
        make(tmp_path / "music" / str(number), kind, seed=number)
    return tmp_path / "music"


def files(music: Path) -> list[Path]:
    return sorted(path for path in music.rglob("*") if path.is_file() and not path.name.startswith("."))


def write(out: Path, **how):
    return audiopatch.apply_changes(audiopatch.propose_changes(out, genre=2, mood=1), out, **how)


def refused(done) -> dict[str, str]:
    return {Path(outcome.path).name: outcome.reason for outcome in done.outcomes if outcome.what == "refused"}


def genre(path: Path) -> tuple[str, ...]:
    return open_tags(str(path))[1].read("GENRE")


def test_every_container_is_written_and_comes_back_byte_for_byte_with_its_times(tables, tmp_path):
    (tmp_path / "music").mkdir()
    for kind in CONTAINERS:
        make(tmp_path / "music", kind)
    before, out = state(tmp_path / "music"), tables(*files(tmp_path / "music"))
    done = write(out)
    assert (done.n("written"), done.n_fields) == (len(CONTAINERS), 2 * len(CONTAINERS))
    after = state(tmp_path / "music")
    assert after.keys() == before.keys()
    assert all(after[name][0] != before[name][0] and after[name][1] == before[name][1] for name in before)
    assert {genre(path) for path in files(tmp_path / "music")} == {("Heavy metal", "Drum and bass")}
    assert done.journal_bytes < 3000 * len(CONTAINERS)
    assert write(out).n("written") == 0  # nothing is left to do
    undone = audiopatch.undo(out)
    assert undone.n("restored") == len(CONTAINERS) and state(tmp_path / "music") == before
    assert audiopatch.undo(out).n("restored") == 0
    assert write(out).n("written") == len(CONTAINERS)  # again, after an undo
    assert audiopatch.undo(out, only=["song.mp?"]).n("restored") == 2
    assert audiopatch.undo(out).n("restored") == len(CONTAINERS) - 2 and state(tmp_path / "music") == before


def test_the_same_changes_twice_do_nothing_the_second_time(music, tables):
    out = tables(*files(music))
    changes = list(audiopatch.propose_changes(out))
    assert audiopatch.apply_changes(changes, out).n("written") == 4
    before = state(music)
    again = audiopatch.apply_changes(changes, out)
    assert again.n("unchanged") == 4 and state(music) == before
    assert audiopatch.undo(out, again.name).n("restored") == 0 and state(music) == before


def test_mode_owner_attributes_and_times_are_kept_or_touched(music, tables):
    path = music / "0" / "song.mp3"
    path.chmod(0o640)
    os.utime(path, ns=(1_000_000_000, 1_234_567_890_123_456_789))
    try:
        os.setxattr(path, "user.rating", b"5")
    except OSError:
        pytest.skip("no extended attributes on this disk")
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
        os.setxattr(path, "system.posix_acl_access", _acl())
    before = path.stat()
    out = tables(*files(music))
    assert write(out).n("written") == 4
    now = path.stat()
    for name in ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_nlink"):
        assert getattr(now, name) == getattr(before, name), name
    assert os.getxattr(path, "user.rating") == b"5"
    if os.geteuid() == 0:
        assert os.getxattr(path, "system.posix_acl_access") == _acl()
    assert audiopatch.undo(out).n("restored") == 4
    assert write(out, touch=True).n("written") == 4
    assert path.stat().st_mtime_ns > before.st_mtime_ns + 10**9
    audiopatch.undo(out)
    assert path.stat().st_mtime_ns == before.st_mtime_ns and os.getxattr(path, "user.rating") == b"5"


def _acl() -> bytes:
    """user::rw- user:1000:r-- group::r-- mask::r-- other::---"""
    entries = ((1, 6, 2**32 - 1), (2, 4, 1000), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1))
    return b"\2\0\0\0" + b"".join(
        tag.to_bytes(2, "little") + permission.to_bytes(2, "little") + who.to_bytes(4, "little")
        for tag, permission, who in entries
    )


def test_hard_links_are_left_alone_unless_they_may_be_broken(music, tables):
    path = music / "0" / "song.mp3"
    os.link(path, music / "other name.mp3")
    out = tables(path)
    done = write(out)
    assert "2 names (hard links)" in refused(done)["song.mp3"] and not genre(path)
    assert write(out, break_links=True).n("written") == 1
    assert genre(path) and not genre(music / "other name.mp3")
    assert audiopatch.undo(out).n("restored") == 1
    assert path.read_bytes() == (music / "other name.mp3").read_bytes()


def test_symbolic_links_stay_links_and_their_file_is_written_once(music, tables, tmp_path):
    path, link = music / "1" / "song.flac", tmp_path / "links" / "a.flac"
    link.parent.mkdir()
    (tmp_path / "links" / "b.flac").symlink_to(link)
    link.symlink_to(path)
    out = tables(link, tmp_path / "links" / "b.flac")
    done = write(out)
    assert (done.n("written"), done.n("unchanged")) == (1, 1)
    assert link.is_symlink() and genre(path)
    assert audiopatch.undo(out).n("restored") == 1 and not genre(path)


def test_read_only_files_and_folders_and_missing_files_are_refused(music, tables):
    out = tables(*files(music))
    (music / "0" / "song.mp3").chmod(0o444)
    (music / "2" / "song.ogg").unlink()
    done = write(out)
    assert refused(done) == {"song.mp3": "is read-only"} and done.n("written") == 2  # the missing one at the preview
    assert audiopatch.propose_changes(out, genre=2, mood=1).refused == [(str(music / "2" / "song.ogg"), "no such file")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
def test_a_folder_that_may_not_be_written_to_is_refused(music, tables, tmp_path):
    out = tables(*files(music))
    above = [path for path in tmp_path.parents if path.name.startswith(("pytest-", "popen-"))]  # pytest's own
    for path in [*above, *tmp_path.rglob("*"), tmp_path]:
        path.chmod(path.stat().st_mode | 0o755)
    for path in [*out.rglob("*"), out, music / "1", *(music / "1").iterdir()]:
        os.chown(path, 65534, 65534)
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            reasons = refused(write(out))
            assert reasons.keys() == {"song.mp3", "song.ogg", "song.m4a"} and set(reasons.values()) == {"is read-only"}
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert genre(music / "1" / "song.flac") and not genre(music / "0" / "song.mp3")


def test_a_file_that_somebody_writes_to_is_refused(music, tables):
    fcntl = pytest.importorskip("fcntl")
    if not hasattr(fcntl, "F_SETLEASE"):
        pytest.skip("this system does not tell who writes to a file")
    out = tables(*files(music))
    with open(music / "0" / "song.mp3", "r+b"), open(music / "1" / "song.flac", "rb"):
        done = write(out)
    assert refused(done) == {"song.mp3": "another program has it open for writing"} and done.n("written") == 3


def test_a_file_whose_audio_changed_since_is_refused_and_one_only_retagged_is_not(music, tables):
    out = tables(*files(music))
    make(music / "0", "mp3", seed=99)
    _, tags = open_tags(str(music / "1" / "song.flac"))
    tags.save(str(music / "1" / "song.flac"), {"INSTRUMENT": ("Lute",)})
    done = write(out)
    assert "its audio changed since" in refused(done)["song.mp3"] and done.n("written") == 3


def test_values_that_came_since_the_plan_stay(music, tables):
    out = tables(*files(music))
    changes = audiopatch.propose_changes(out)
    for place in ("0/song.mp3", "1/song.flac"):
        open_tags(str(music / place))[1].save(str(music / place), {"GENRE": ("Polka",)})
    done = audiopatch.apply_changes(changes, out)
    assert (done.n("kept"), done.n("written")) == (2, 2) and genre(music / "0" / "song.mp3") == ("Polka",)
    path = str(music / "1" / "song.flac")
    wrong = [Change(path, "GENRE", old=("Waltz",), new=("Jazz",)), Change(path, "MOOD", old=(), new=("Sad",))]
    done = audiopatch.apply_changes(wrong, out)
    assert refused(done) == {"song.flac": "its genre is Polka now, where Waltz was expected"}
    assert not open_tags(path)[1].read("MOOD")  # a file is written as a whole or not at all


def test_a_value_that_differs_in_capitals_alone_is_written(music, tables):
    path = str(music / "1" / "song.flac")
    open_tags(path)[1].save(path, {"GENRE": ("trip hop",)})
    change = Change(path, "GENRE", old=("Trip hop",), new=("Trip Hop",))
    assert audiopatch.apply_changes([change], tables(*files(music))).n("written") == 1
    assert genre(music / "1" / "song.flac") == ("Trip Hop",)


def test_an_error_of_ours_costs_one_file(music, tables, monkeypatch):
    out, before = tables(*files(music)), state(music)
    compare = apply._compare

    def fail(copy, *rest):
        if copy.path.endswith("mp3"):
            raise KeyError("oops")
        compare(copy, *rest)

    monkeypatch.setattr(apply, "_compare", fail)
    done = write(out)
    assert refused(done) == {"song.mp3": "please report this: KeyError: 'oops'"} and done.n("written") == 3
    audiopatch.undo(out)
    assert state(music) == before


def test_undo_refuses_what_somebody_changed_and_shows_both_values(music, tables):
    out = tables(*files(music))
    write(out)
    path = music / "0" / "song.mp3"
    open_tags(str(path))[1].save(str(path), {"GENRE": ("Polka",)})
    done = audiopatch.undo(out)
    assert done.n("restored") == 3
    assert "genre was written as Heavy metal; Drum and bass, is Polka" in refused(done)["song.mp3"]
    assert genre(path) == ("Polka",)


def test_several_writes_go_back_one_by_one(music, tables):
    out = tables(*files(music))
    states = [state(music)]
    for value in ("One", "Two", "Three"):
        path = music / "0" / "song.mp3"
        change = Change(str(path), "GENRE", old=genre(path), new=(value,))
        assert audiopatch.apply_changes([change], out).n("written") == 1
        states.append(state(music))
    names = [one.name for one in audiopatch.writing.undo.list_writes(out)]
    middle = audiopatch.undo(out, names[1])
    assert "was changed since" in refused(middle)["song.mp3"]
    for name, before in zip(reversed(names), reversed(states[:-1]), strict=True):
        assert audiopatch.undo(out, name).n("restored") == 1 and state(music) == before


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 3 MB; skips where this user may not mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_refuses_what_does_not_fit_and_leaves_nothing_behind(small_disk, tables):
    for name, kind in (("small", "mp3"), ("large", "wav")):
        (small_disk / name).mkdir()
        make(small_disk / name, kind, seconds=4)
    before, out = state(small_disk), tables(*files(small_disk))
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - 200_000))
    done = write(out)
    assert refused(done) == {"song.wav": "no space left for a copy beside it"} and done.n("written") == 1
    (small_disk / "ballast").unlink()
    assert state(small_disk).keys() == before.keys()
    assert write(out).n("written") == 1
    for name in [one.name for one in audiopatch.writing.undo.list_writes(out)]:
        audiopatch.undo(out, name)
    assert state(small_disk) == before


def test_a_journal_without_room_refuses_files_and_keeps_what_it_has(music, small_disk, tables):
    out = tables(*files(music))
    (small_disk / "writes").mkdir()
    (out / "writes").symlink_to(small_disk / "writes")
    before = state(music)
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - 3 * 4096))
    fake = [Change(str(path), "COMMENT", (), (os.urandom(1).hex() * 4000,)) for path in files(music)]
    first = audiopatch.apply_changes(fake[:1], out)
    rest = audiopatch.apply_changes([Change(str(files(music)[0]), "MOOD", (), ("Sad",))], out)
    assert {first.outcomes[0].what, rest.outcomes[0].what} <= {"written", "refused"}
    (small_disk / "ballast").unlink()
    for name in reversed([one.name for one in audiopatch.writing.undo.list_writes(out)]):
        audiopatch.undo(out, name)
    assert state(music) == before


@pytest.mark.parametrize("what", ["tags", "audio", "value"])
def test_a_copy_that_differs_in_more_than_the_values_is_never_taken(what, music, tables, monkeypatch):
    """A tag writer with an error in it: whatever it ruins, the file stays."""
    path = music / "0" / "song.mp3"
    out, before = tables(path), state(music)
    save = apply._save

    def ruin(tags, copy, values):
        save(tags, copy, values if what != "value" else {**values, "GENRE": ("Wrong",)})
        data = bytearray(Path(copy.aside).read_bytes())
        if what == "audio":
            data[len(data) // 2] ^= 1
        elif what == "tags":
            data = data.replace(b"TSSE", b"TSSF")
        Path(copy.aside).write_bytes(data)

    monkeypatch.setattr(apply, "_save", ruin)
    done = write(out)
    assert done.n("refused") == 1 and state(music) == before and not done.name
    assert {"tags": "lose", "audio": "no tag", "value": "does not take"}[what] in refused(done)["song.mp3"]


def test_a_spoilt_journal_restores_what_it_can_and_refuses_the_rest(music, tables):
    out = tables(*files(music))
    before = state(music)
    done = write(out)
    journal = out / "writes" / done.name / "journal"
    data = bytearray(journal.read_bytes())
    data[len(data) // 3] ^= 0xFF
    journal.write_bytes(data + b"\x89apj torn")
    undone = audiopatch.undo(out)
    assert undone.n("restored") == 3
    now = state(music)
    assert sum(now[name] == before[name] for name in before) == 3


def test_odd_names_are_written_too(tables, tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    song = make(folder, "mp3")
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9 \xff.mp3"))
    song.rename(odd)
    long = folder / ("x" * 251 + ".mp3")
    shutil.copy(odd, long)
    out, before = tables(odd, long), state(folder)
    assert write(out).n("written") == 2 and genre(odd)
    assert audiopatch.undo(out).n("restored") == 2 and state(folder) == before


def test_a_disk_that_says_no_is_a_reason_and_not_a_traceback(music, tables, monkeypatch):
    from audiopatch.writing import replace

    out, before = tables(*files(music)), state(music)
    rename = os.replace

    def deny(source, target):
        if str(music) in str(target):
            raise OSError(errno.EPERM, "Operation not permitted")
        rename(source, target)

    monkeypatch.setattr(replace.os, "replace", deny)
    done = write(out)
    assert set(refused(done).values()) == {"may not be changed: Operation not permitted"} and state(music) == before
    assert stat.S_IMODE(files(music)[0].stat().st_mode) & 0o600 == 0o600
