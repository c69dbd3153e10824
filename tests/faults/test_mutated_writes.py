"""Mutated files of every container through a write and an undo: refused, or written and back, byte for byte."""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

import audiopatch
from audiopatch.audio.av_source import AvSource
from audiopatch.audio.file import opened
from audiopatch.errors import TrackError
from audiopatch.types import Track
from audiopatch.writing.changes import Change
from audiopatch.writing.containers import open_tags
from audiopatch.writing.replace import Refused
from containers import CONTAINERS, make
from made_tables import make_tables
from mutate import MUTATIONS

_AT_ONCE = 64
_VALUES = {"GENRE": ("Zydeco", "Drum and bass"), "MOOD": ("Härte",), "COMMENT": ("x" * 3000,)}


@pytest.fixture(scope="module")
def place():
    """In memory, where there is one like a disk: this is about bytes, and ten thousand fsyncs take an hour."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def sound(place) -> dict[str, bytes]:
    """A quarter of a second of each container, without tags and with some."""
    (place / "seeds").mkdir()
    found = {}
    for kind in CONTAINERS:
        path = make(place / "seeds", kind, seconds=0.25)
        found[kind] = path.read_bytes()
        open_tags(str(path))[1].save(
            str(path), {"GENRE": ("Polka",), "INSTRUMENT": ("Lute", "Lyre"), "AUDIOPATCH_X": ("y",)}
        )
        found[f"tagged.{kind}"] = path.read_bytes()
    return found


def _mutant(number: int, sound: dict[str, bytes]) -> tuple[str, bytes]:
    kinds = list(sound)
    kind = kinds[number % len(kinds)]
    name, mutate = list(MUTATIONS.items())[number // len(kinds) % len(MUTATIONS)]
    chance = random.Random(number)
    return f"{number:06d}-{name}.{kind}", mutate(sound[kind], chance, sound[chance.choice(kinds)])


def _changes(path: Path) -> list[Change]:
    """As a preview would find them; what it cannot read is tried nevertheless."""
    try:
        _, tags = open_tags(str(path), upgrade=True)
        now = {field: tags.read(field) for field in _VALUES}
    except (Refused, OSError):
        now = dict.fromkeys(_VALUES, ())
    return [Change(str(path), field, now[field], values) for field, values in _VALUES.items()]


def _heard(path: Path) -> str | None:
    """A hash of all samples that can be decoded."""
    digest = hashlib.sha256()
    track = Track(str(path), "", "", 0, 0)
    try:
        with opened(track, whole=True) as file, closing(AvSource(file)) as source:
            for block in source.blocks():
                digest.update(block.wave.tobytes())
            return f"{digest.hexdigest()} {source.damage.n_errors}"
    except TrackError:
        return None


def _try(numbers: range, place: Path, sound: dict[str, bytes]) -> Counter[str]:
    ended: Counter[str] = Counter()
    for first in range(0, len(numbers), _AT_ONCE):
        folder, out = place / "music", place / "out"
        folder.mkdir()
        mutants = dict(_mutant(number, sound) for number in numbers[first : first + _AT_ONCE])
        for name, data in mutants.items():
            (folder / name).write_bytes(data)
        make_tables(out, [place / "seeds" / "song.mp3"])
        heard = {name: _heard(folder / name) for name in mutants}
        changes = [change for name in mutants for change in _changes(folder / name)]
        done = audiopatch.apply_changes(changes, out, upgrade_id3=True)
        assert {path.name for path in folder.iterdir()} == mutants.keys(), "nothing is lost, nothing left behind"
        for outcome in done.outcomes:
            name = Path(outcome.path).name
            ended[outcome.what] += 1
            assert "please report" not in outcome.reason, f"{name}: {outcome.reason}"
            if outcome.what == "written":
                assert _heard(folder / name) == heard[name], f"{name} sounds different"
            else:
                assert (folder / name).read_bytes() == mutants[name], f"{name}: {outcome}"
        undone = audiopatch.undo(out)
        assert undone.n("restored") == done.n("written") and not undone.n("refused"), undone.outcomes
        for name, data in mutants.items():
            assert (folder / name).read_bytes() == data, f"{name} is not what it was"
        shutil.rmtree(folder)
        shutil.rmtree(out)
    return ended


@pytest.mark.fault("mutated file, written")
def test_some_mutated_files(place, sound, record_property):
    ended = _try(range(0, 384, 4), place, sound)
    assert ended["written"] > 10 and ended["refused"] > 10
    record_property("tries", ended.total())


@pytest.mark.slow
@pytest.mark.fault("mutated file, written")
def test_ten_thousand_mutated_files(place, sound, record_property):
    ended = _try(range(1000, 11_000), place, sound)
    record_property("tries", ended.total())
    record_property("note", ", ".join(f"{n} {what}" for what, n in ended.most_common()))
