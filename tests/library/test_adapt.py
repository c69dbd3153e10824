from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import audiopatch
from audiopatch.cli.main import app
from audiopatch.errors import OutputMismatchError, UsageError
from audiopatch.library.fit import disagreements, fit, folds, judge
from audiopatch.library.own_labels import artist_groups, fold, key, read_labels, write_labels
from audiopatch.library.vectors import read_vectors
from audiopatch.tables.read import read
from audiopatch.zoo import load_model
from made_library import Made, write_output
from printed import printed

pytest.importorskip("mutagen")


def test_spellings_and_synonyms_are_folded_and_the_most_frequent_names_them():
    values = [
        "Hip-Hop",
        "hip hop",
        "Hip-Hop",
        "HIPHOP; Jazz",
        "Drum & Bass",
        "dnb",
        "Drum 'n' Bass",
        "Rock/Pop",
        "rock music",
    ]
    values += [
        "R&B",
        "RnB",
        "Electronica",
        "Électronica",
        "Other",
        "(255)",
        "2004",
        "http://x.org/genre",
        "unknown",
        "x" * 50,
    ]
    folding, spellings = fold(values)
    assert spellings["Hip-Hop"] == ["Hip-Hop", "HIPHOP", "hip hop"]
    assert set(spellings["Drum & Bass"]) == {"Drum & Bass", "dnb", "Drum 'n' Bass"}
    assert {"Rock", "Pop", "Jazz", "RnB"} <= spellings.keys() and "Electronica" in spellings
    assert {"Other", "(255)", "2004", "unknown", "x" * 50, "http://x.org/genre"} <= set(spellings[""])
    assert folding(["hiphop, JAZZ", "Hip Hop"]) == ("Hip-Hop", "Jazz") and folding(["never seen"]) == ()
    assert folding(["DnB"]) == ("Drum & Bass",) and folding(["Other"]) == ()


def test_short_words_keep_their_letters():
    assert key("Music") == "music" and key("Rock Music") == "rock" and key("Rock 'n' Roll") == key("rock & roll")
    assert key("Piano") == "piano" and key("Nu Jazz") == "nujazz"  # no "n" is an "and" inside a word


def test_the_folding_can_be_edited(tmp_path):
    _, spellings = fold(["Rap", "Hip-Hop", "hiphop", "Other", 'odd "quoted" = [name]'])
    file = tmp_path / "labels.toml"
    write_labels(file, spellings)
    assert read_labels(file)[1].keys() == spellings.keys()
    file.write_text('leave_out = ["Other"]\n[labels]\n"Hip-Hop" = ["rap", "hiphop"]\n')
    folding, _ = read_labels(file)
    assert folding(["Rap; hip hop; other; new"]) == ("Hip-Hop",)
    for text, says in (
        ('[labels]\na = ["x"]\nb = ["X"]', "under both 'a' and 'b'"),
        ("labels = 3", "expected"),
        ("[labels]\na = 3", "expected"),
        ("leave_out = [", "cannot be read"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=says):
            read_labels(file)


def test_artists_and_albums_of_few_artists_stay_together(tmp_path):
    names = [
        ("a/1.mp3", "Björk", "Homogenic"),
        ("b/2.mp3", "BJÖRK", ""),
        ("a/3.mp3", "Guest", "Homogenic"),
        ("hits/4.mp3", "One", "Hits"),
        ("hits/5.mp3", "Two", "Hits"),
        ("hits/6.mp3", "Three", "Hits"),
        ("hits/7.mp3", "Four", "Hits"),
        ("loose/8.mp3", "", ""),
        ("loose/9.mp3", "", ""),
        ("else/10.mp3", "", ""),
    ]
    made = [
        Made(f"/music/{path}", np.ones(4) * i, tags={"artist": artist, "album": album})
        for i, (path, artist, album) in enumerate(names)
    ]
    vectors = read_vectors(read(write_output(tmp_path / "out", made)))
    order = [vectors.row(f"/music/{path}") for path, _, _ in names]
    groups = artist_groups(vectors, order).tolist()
    assert groups[0] == groups[1] == groups[2], "the same artist, and a guest on the artist's album"
    assert len(set(groups[3:7])) == 4, "a compilation does not make its artists one"
    assert groups[7] == groups[8] != groups[9], "without names, by folder"


def test_folds_keep_artists_apart_and_spread_labels():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 40, 400)
    truth = (rng.random((40, 3)) < 0.4)[groups].astype(np.float32)
    fold_of = folds(truth, ("a", "b", "c"), groups)
    assert all(len(set(fold_of[groups == group])) == 1 for group in range(40))
    assert all(truth[fold_of == number].sum(axis=0).min() > 10 for number in range(5))


def test_the_fit_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(3, [1, 2, 5], (300, 3)).astype(np.float32)
    y = (x @ [1, -0.5, 0.1] + rng.normal(size=300) > 2).astype(np.float32)
    ours = fit(x, y[:, None], strength=0.01)
    theirs = LogisticRegression(C=1 / (0.01 * 300), tol=1e-8, max_iter=1000).fit((x - x.mean(0)) / x.std(0), y)
    expected = theirs.predict_proba((x - x.mean(0)) / x.std(0))[:, 1]
    np.testing.assert_allclose(ours.scores(x)[:, 0], expected, atol=2e-3)


def test_judging_by_hand():
    truth = np.array([[1, 0], [1, 0], [0, 1], [0, 1]] * 5, np.float32)
    scores = np.array([[0.9, 0.1], [0.2, 0.7], [0.1, 0.8], [0.3, 0.9]] * 5, np.float32)
    groups, fold_of = np.arange(20) // 2, np.arange(20) // 4
    a, b = judge(("A", "B"), truth, scores, groups, fold_of)
    assert (a.n_tracks, a.n_artists) == (10, 5) and a.confused == (("B", 0.5),) and b.confused == ()
    # best cut of A over the other folds: 0.9 accepts half of its tracks and nothing else, 0.2 all and five others
    assert a.recall.value == 1.0 and a.precision.value == pytest.approx(10 / 15)
    assert 0.5 < b.precision.low <= b.precision.value <= b.precision.high
    worst, *rest = disagreements(("A", "B"), np.arange(20) + 100, truth, scores)
    assert worst.row == 101 and worst.has[0][0] == "A" and worst.says == ("B", pytest.approx(0.7)) and len(rest) == 4


RATE = 16_000


def _sound(path: Path, kind: int, number: int) -> Path:
    """Three kinds that even random weights tell apart: a low tone, a high one, noise."""
    rng = np.random.default_rng(number)
    t = np.arange(2 * RATE) / RATE
    pitch = (150, 2500, 0)[kind] * (1 + 0.1 * rng.random())
    wave = 0.3 * np.sin(2 * np.pi * pitch * t) if pitch else 0.2 * rng.normal(size=len(t))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave + 0.01 * rng.normal(size=len(t)), RATE)
    return path


def _tag(path: Path, **fields: str | list[str]) -> None:
    from mutagen.flac import FLAC

    file = FLAC(path)
    file.update(fields)
    file.save()


@pytest.fixture(scope="module")
def tagged_library(tmp_path_factory) -> Path:
    """36 tagged files by twelve artists, four of whom play each genre; five more without a genre; and their tables."""
    home = tmp_path_factory.mktemp("own")
    genres = (("Low", "low"), ("High", "HIGH"), ("Noise", "noise"))
    for number in range(36):
        kind, artist = number % 3, number % 12
        path = _sound(home / "music" / f"artist {artist}" / f"{number:02d}.flac", kind, number)
        _tag(
            path,
            genre=[genres[kind][number % 2], "Other"],
            artist=f"Artist {artist}",
            mood="Calm" if number < 6 else "",
        )
    for number in range(36, 41):
        _tag(_sound(home / "music" / "no genre" / f"{number}.flac", number % 3, number), artist="Nobody")
    _tag(_sound(home / "music" / "rare.flac", 0, 99), genre="Zouk", artist="Kassav")
    audiopatch.tag(
        home / "music", home / "out", model="tiny-random", embeddings=True, timeline=True, vectors="float32", threads=1,
        workers=0,
    )  # fmt: skip
    return home


@pytest.fixture(scope="module")
def learnt(tagged_library):
    """What ``adapt`` made of it; the model is in ``learnt.folder``."""
    return audiopatch.adapt([tagged_library / "music"], tagged_library / "mine", tables=tagged_library / "out")


def test_own_genres_from_files_to_a_model_that_tags(tagged_library, learnt):
    result = learnt
    assert [one.label for one in result.labels] == ["High", "Low", "Noise"] and result.by_segments
    assert all(one.n_tracks == 12 and one.n_artists == 4 for one in result.labels)
    assert result.figures["map_macro"].value > 0.9
    assert "will not learn 'Zouk': 1 track by 1 artist" in result.left_out
    assert any("not a musical label: 'Other'" in sentence for sentence in result.left_out)
    folder = learnt.folder
    assert {path.name for path in folder.iterdir()} == {
        *("card.json", "labels.txt", "model.safetensors", "labels.toml", "own-labels.json", "report.html", "README.md")
    }
    assert json.loads((folder / "own-labels.json").read_text())["labels"][0]["label"] == "High"
    assert "<td>High</td>" in (folder / "report.html").read_text()

    tables = audiopatch.tag(
        tagged_library / "music", model=str(folder), thresholds=True, threads=1, workers=0, dense=True
    )
    assert set(tables.labels["group"]) == {"genre"}  # whatever their names
    best = tables.tags[tables.tags["rank"] == 1].set_index("path")["label"]
    said = [best.get(str(path)) for path in sorted((tagged_library / "music" / "no genre").iterdir())]
    assert said == ["Low", "High", "Noise", "Low", "High"]  # 36 % 3 == 0


def test_the_model_scores_as_the_cached_embeddings_do(tagged_library, learnt):
    """What thresholds were measured on is what ``tag`` writes."""
    tagger = load_model(learnt.folder, device="cpu")
    weight, bias = tagger.head.weight.numpy(), tagger.head.bias.numpy()
    tables = read(tagged_library / "out")
    ((ids, segments),) = tables.vectors("embedding", table="segments")
    scores = 1 / (1 + np.exp(-(segments @ weight.T + bias)))
    mine = audiopatch.tag(tagged_library / "music", model=str(learnt.folder), dense=True, threads=1, workers=0)
    ((mine_ids, dense),) = mine.vectors("scores")
    expected = np.stack([scores[np.array(ids) == track_id].mean(axis=0) for track_id in mine_ids])
    np.testing.assert_allclose(dense, expected, atol=2e-3)  # float16 in the table
    (measured,) = tagger.card.thresholds
    assert (measured.plan, measured.pool, measured.overlap) == ("none", "mean", 0.5)
    assert measured.values.keys() == {"High", "Low", "Noise"}


def _adapt(*arguments: object):
    return CliRunner().invoke(app, ["adapt", *map(str, arguments)], env={"COLUMNS": "160"})


def test_the_command_and_what_it_refuses(tagged_library, tmp_path):
    out, mine = tagged_library / "out", tmp_path / "mine"
    done = _adapt(tagged_library / "music", "--in", out, "-o", mine, "--json")
    assert done.exit_code == 0 and printed("adapt", done.stdout)["n_tracks"] == 37
    again = _adapt("--in", out, "-o", mine)
    assert again.exit_code == 7 and "--force" in again.stderr
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    assert "is no model of adapt" in _adapt("--in", out, "-o", tmp_path / "photos", "--force").stderr
    few = _adapt("--in", out, "-o", tmp_path / "few", "--field", "mood")
    assert few.exit_code == 2 and "Nothing was written" in few.stderr and "'Calm': 6 tracks by 6 artists" in few.stderr
    assert not (tmp_path / "few").exists()
    assert "unknown field 'colour'" in _adapt("--in", out, "-o", tmp_path / "x", "--field", "colour").stderr
    assert "has no tracks with vectors in" in _adapt(tmp_path, "--in", out, "-o", tmp_path / "x").stderr
    edited = tmp_path / "labels.toml"
    edited.write_text('leave_out = ["noise"]\n[labels]\nTone = ["low", "high"]\nRest = ["zouk"]\n')
    one = _adapt("--in", out, "-o", tmp_path / "x", "--labels", edited)
    assert one.exit_code == 2 and "there is 1" in one.stderr


def test_labels_that_cannot_be_heard_are_not_learnt(tmp_path):
    rng = np.random.default_rng(1)
    dim = load_model("tiny-random", device="cpu").head[0].normalized_shape[0]
    made = [
        Made(
            f"/nowhere/{i % 30}/{i}.mp3",
            rng.normal(size=dim),
            tags={"artist": f"{i % 30}", "genre": ("A", "B")[i * 7 // 5 % 2]},
        )
        for i in range(120)
    ]
    out = write_output(tmp_path / "out", made)
    with pytest.raises(UsageError, match=r"(?s)Nothing was written.*cannot hear 'A'.*ROC-AUC 0\.\d\d"):
        audiopatch.adapt([], tmp_path / "mine", tables=out)
    assert not (tmp_path / "mine").exists()
    with pytest.raises(UsageError, match="has no embeddings to learn from"):
        audiopatch.adapt([], tmp_path / "mine", tables=write_output(tmp_path / "no", made, embedding=False))
    (tmp_path / "file").touch()
    with pytest.raises(OutputMismatchError):
        audiopatch.adapt([], tmp_path / "file", tables=out)


def test_what_audiopatch_wrote_is_not_learnt_from(tagged_library, tmp_path):
    from audiopatch.library.own_labels import _values

    path = _sound(tmp_path / "music" / "a.flac", 0, 1)
    _tag(path, genre=["Own", "Guessed"], **{"audiopatch_genre": "Guessed 0.71"})
    audiopatch.tag(path, tmp_path / "out", model="tiny-random", embeddings=True, threads=1, workers=0)
    assert _values(read_vectors(read(tmp_path / "out")), 0, "genre") == ("Own",)
