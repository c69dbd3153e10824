"""--max-memory: a run stays within it, takes what it leaves, and refuses what cannot be."""

from __future__ import annotations

import threading

import pytest

from audiopatch.audio.inputs import Inputs
from audiopatch.errors import EnvironmentProblem, UsageError
from audiopatch.events import Finished, Note, Planned
from audiopatch.inference.budget import held_mb, part_bytes, within
from audiopatch.inference.pipeline import run_to_folder
from audiopatch.inference.settings import Analysis, Runtime, megabytes
from audiopatch.tables.compaction import PART_BYTES
from audiopatch.zoo import load_model
from decode_workers import held_by_decode_workers_bytes
from fabricate import bad_files

ANALYSIS = Analysis(model="tiny-random")


@pytest.mark.parametrize(("text", "mb"), [("2GB", 2000), ("800 mb", 800), ("1.5GiB", 1610), ("3g", 3000), (None, None)])
def test_sizes(text, mb):
    assert megabytes(text) == mb


@pytest.mark.parametrize("text", ["2", "GB", "-1GB", "2 TB", "2GB or so"])
def test_what_is_no_size_is_said(text):
    with pytest.raises(UsageError, match="as in 2GB"):
        megabytes(text)


def test_more_memory_means_more_decoders_until_those_that_are_wanted():
    tagger = load_model("tiny-random", device="cpu")
    within(Runtime(max_memory="8000MB"), tagger, ANALYSIS)  # gives back what earlier tests freed: held_mb() would fall
    found = []
    for spare_mb in (500, 800, 8000):
        runtime = Runtime(workers=2, threads=1, max_memory=f"{int(held_mb() + spare_mb)}MB")
        found.append(within(runtime, tagger, ANALYSIS))
    assert [one.workers for one in found] == [1, 2, 2]
    assert 256 <= found[0].decoder_mb < 500 and found[2].decoder_mb == Runtime().decoder_mb
    assert part_bytes(found[0]) < PART_BYTES == part_bytes(Runtime())


def test_too_little_is_refused_with_what_it_takes():
    tagger = load_model("tiny-random", device="cpu")
    with pytest.raises(EnvironmentProblem, match=r"100MB is too little: tiny-random .* takes \d+MB"):
        within(Runtime(max_memory="100MB"), tagger, ANALYSIS)


@pytest.mark.parametrize("elsewhere", [{"device": "cpu,cpu"}, {"device": "all"}, {"runner": "ray"}])
def test_what_runs_in_other_processes_is_not_promised(elsewhere):
    with pytest.raises(UsageError, match="leave it out"):
        within(Runtime(max_memory="4000MB", **elsewhere), load_model("tiny-random", device="cpu"), ANALYSIS)


class _Peak:
    """The most that this process and its decoders held together, in MB; and what was said."""

    def __init__(self):
        self.mb, self.notes, self._over = 0.0, [], threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __call__(self, event):
        if isinstance(event, Note):
            self.notes.append(event.text)
        elif isinstance(event, Planned):
            self._thread.start()
        elif isinstance(event, Finished):
            self._over.set()
            self._thread.join()

    def _work(self):
        while not self._over.wait(0.02):
            self.mb = max(self.mb, held_mb() + held_by_decode_workers_bytes() / 1e6)


def test_a_run_over_good_and_hostile_files_stays_within(tmp_path):
    (tmp_path / "music").mkdir()
    expected = bad_files(tmp_path / "music")
    limit_mb = int(held_mb() + 500)
    peak = _Peak()
    runtime = Runtime(max_memory=f"{limit_mb}MB", threads=1, workers=4)
    counts = run_to_folder(Inputs([str(tmp_path / "music")]), tmp_path / "out", ANALYSIS, runtime, observer=peak).counts
    assert counts.n_ok + counts.n_failed == len(expected)
    assert counts.n_ok >= sum(ending == "ok" for ending in expected.values())
    assert 0 < peak.mb < limit_mb
    n_decoders = next(note.split()[3] for note in peak.notes if note.startswith("within"))
    assert f"{n_decoders} decoder" in peak.notes[0] and int(n_decoders) < 4
