"""Pieces: what goes in comes out, and no crop crosses two tracks."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audiopatch.audio.walk import walk
from audiopatch.distill.pieces import Pieces, PieceWriter, prepare
from audiopatch.errors import NoAudioError, UsageError


def write(folder: Path, tracks: list[np.ndarray], **options) -> Pieces:
    writer = PieceWriter(folder, 100, **options)
    for number, track in enumerate(tracks):
        writer.add(f"package/{number}.ogg", track)
    writer.close()
    return Pieces(folder)


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 700), min_size=1, max_size=6), piece_samples=st.integers(50, 1000))
def test_every_sample_comes_back_in_order(tmp_path_factory, lengths, piece_samples):
    tracks = [np.full(length, number + 1, np.int16) for number, length in enumerate(lengths)]
    pieces = write(tmp_path_factory.mktemp("pieces"), tracks, max_piece_bytes=2 * piece_samples)
    back = np.concatenate([pieces.crop(k, 0, span.n_samples) for k, span in enumerate(pieces.spans)])
    assert np.array_equal(back, np.concatenate(tracks))
    assert max(span.start + span.n_samples for span in pieces.spans) <= piece_samples
    assert pieces.duration_s == pytest.approx(sum(lengths) / 100)


def test_crops_stay_inside_one_track_and_short_tracks_repeat(tmp_path):
    pieces = write(tmp_path, [np.full(300, 1, np.int16), np.full(20, 2, np.int16), np.full(500, 3, np.int16)])
    crops = pieces.random(np.random.default_rng(0), 200, 150)
    assert crops.shape == (200, 150)
    assert all(len(set(crop.tolist())) == 1 for crop in crops)
    share = np.mean(crops[:, 0] == 3)
    assert 0.45 < share < 0.75  # 500 of 820 samples


def test_spread_crops_are_fixed_and_cover_the_track(tmp_path):
    pieces = write(tmp_path, [np.arange(1000, dtype=np.int16)])
    crops, spans = pieces.spread(100, per_track=3)
    assert np.array_equal(crops, pieces.spread(100, per_track=3)[0]) and spans.tolist() == [0, 0, 0]
    assert [int(crop[0]) for crop in crops] == [225, 450, 675]


def test_pieces_of_an_older_version_are_to_be_prepared_again(tmp_path):
    write(tmp_path, [np.zeros(100, np.int16)])
    index = json.loads((tmp_path / "pieces.json").read_text())
    (tmp_path / "pieces.json").write_text(json.dumps({key: index[key] for key in ("sample_rate", "spans")}))
    with pytest.raises(UsageError, match="older version; remove it"):
        list(prepare({tmp_path: []}, workers=0))


def test_float_waves_are_stored_to_half_a_step(tmp_path):
    wave = np.linspace(-1, 1, 1001, dtype=np.float32)
    pieces = write(tmp_path, [wave])
    assert np.abs(pieces.crop(0, 0, 1001) / 32767 - wave).max() <= 0.51 / 32767


def save_wav(path: Path, wave: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, 8000, subtype="FLOAT")


def test_prepare_skips_what_is_short_broken_or_a_double_and_does_not_repeat_itself(tmp_path):
    rng = np.random.default_rng(0)
    music, double = rng.uniform(-0.5, 0.5, 24_000), rng.uniform(-0.5, 0.5, 32_000)
    for name, wave in {"a": music, "b": double, "c": double, "short": music[:8000]}.items():
        save_wav(tmp_path / "in/package" / f"{name}.wav", wave)
    (tmp_path / "in/package/broken.wav").write_bytes(b"no audio at all")
    skipped: dict[str, str] = {}
    folder, tracks = tmp_path / "out", list(walk([tmp_path / "in"]))
    options = {"sample_rate": 8000, "min_s": 2.0, "workers": 0}
    done = prepare({folder: tracks}, **options, on_skip=lambda track, why: skipped.update({Path(track.path).stem: why}))
    assert list(done) == tracks
    assert [span.path for span in Pieces(folder).spans] == ["package/a.wav", "package/b.wav"]
    assert set(skipped) == {"broken", "c", "short"}
    assert "before" in skipped["c"] and "2 s" in skipped["short"]
    shutil.rmtree(tmp_path / "in")
    assert list(prepare({folder: tracks}, **options)) == tracks  # done already: the index stays
    assert len(Pieces(folder).spans) == 2


def test_albums_are_the_same_however_many_decoders_work_and_wherever_they_were_stopped(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(6):
        wave = rng.uniform(-0.5, 0.5, 8000 * (41 - 6 * number))
        save_wav(tmp_path / f"in/{number % 2}/{number}.wav", wave)

    def albums(name: str) -> dict[Path, list]:
        return {tmp_path / name / album: list(walk([tmp_path / "in" / album])) for album in ("0", "1")}

    for _ in prepare(albums("alone"), sample_rate=8000, min_s=1.0, workers=0):
        pass
    with closing(prepare(albums("together"), sample_rate=8000, min_s=1.0, workers=2)) as stopped:
        assert [next(stopped) for _ in range(2)]
    for _ in prepare(albums("together"), sample_rate=8000, min_s=1.0, workers=2):
        pass
    alone, together = (Pieces(list(albums(name))) for name in ("alone", "together"))
    assert [span.path for span in alone.spans] == [span.path for span in together.spans]
    for number, span in enumerate(alone.spans):
        assert np.array_equal(alone.crop(number, 0, span.n_samples), together.crop(number, 0, span.n_samples))


def test_left_out_tracks_are_not_there(tmp_path):
    write(tmp_path, [np.ones(300, np.int16), np.zeros(300, np.int16)])
    assert [span.path for span in Pieces(tmp_path, leave_out=lambda path: "0" in path).spans] == ["package/1.ogg"]
    with pytest.raises(NoAudioError):
        Pieces(tmp_path, leave_out=lambda path: True)


def test_a_folder_without_index_or_with_another_rate_is_refused(tmp_path):
    with pytest.raises(UsageError, match="prepare"):
        Pieces(tmp_path)
    write(tmp_path / "a", [np.ones(300, np.int16)])
    other = PieceWriter(tmp_path / "b", 200)
    other.add("x", np.ones(300, np.int16))
    other.close()
    with pytest.raises(UsageError, match="100, 200"):
        Pieces([tmp_path / "a", tmp_path / "b"])
