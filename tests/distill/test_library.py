"""Which albums a distillation learns from, and the audio of both sides as pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from audiopatch.audio.pool import decode
from audiopatch.audio.walk import walk
from audiopatch.distill.library import Library, piece_bytes
from audiopatch.errors import UsageError

MUSIC = Path(__file__).parents[2] / "examples/music"


def make(folder: Path, names: list[str], seconds: float = 1.0) -> list:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        wave = 0.1 * np.random.default_rng(number).standard_normal(round(8_000 * seconds))
        soundfile.write(folder / name, wave.astype(np.float32), 8_000)
    return list(walk([folder]))


def test_whole_albums_are_held_out_and_always_the_same(tmp_path):
    tracks = make(tmp_path, [f"album {n}/{t}.wav" for n in range(25) for t in range(2)])
    library = Library.of(tracks)
    assert len(library.held) == 2 and len(library.train) == 23
    assert Library.of(reversed(tracks)).held.keys() == library.held.keys()
    assert all(len(album) == 2 for album in library.held.values())


def test_named_folders_are_held_out_at_any_depth(tmp_path):
    tracks = make(tmp_path, ["games/a/music/1.wav", "games/b/1.wav", "c/1.wav"])
    assert Library.of(tracks, ["a", "c"]).held.keys() == {"games/a/music", "c"}
    with pytest.raises(UsageError, match="hold out"):
        Library.of(tracks, ["absent"])


def test_a_library_without_albums_holds_out_tracks(tmp_path):
    library = Library.of(make(tmp_path, ["1.wav", "2.wav", "3.wav"]))
    assert len(library.held) == 1 and len(library.train) == 2


def test_the_same_audio_is_never_on_both_sides(tmp_path):
    tracks = make(tmp_path / "music", ["a/1.wav", "b/1.wav", "b/2.wav"], seconds=21)
    (tmp_path / "music/b/copy.wav").write_bytes((tmp_path / "music/a/1.wav").read_bytes())
    library, skipped = Library.of(walk([tmp_path / "music"]), ["a"]), []
    options = {"workers": 0, "on_skip": lambda track, why: skipped.append(track.path), "report": lambda *_: None}
    assert not library.prepare(tmp_path / "pieces", 8_000, stop=lambda: True, **options)
    for _ in range(2):  # the second time from the pieces that are there
        assert library.prepare(tmp_path / "pieces", 8_000, stop=lambda: False, **options)
        held, train = library.pieces(tmp_path / "pieces")
        assert {Path(span.path).name for span in train.spans} == {"1.wav", "2.wav"}
        assert len(held.spans) == 1
    assert [Path(path).name for path in skipped] == ["copy.wav"]
    on_disk = sum(path.stat().st_size for path in (tmp_path / "pieces").rglob("*.i16"))
    assert on_disk == piece_bytes(3 * 21, 8_000)
    assert len(tracks) == 3


def test_a_copy_of_held_out_music_is_left_out_whatever_its_codec_level_or_rate(tmp_path):
    held, other = (decode(next(MUSIC.glob(f"*{name}*")), 16_000) for name in ("Chipdisko", "Misanthropia"))
    waves = {
        "a/held.wav": (held, 16_000),
        "b/copy.ogg": (0.2 * soxr.resample(held[37_000:], 16_000, 22_050), 22_050),
        "b/other.wav": (other, 16_000),
        "c/silence.wav": (np.zeros(12 * 16_000), 16_000),
    }
    for name, (wave, rate) in waves.items():
        (tmp_path / "music" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "music" / name, wave, rate)
    library, told = Library.of(walk([tmp_path / "music"]), ["a"]), {}

    def prepare(folder: Path, until: float) -> bool:
        seen = iter(range(100))
        how = {"on_skip": lambda track, why: told.update({Path(track.path).name: why}), "report": lambda *_: None}
        return library.prepare(folder, 16_000, workers=0, stop=lambda: next(seen) >= until, **how)

    assert prepare(tmp_path / "whole", until=99)
    assert library.copies(tmp_path / "whole") == {"b/copy.ogg": "a/held.wav"}
    assert told == {"copy.ogg": "sounds as a/held.wav, which is held out"}
    _, train = library.pieces(tmp_path / "whole")
    assert [span.path for span in train.spans] == ["b/other.wav", "c/silence.wav"]
    for step in range(3):
        assert not prepare(tmp_path / "stopped", until=step)
    assert prepare(tmp_path / "stopped", until=99) and prepare(tmp_path / "stopped", until=99)
    assert library.copies(tmp_path / "stopped") == library.copies(tmp_path / "whole")
    assert library.pieces(tmp_path / "stopped")[1].spans == train.spans
