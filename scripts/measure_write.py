"""How long it takes to plan changes for many tracks, and how many files a second are written and taken back.

python scripts/measure_write.py --tracks 100000 --files 200 --folder /path/on/the/disk
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

import audiopatch
from audiopatch.audio.walk import track_id
from audiopatch.tables.output import open_output
from audiopatch.tables.schema import Layout
from audiopatch.tables.tables import labels_table, tables_of
from audiopatch.types import Decoded, Track, TrackRow
from audiopatch.writing.changes import Change
from audiopatch.zoo.cards import DEFAULT_MODEL, find_card
from audiopatch.zoo.labels import describe_labels, load_labels

_PART = 10_000
_MUSIC = Path(__file__).parents[1] / "examples" / "music"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--tracks", type=int, default=100_000)
    arguments.add_argument("--files", type=int, default=200)
    arguments.add_argument("--folder", help="where files are written, and deleted again")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        plan(Path(folder), chosen.tracks)
        for ending in ("mp3", "flac"):
            write(Path(folder), ending, chosen.files)


def plan(folder: Path, n_tracks: int) -> None:
    """From the tables alone: no such file exists."""
    make_tables(folder / "tables", [f"/music/{n // 12}/{n}.mp3" for n in range(n_tracks)])
    for name, options in (
        ("tables alone", {}),
        ("tables alone, three fields", {"mood": 2, "comment": 5, "look": False}),
    ):
        began, cpu = time.monotonic(), time.process_time()
        proposal = audiopatch.propose_changes(folder / "tables", genre=2, **options)
        print(
            f"planned {len(proposal)} changes of {proposal.n_tracks} tracks, {name}: "
            f"{time.monotonic() - began:.1f} s, {time.process_time() - cpu:.1f} s of CPU"
        )


def write(folder: Path, ending: str, n_files: int) -> None:
    """Copies of one excerpt (about 0.4 MB), each written and taken back; every byte goes to the disk."""
    music = folder / ending
    music.mkdir()
    source = next(_MUSIC.glob(f"*.{ending}"))
    paths = [str(shutil.copy(source, music / f"{number}.{ending}")) for number in range(n_files)]
    make_tables(folder / f"tables of {ending}", paths)
    changes = [Change(path, "MOOD", (), ("Happy", "Exciting")) for path in paths]
    for name, deed in (
        ("written", lambda: audiopatch.apply_changes(changes, folder / f"tables of {ending}")),
        ("restored", lambda: audiopatch.undo(folder / f"tables of {ending}")),
    ):
        began, cpu = time.monotonic(), time.process_time()
        done = deed()
        assert done.n(name) == n_files, done.outcomes[0]
        elapsed, cpu = time.monotonic() - began, time.process_time() - cpu
        print(f"{ending}: {n_files / elapsed:.0f} files/s {name}, {1000 * cpu / n_files:.1f} ms of CPU each")
    size = sum(path.stat().st_size for path in (folder / f"tables of {ending}" / "writes").rglob("*") if path.is_file())
    print(f"{ending}: {size / n_files:.0f} bytes of journal per file of {source.stat().st_size}")


def make_tables(out: Path, paths: list[str]) -> None:
    labels = load_labels(find_card(DEFAULT_MODEL).labels)
    chance, root = np.random.default_rng(0), "/"
    parameters = {"model": DEFAULT_MODEL, "tags": True, "format": "parquet", "patchout": "none", "pool": "mean"}
    with open_output(out, parameters | {"overlap": 0.5}) as output:
        output.save_run({"root": root, "model": {}})
        output.store.write_labels(labels_table(describe_labels(find_card(DEFAULT_MODEL).labels, labels)))
        for first in range(0, len(paths), _PART):
            rows = []
            for path in paths[first : first + _PART]:
                scores = chance.random(len(labels), np.float32) ** 2
                track = Track(path, root, track_id(path, root), 5_000_000, 10**18)
                found = Decoded(
                    track, 1, 200.0, 44_100, 2, "mp3", "0" * 32, tags={"artist": "A", "album": "B", "title": "C"}
                )
                rows.append(TrackRow(found, scores, scores, None))
            output.store.add(f"part-{first:08d}", tables_of(rows, Layout(labels=labels)))


if __name__ == "__main__":
    main()
