"""Whether a file is there, on disks that answer and on those that do not."""

from __future__ import annotations

import errno
import os

from audiopatch.storage.store import exists


def test_a_file_is_missing_only_where_the_system_says_so(tmp_path, monkeypatch):
    (tmp_path / "here").touch()
    assert exists(str(tmp_path / "here")) and exists(os.fsencode(tmp_path / "here"))
    assert not exists(str(tmp_path / "gone")) and not exists(str(tmp_path / "here" / "below"))

    def stale(path):
        raise OSError(errno.ESTALE, "Stale file handle", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", stale)
        there = exists("/mnt/nas/song.mp3")
    assert there
