import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audiopatch.audio.lists import read_list, read_paths
from audiopatch.audio.names import parse, verdict
from audiopatch.audio.walk import track_id, walk
from audiopatch.errors import UsageError


@pytest.fixture
def library(tmp_path):
    """A small library; the walk never opens the files."""
    root = tmp_path / "music"
    for name in (
        "b/2.mp3",
        "b/1.flac",
        "a/x.OGG",
        "a/cover.jpg",
        ".git/h.mp3",
        "a/._part.mp3",
        "top.wav",
        "c/deep/er/y.opus",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * 10)
    return root


def names(tracks, root):
    return [os.path.relpath(track.path, root) for track in tracks]


def test_a_folder_gives_its_audio_in_order(library):
    assert names(walk([library]), library) == ["a/x.OGG", "b/1.flac", "b/2.mp3", "c/deep/er/y.opus", "top.wav"]
    track = next(walk([library]))
    assert track.root == str(library) and track.size_bytes == 10 and track.mtime_ns > 0
    assert track.track_id == track_id("/elsewhere/music/a/x.OGG", "/elsewhere/music")
    assert len(track.track_id) == 16


def test_a_folder_of_our_tables_is_passed_over(library):
    before = names(walk([library]), library)
    (library / "b/audiopatch.out/tracks").mkdir(parents=True)
    (library / "b/audiopatch.out/run.json").touch()
    (library / "b/audiopatch.out/kept.mp3").touch()
    assert names(walk([library]), library) == before


def test_named_files_are_always_taken_and_never_twice(library):
    picture = library / "a/cover.jpg"
    found = names(walk([picture, library, library / "b", library / "b/1.flac"]), library)
    assert found[:2] == ["a/cover.jpg", "b/1.flac"]
    assert sorted(found) == sorted({*found}) and len(found) == 6


def test_ids_stay_apart_under_several_roots(library):
    tracks = list(walk([library / "a", library / "b", library / "c"]))
    assert {track.root for track in tracks} == {str(library)}
    assert len({track.track_id for track in tracks}) == len(tracks) == 4


def test_globs(library):
    assert names(walk([f"{library}/**/*.mp3"]), library) == ["b/2.mp3"]
    assert names(walk([f"{library}/?/*"]), library) == ["a/x.OGG", "b/1.flac", "b/2.mp3", "c/deep/er/y.opus"]
    assert {t.track_id for t in walk([f"{library}/b/*.mp3"])} == {t.track_id for t in walk([library / "b/2.mp3"])}


def test_a_missing_input_is_a_usage_error_at_once(library):
    with pytest.raises(UsageError, match=r"nothere\.mp3"):
        walk([library / "nothere.mp3"])
    with pytest.raises(UsageError):
        walk([f"{library}/*.shn"])


def test_playlists(library):
    (library / "list.m3u").write_bytes(
        b"\xef\xbb\xbf#EXTM3U\r\n#EXTINF:1,One\r\nb\\2.mp3\r\n"
        + bytes(library / "top.wav")
        + b"\r\nhttp://radio/stream\r\n"
        b"gone.mp3\n" + f"file://{library}/c/deep/er/y.opus\n".encode() + b"b/2.mp3"
    )
    found = list(walk([library / "list.m3u"]))
    assert names(found, library) == ["b/2.mp3", "top.wav", "gone.mp3", "c/deep/er/y.opus"]
    assert [track.size_bytes for track in found] == [10, 10, 0, 10]  # the missing one is tried, and will fail
    (library / "#odd.mp3").write_bytes(b"x")
    (library / "plain.txt").write_text("#odd.mp3\n# a comment\na\n")
    assert names(walk([library / "plain.txt"]), library) == ["#odd.mp3", "a/x.OGG"]


def test_an_old_playlist_in_a_windows_code_page(tmp_path):
    (tmp_path / "Käse.mp3").write_bytes(b"x")
    (tmp_path / "old.m3u").write_bytes("Käse.mp3\r\n".encode("cp1252"))
    assert list(read_list(str(tmp_path / "old.m3u"))) == [str(tmp_path / "Käse.mp3")]


def test_paths_from_a_stream():
    assert list(read_paths(io.BytesIO(b"a b\nc\r\n\nlast"))) == ["a b", "c", "last"]
    assert list(read_paths(io.BytesIO(b"a\nb\0c\xff\0"), nul=True)) == ["a\nb", "c\udcff"]
    long = b"\n".join(b"%d/%s" % (i, b"x" * 300) for i in range(2000))
    assert list(read_paths(io.BytesIO(long))) == long.decode().split("\n")


def test_music_may_begin_with_a_dot(tmp_path):
    music = [
        "...And Justice for All/01.mp3",
        ".38 Special/x.flac",
        "..Hits.mp3",
        "$uicideboy$/y.mp3",
        "#1 Hits/z.ogg",
        "x.avi",
    ]
    others = [
        ".Trash-1000/t.mp3", ".git/g.wav", ".stversions/s.mp3", "._x.mp3", "#recycle/r.mp3", "$RECYCLE.BIN/b.mp3",
        "@eaDir/e.mp3", "@Recently-Snapshot/n.mp3", "System Volume Information/v.mp3", "__MACOSX/m.mp3", "a/.zfs/z.mp3",
        "song.mid", "demo.XM", "locked.m4p",
    ]  # fmt: skip
    for name in (*music, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    left_out = []
    assert set(names(walk([tmp_path], left_out=left_out.append), tmp_path)) == set(music)
    assert len(left_out) == len(others)


def test_a_time_that_no_table_can_hold_is_the_nearest_that_one_can(tmp_path):
    for name, seconds in (("new.mp3", 10_413_792_000), ("old.mp3", -9_500_000_000), ("zero.mp3", 0)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (0, seconds))
    assert all(-(2**63) <= track.mtime_ns < 2**63 for track in walk([tmp_path]))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("ending", ["txt", "m3u", "csv", "tsv", "pls"])
def test_lists_as_other_programs_write_them(tmp_path, encoding, ending):
    present = ["plain.mp3", "with space.mp3", "Cafe\u0301.mp3", "half;2.mp3", "#1.mp3"]
    for name in present:
        (tmp_path / name).write_bytes(b"x")
    written = [
        "plain.mp3",
        "with%20space.mp3",
        "Caf\u00e9.mp3",
        " half;2.mp3  ",
        "#1.mp3",
        "# a comment",
        "",
        "gone.mp3",
    ]
    if ending == "m3u":
        written.remove("#1.mp3")
        present.remove("#1.mp3")
    lines = {
        "csv": ["title;path", *(f'x;"{name}"' for name in written)],
        "tsv": ["title\tpath", *(f"x\t{name}" for name in written)],
        "pls": ["[playlist]", *(f"File{n}={name}" for n, name in enumerate(written, 1)), "NumberOfEntries=8"],
    }.get(ending, written)
    (tmp_path / f"list.{ending}").write_bytes("\r\n".join(lines).encode(encoding))
    found = [Path(path).name for path in read_list(str(tmp_path / f"list.{ending}"))]
    assert found == [*present, "gone.mp3"]


def test_xspf(tmp_path):
    (tmp_path / "a b.mp3").write_bytes(b"x")
    (tmp_path / "list.xspf").write_text(
        '<?xml version="1.0"?><playlist version="1" xmlns="http://xspf.org/ns/0/"><trackList>'
        f"<track><location>file://{tmp_path}/a%20b.mp3</location></track><track><location>a%20b.mp3</location></track>"
        "<track><location>https://example.org/x.mp3</location></track></trackList></playlist>"
    )
    assert list(read_list(str(tmp_path / "list.xspf"))) == [str(tmp_path / "a b.mp3")] * 2
    (tmp_path / "list.xspf").write_text("<playlist><track>")
    with pytest.raises(OSError, match="no XSPF"):
        list(read_list(str(tmp_path / "list.xspf")))


def test_listed_paths_need_not_exist(library):
    found = list(walk([], listed=[str(library / "gone.mp3"), str(library / "top.wav")], root=str(library)))
    assert names(found, library) == ["gone.mp3", "top.wav"]


def test_include_exclude_and_ignore_files(library):
    assert names(walk([library], include=["*.mp3", "*.wav"]), library) == ["b/2.mp3", "top.wav"]
    assert names(walk([library], exclude=["b/", "*.wav"]), library) == ["a/x.OGG", "c/deep/er/y.opus"]
    (library / ".audiopatchignore").write_text("\ufeff# no flac\n*.flac\n/c/**\n!top.wav\n")
    (library / "b/.audiopatchignore").write_text("!1.flac\n*.mp3\n")
    assert names(walk([library]), library) == ["a/x.OGG", "b/1.flac", "top.wav"]


def test_links_may_loop_and_lead_outside(library, tmp_path):
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "sub/o.mp3").write_bytes(b"x")
    (outside / "back").symlink_to(outside)
    (library / "a/up").symlink_to(library)
    (library / "a/self").symlink_to(library / "a")
    (library / "above").symlink_to(tmp_path)
    (library / "out1").symlink_to(outside)
    (library / "out2").symlink_to(outside / "sub")
    (library / "broken.mp3").symlink_to("nowhere.mp3")
    (library / "ring.mp3").symlink_to("ring.mp3")
    found = names(walk([library]), library)
    assert found == [
        "a/x.OGG",
        "b/1.flac",
        "b/2.mp3",
        "broken.mp3",
        "c/deep/er/y.opus",
        "out1/sub/o.mp3",
        "ring.mp3",
        "top.wav",
    ]


def test_names_that_are_not_utf8(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9\xff.mp3")  # noqa: PTH118
    Path(os.fsdecode(path)).write_bytes(b"x")
    (track,) = walk([tmp_path])
    assert os.fsencode(track.path) == path and int(track.track_id, 16)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_an_unreadable_folder_is_reported_not_fatal(library):
    problems = []
    if os.geteuid() == 0:  # root reads everything: take the folder away between listing and entering instead
        tracks = walk([library], report=lambda path, error: problems.append(path))
        first = next(tracks)
        shutil.rmtree(library / "b")
    else:
        (library / "b").chmod(0)
        tracks = walk([library], report=lambda path, error: problems.append(path))
        first = next(tracks)
    assert names([first, *tracks], library) == ["a/x.OGG", "c/deep/er/y.opus", "top.wav"]
    assert problems == [str(library / "b")]


def test_a_csv_whose_quote_never_ends_is_reported(tmp_path):
    (tmp_path / "list.csv").write_text('path\nfirst.mp3\n"second.mp3\n' + "third.mp3\n" * 30_000)
    reported = []
    found = list(walk([tmp_path / "list.csv"], report=lambda path, error: reported.append((path, error.strerror))))
    assert [Path(track.path).name for track in found] == ["first.mp3"]
    assert reported == [(str(tmp_path / "list.csv"), "it is no csv (field larger than field limit (131072))")]


def test_folders_deeper_than_python_recurses(tmp_path):
    deep = tmp_path
    for _ in range(600):
        deep = deep / "d"
    os.makedirs(deep)  # noqa: PTH103
    (deep / "x.mp3").write_bytes(b"x")
    assert len(list(walk([tmp_path]))) == 1


PATTERNS = [
    "*.mp3",
    "/a",
    "a/",
    "a/b",
    "**/b",
    "a/**",
    "a/**/",
    "a/**/c.mp3",
    "!*.mp3",
    "[ab]",
    "[!a]*",
    "?",
    "\\#x",
    "#c",
    "b/*",
    "!b/c.mp3",
    "x ",
]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the oracle")
@given(lines=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=4))
@example(lines=["[z-a]", "*.mp3"])
@example(lines=["a/**", "!*.mp3"])
@settings(max_examples=25, deadline=None)
def test_patterns_mean_what_git_makes_of_them(lines, tmp_path_factory):
    root = tmp_path_factory.mktemp("git")
    paths = ["a", "b", "c.mp3", "#x", "x", "a/b", "b/c.mp3", "a/c.mp3", "a/b/c.mp3", "b/a/b/d.txt"]
    (root / ".gitignore").write_text("\n".join(lines) + "\n")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    ask = ["git", "-C", str(root), "check-ignore", "--no-index", "--stdin", "-z"]
    files = [path for path in paths if "." in path or path.endswith("x")]
    for path in files:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    answer = subprocess.run(ask, input="\0".join(files).encode(), capture_output=True).stdout
    ignored = set(answer.decode().split("\0")) - {""}
    rules = parse(lines)

    def ours(path):
        parents = [path[:i] for i, c in enumerate(path) if c == "/"]
        return any(verdict(rules, parent, True) for parent in parents) or bool(verdict(rules, path, False))

    assert {path for path in files if ours(path)} == ignored
