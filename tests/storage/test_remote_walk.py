"""What is found in a bucket, and the words for what is not."""

from __future__ import annotations

import pytest

from audiopatch.audio.walk import walk
from audiopatch.errors import EnvironmentProblem, UsageError
from audiopatch.storage.store import store
from s3 import PAGE

KEYS = (
    "a/1.mp3",
    "a/b/2.flac",
    "a/b/._hidden.mp3",
    "a/.Trash/3.mp3",
    "a/live/4.ogg",
    "a/notes.txt",
    "other/5.wav",
    "6.mp3",
)


@pytest.fixture
def filled(bucket):
    bucket.fs.pipe({f"{bucket.name}/{key}": key.encode() for key in KEYS})
    return bucket


def _names(bucket, *inputs: str, **options) -> list[str]:
    return sorted(track.path.removeprefix(f"{bucket.url}/") for track in walk(inputs, **options))


def test_a_bucket_is_walked_like_a_folder(filled, tmp_path):
    assert _names(filled, filled.url) == ["6.mp3", "a/1.mp3", "a/b/2.flac", "a/live/4.ogg", "other/5.wav"]
    for key in ("a/1.mp3", "a/b/2.flac", "a/live/4.ogg"):
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(key.encode())
    here = {track.track_id: track.size_bytes for track in walk([str(tmp_path / "a")])}
    there = list(walk([f"{filled.url}/a/"]))
    assert {track.track_id: track.size_bytes for track in there} == here
    assert all(track.mtime_ns > 1.6e18 and track.root == f"{filled.url}/a" for track in there)


def test_patterns_and_one_ignore_file_count(filled):
    assert _names(filled, f"{filled.url}/a", exclude=["live/"]) == ["a/1.mp3", "a/b/2.flac"]
    assert _names(filled, f"{filled.url}/a", include=["*.flac"]) == ["a/b/2.flac"]
    filled.fs.pipe_file(f"{filled.name}/a/.audiopatchignore", b"# no\nb/\n")
    assert _names(filled, f"{filled.url}/a") == ["a/1.mp3", "a/live/4.ogg"]


def test_files_globs_and_overlapping_folders(filled):
    assert _names(filled, f"{filled.url}/a/*/*.ogg") == ["a/live/4.ogg"]
    assert _names(filled, f"{filled.url}/a/1.mp3", f"{filled.url}/a") == ["a/1.mp3", "a/b/2.flac", "a/live/4.ogg"]
    assert _names(filled, f"{filled.url}/a", f"{filled.url}/a/b") == ["a/1.mp3", "a/b/2.flac", "a/live/4.ogg"]


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.m3u"])
def test_lists_name_objects_here_and_there(filled, tmp_path, name):
    entries = [f"{filled.url}/a/1.mp3", f"{filled.url}/gone.mp3", "https://example.org/x.mp3"]
    head = ["title,path", *(f'"A, B",{entry}' for entry in entries)] if name.endswith("csv") else entries
    (tmp_path / name).write_text("\n".join(head))
    tracks = {track.path: track.size_bytes for track in walk([str(tmp_path / name)])}
    assert tracks == {f"{filled.url}/a/1.mp3": 7, f"{filled.url}/gone.mp3": 0}
    filled.fs.put_file(str(tmp_path / name), f"{filled.name}/{name}")
    assert {track.path: track.size_bytes for track in walk([f"{filled.url}/{name}"])} == tracks
    assert [track.path for track in walk([], listed=entries[:1])] == entries[:1]


def test_an_object_replaced_within_a_second_is_seen(filled):
    before = next(walk([f"{filled.url}/6.mp3"]))
    filled.fs.pipe_file(f"{filled.name}/6.mp3", b"6,mp3")
    after = next(walk([f"{filled.url}/6.mp3"]))
    assert before.size_bytes == after.size_bytes and before.mtime_ns != after.mtime_ns


def test_a_long_listing_takes_one_request_per_page(filled, between):
    filled.fs.pipe({f"{filled.name}/many/{number % 40}/{number}.mp3": b"x" for number in range(3 * PAGE)})
    between.calm()
    assert len(_names(filled, f"{filled.url}/many")) == 3 * PAGE
    listings = [path for _, path, _ in between.requests if "list-type" in path and "max-keys" not in path]
    assert len(listings) == 3


@pytest.mark.parametrize(
    ("place", "error", "words"),
    [
        ("s3://{}/nothing", UsageError, "no such file or folder"),
        ("s3://no-such-bucket-here/music", UsageError, "no such"),
        ("https://example.org/a.mp3", UsageError, "https is no file system"),
        ("nosuch://a/b", UsageError, "no file system that fsspec knows"),
        ("hdfs://user:geheim@host/a", UsageError, "must not hold a password"),
    ],
)
def test_what_cannot_be_read_is_told_in_words(bucket, place, error, words):
    with pytest.raises(error, match=words) as raised:
        list(walk([place.format(bucket.name)]))
    assert "geheim" not in str(raised.value)


def test_missing_credentials_and_packages_are_told_in_words(bucket, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    store.cache_clear()
    bucket.fs.clear_instance_cache()
    with pytest.raises(EnvironmentProblem, match=r"may not list .*[Cc]redentials"):
        list(walk([f"{bucket.url}/a"]))
    store.cache_clear()
    with pytest.raises(EnvironmentProblem, match=r"gs:// needs .* install .*\[gs\]'"):
        list(walk(["gs://bucket/a"]))


def test_only_encrypted_endpoints_unless_allowed(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.example.org:9000")
    store.cache_clear()
    bucket.fs.clear_instance_cache()
    with pytest.raises(UsageError, match=r"http://minio\.example\.org:9000 is not https"):
        list(walk([f"{bucket.url}/a"]))
    monkeypatch.setenv("AUDIOPATCH_ALLOW_HTTP", "1")
    assert store("s3") is not None
    store.cache_clear()
    bucket.fs.clear_instance_cache()
