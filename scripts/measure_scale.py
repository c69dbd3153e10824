"""What a library of millions costs beside decoding and inference: CPU seconds and memory, stage by stage.

    python scripts/measure_scale.py FOLDER                                     half a million tracks, then a million
    python scripts/measure_scale.py FOLDER --tracks 10_000_000 --part 100_000  ten million, in large parts

FOLDER is filled and emptied again. Tracks are made up, with ten tags each, in parts of 512 as a run commits them; only
``walk`` has real (empty) files, a tenth as many. Each stage runs in a process of its own; what is linear takes as many
CPU seconds per million tracks whatever their number.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from audiopatch.audio.walk import walk
from audiopatch.inference.beginnings import Beginnings, beginning_of
from audiopatch.tables.compaction import compact
from audiopatch.tables.formats import ParquetSink
from audiopatch.tables.inherit import places
from audiopatch.tables.journal import Journal, list_work
from audiopatch.tables.output import folder_at
from audiopatch.tables.parts import PartStore
from audiopatch.tables.schema import TAGS, TRACKS
from audiopatch.types import Segment, Track

_LABELS = [f"Genre---Style {number}" for number in range(400)]
_PER_FOLDER = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tracks", type=int, nargs="+", default=[500_000, 1_000_000])
    parser.add_argument("--part", type=int, default=512, help="tracks in a part")
    parser.add_argument("--stage", choices=STAGES, help="only this one, in this process")
    chosen = parser.parse_args()
    if chosen.stage:
        return _one_stage(chosen.stage, chosen.folder, chosen.tracks[0], chosen.part)
    print(f"{'stage':<12} {'tracks':>12} {'CPU s':>8} {'CPU s per M':>12} {'MB':>7}")
    for n_tracks in chosen.tracks:
        shutil.rmtree(chosen.folder, ignore_errors=True)
        chosen.folder.mkdir(parents=True)
        for stage in STAGES:
            command = [sys.executable, __file__, str(chosen.folder), "--stage", stage, "--part", str(chosen.part)]
            done = subprocess.run([*command, "--tracks", str(n_tracks)], check=True, stdout=subprocess.PIPE)
            said = json.loads(done.stdout)
            per_million = said["cpu_s"] * 1e6 / said["tracks"]
            print(f"{stage:<12} {said['tracks']:>12,} {said['cpu_s']:>8.1f} {per_million:>12.1f} {said['mb']:>7.0f}")
            sys.stdout.flush()
        shutil.rmtree(chosen.folder)


def _one_stage(stage: str, folder: Path, n_tracks: int, part: int) -> None:
    prepare, deed = STAGES[stage]
    prepared = prepare(folder, n_tracks, part)
    base_kb, start_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    n_done = deed(folder, n_tracks, prepared)
    cpu_s, peak_kb = time.process_time() - start_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"tracks": n_done, "cpu_s": cpu_s, "mb": (peak_kb - base_kb) / 1024}))


def _track(number: int) -> Track:
    track_id = f"{_ids(np.array([number]))[0]:016x}"
    path = f"/music/{number // _PER_FOLDER:06d}/{number % _PER_FOLDER:02d} some title.mp3"
    return Track(path, "/music", track_id, 4_000_000 + number, 1_700_000_000_000_000_000 + number)


def _ids(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # odd, hence each once


def _store(folder: Path) -> PartStore:
    return PartStore(folder_at(folder / "out"), ParquetSink())


def _tables(first: int, n_tracks: int) -> dict[str, pa.Table]:
    numbers = range(first, first + n_tracks)
    tracks = [_track(number) for number in numbers]
    now = np.datetime64("2026-01-01", "us")
    columns = {
        "track_id": [track.track_id for track in tracks],
        "path": [track.path for track in tracks],
        "path_bytes": pa.nulls(n_tracks, pa.binary()),
        "root": ["/music"] * n_tracks,
        "size_bytes": [track.size_bytes for track in tracks],
        "mtime_ns": [track.mtime_ns for track in tracks],
        "audio_hash": [track.track_id * 2 for track in tracks],
        "duration_s": np.full(n_tracks, 240.0),
        "sample_rate": np.full(n_tracks, 44_100, np.int32),
        "channels": np.full(n_tracks, 2, np.int16),
        "codec": ["mp3float"] * n_tracks,
        "n_segments": np.full(n_tracks, 47, np.int32),
        "coverage": np.ones(n_tracks, np.float32),
        "status": ["ok"] * n_tracks,
        "processed_at": pa.array(np.full(n_tracks, now), pa.timestamp("us")).cast(pa.timestamp("us", "UTC")),
        **{name: [f"{name} {number // 12}" for number in numbers] for name in ("artist", "album", "title", "genre")},
    }
    chance = np.random.default_rng(first)
    label = chance.integers(0, len(_LABELS), n_tracks * 10).astype(np.int32)
    words = [pa.array(_LABELS), pa.array(["Genre"] * len(_LABELS)), pa.array([text[8:] for text in _LABELS])]
    coded = [pa.DictionaryArray.from_arrays(pa.array(label), word) for word in words]
    score = chance.random((2, n_tracks * 10)).astype(np.float32)
    tags = [np.repeat(columns["track_id"], 10), np.repeat(columns["path"], 10), np.tile(np.arange(10), n_tracks)]
    tags = [pa.array(tags[0]), pa.array(tags[1]), pa.array(tags[2].astype(np.int16)), *coded, *map(pa.array, score)]
    return {"tracks": pa.table(columns, schema=TRACKS), "tags": pa.table(tags, schema=TAGS)}


def _nothing(folder: Path, n_tracks: int, part: int) -> None: ...


def _files(folder: Path, n_tracks: int, part: int) -> None:
    for number in range(n_tracks // 10):
        inside = folder / "music" / f"{number // _PER_FOLDER:06d}"
        inside.mkdir(parents=True, exist_ok=True)
        (inside / f"{number % _PER_FOLDER:02d} some title.mp3").touch()


def _walk(folder: Path, n_tracks: int, prepared: None) -> int:
    n_found = sum(1 for _ in walk([folder / "music"]))
    assert n_found == n_tracks // 10
    return n_found


def _plan(folder: Path, n_tracks: int, prepared: None) -> int:
    with list_work(map(_track, range(n_tracks)), Journal.empty(), folder=folder) as work:
        assert sum(1 for _ in work) == n_tracks == work.n_todo
    return n_tracks


def _repeats(folder: Path, n_tracks: int, prepared: None) -> int:
    beginnings = Beginnings()
    for number in range(n_tracks):
        track = _track(number)
        beginning = beginning_of(Segment(track, 0, 0.0, 10.0, np.array([number], np.float32)))
        assert beginnings.first(beginning, track.track_id) == track.track_id
    return n_tracks


def _part_size(folder: Path, n_tracks: int, part: int) -> int:
    return part


def _commit(folder: Path, n_tracks: int, part: int) -> int:
    store = _store(folder)
    for first in range(0, n_tracks, part):
        store.add(f"part-{first:012d}", _tables(first, min(part, n_tracks - first)))
    return n_tracks


def _journal(folder: Path, n_tracks: int, prepared: None) -> int:
    assert len(Journal.of(_store(folder))) == n_tracks
    return n_tracks


def _known(folder: Path, n_tracks: int, part: int) -> Journal:
    return Journal.of(_store(folder))


def _resume(folder: Path, n_tracks: int, journal: Journal) -> int:
    with list_work(map(_track, range(n_tracks)), journal, folder=folder) as work:
        assert work.n_up_to_date == n_tracks
    return n_tracks


def _missing(folder: Path, n_tracks: int, prepared: None) -> int:
    assert not any(os.path.lexists(path) for _, _, path in places(_store(folder)))
    return n_tracks


def _compact(folder: Path, n_tracks: int, prepared: None) -> int:
    store = _store(folder)
    compact(store, "0" * 16)
    assert sum(1 for _ in _rows(store)) == n_tracks
    return n_tracks


def _rows(store: PartStore) -> Iterator[str]:
    for _, table in store.read("tracks", ("track_id",)):
        yield from table["track_id"].to_pylist()


STAGES: dict[str, tuple[Callable, Callable]] = {
    "walk": (_files, _walk),
    "plan": (_nothing, _plan),
    "repeats": (_nothing, _repeats),
    "commit": (_part_size, _commit),
    "journal": (_nothing, _journal),
    "resume": (_known, _resume),
    "watch": (_nothing, _missing),
    "compact": (_nothing, _compact),
    "journal 2": (_nothing, _journal),
}


if __name__ == "__main__":
    main()
