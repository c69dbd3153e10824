"""On Windows signal 0 is a Ctrl-C, so nobody may be asked for being alive that way (simulated)."""

import os
import sys

import pytest

from audiopatch.tables import remote_lock


@pytest.fixture
def windows(monkeypatch):
    def never(process: int, number: int) -> None:
        raise AssertionError(f"signal {number} was sent to {process}")

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", never)


def test_no_signal_is_sent_on_windows(windows, monkeypatch):
    us = remote_lock._ourselves()
    assert us["process"] == os.getpid()
    monkeypatch.setattr(remote_lock, "_DEAD_AFTER_S", 0.05)
    monkeypatch.setattr(remote_lock, "_LOOK_S", 0.01)
    monkeypatch.setattr(remote_lock, "_said", lambda url: us)
    assert remote_lock._is_dead(us, "s3://bucket/.lock")  # it has not shown itself for long


def test_a_process_of_this_machine_is_known_at_once(monkeypatch):
    us = remote_lock._ourselves()
    monkeypatch.setattr(remote_lock, "_said", lambda url: pytest.fail("nobody needs to wait"))
    assert not remote_lock._is_dead(us, "s3://bucket/.lock")
    assert remote_lock._is_dead(us | {"process": 2**22 + 1}, "s3://bucket/.lock")
