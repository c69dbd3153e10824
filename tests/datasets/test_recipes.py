"""Every dataset recipe on its tiny twin: splits, labels, gaps, and what it says when something is missing."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from audiopatch.datasets import DATASETS
from audiopatch.datasets.recipe import targets
from audiopatch.errors import UsageError

MINI = Path(__file__).parents[1] / "mini"
TWIN_OF = {
    "esc10": "esc50",
    "audioset": "audioset20k",
    **{f"jamendo-{task}": "jamendo" for task in ("genre", "instrument", "mood", "top50")},
}


def read(name, **options):
    recipe = replace(DATASETS.load(name), **options)
    return recipe.read(MINI / TWIN_OF.get(name, name), allow_missing=name == "gtzan")


@pytest.mark.parametrize("name", DATASETS)
def test_every_recipe_reads_its_twin(name):
    dataset = read(name)
    assert dataset.name == name
    assert {"train", "test"} <= set(dataset.splits) <= {"train", "valid", "test"}
    seen = set()
    for split, items in dataset.splits.items():
        assert items, split
        assert all(item.path.is_file() for item in items)
        paths = {item.path for item in items}
        assert not paths & seen and len(paths) == len(items)
        seen |= paths
        truth, known = targets(items, dataset.labels)
        assert truth.shape == known.shape == (len(items), len(dataset.labels))
        assert (truth.sum(axis=1) >= 1).all()
        assert dataset.multilabel or (truth.sum(axis=1) == 1).all()


@pytest.mark.parametrize("name", DATASETS)
def test_an_empty_folder_gets_a_sentence(name, tmp_path):
    with pytest.raises(UsageError) as error:
        DATASETS.load(name).read(tmp_path)
    text = str(error.value)
    assert str(tmp_path) in text and ("expected" in text)


def test_an_incomplete_dataset_says_how_much_is_there(tmp_path):
    root = tmp_path / "fsd50k"
    shutil.copytree(MINI / "fsd50k", root)
    (root / "FSD50K.dev_audio" / "64760.wav").unlink()
    recipe = DATASETS.load("fsd50k")
    with pytest.raises(UsageError, match=r"5 of 6 clips found.*FSD50K.dev_audio/64760.wav.*zenodo.*--allow-missing"):
        recipe.read(root)
    dataset = recipe.read(root, allow_missing=True)
    assert [(gap.path.name, gap.split, gap.reason) for gap in dataset.left_out] == [
        ("64760.wav", "train", "the file is not there")
    ]
    assert len(dataset.items("train")) == 1


def test_an_unknown_split_names_those_there_are():
    with pytest.raises(UsageError, match="esc50 has no split 'valid'; it has: train, test"):
        read("esc50").items("valid")


def test_gtzan_ships_the_filtered_split_and_knows_its_broken_file(tmp_path):
    for split in ("train", "valid", "test"):
        for line in (Path(__file__).parents[2] / f"src/audiopatch/datasets/splits/gtzan/{split}_filtered.txt").open():
            path = tmp_path / "Data" / "genres_original" / line.strip()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    recipe = DATASETS.load("gtzan")
    dataset = recipe.read(tmp_path)
    assert {split: len(items) for split, items in dataset.splits.items()} == {"train": 442, "valid": 197, "test": 290}
    assert [gap.path.name for gap in dataset.left_out] == ["jazz.00054.wav"]
    broken = dataset.left_out[0].path
    broken.rename(broken.with_suffix(".au"))  # the original is sound
    dataset = recipe.read(tmp_path)
    assert len(dataset.items("train")) == 443 and not dataset.left_out


def test_openmic_masks_what_nobody_answered():
    dataset = read("openmic")
    assert dataset.labels == ("accordion", "violin")
    truth, known = targets(dataset.items("train"), dataset.labels)
    assert truth.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert known.tolist() == [[True, True], [True, True], [True, False]]


def test_mtt_lists_untagged_and_empty_clips():
    dataset = read("mtt")
    assert {gap.reason for gap in dataset.left_out} == {"none of the 50 tags", "known empty file"}
    assert [len(dataset.items(split)) for split in ("train", "valid", "test")] == [2, 2, 2]
    assert dataset.items("train")[0].track == "artist-album-01-song"


def test_jamendo_tags_and_low_quality_copies(tmp_path):
    assert read("jamendo-top50").labels == ("genre---rock", "instrument---piano", "mood/theme---calm")
    root = tmp_path / "jamendo"
    shutil.copytree(MINI / "jamendo", root)
    for path in (root / "audio").rglob("*.mp3"):
        path.rename(path.with_suffix(".low.mp3"))
    (root / "audio").rename(root / "audio-low")
    dataset = DATASETS.load("jamendo-genre").read(root)
    assert dataset.items("train")[0].path == root / "audio-low" / "14" / "214.low.mp3"
    assert dataset.items("train")[0].group == "artist_000214"


def test_msd_wants_as_many_answers_as_files(tmp_path):
    root = tmp_path / "msd"
    shutil.copytree(MINI / "msd", root)
    with (root / "test_x_filename.txt").open("a") as file:
        file.write("3/6/36122424.npy\n")
    with pytest.raises(UsageError, match=r"test_y.npy has shape \(2, 50\); its list needs \(3, 50\)"):
        DATASETS.load("msd").read(root)


@pytest.mark.parametrize("fold", range(1, 6))
def test_esc_folds_and_the_subset(fold):
    dataset = read("esc50", fold=fold)
    assert [item.path.name[0] for item in dataset.items("test")] == [str(fold)] * 3
    assert len(dataset.items("train")) == 12 and dataset.labels == ("dog", "rooster", "frog")
    assert read("esc10", fold=fold).labels == ("dog", "rooster")


def test_esc10_may_come_with_a_list_of_its_own(tmp_path):
    (tmp_path / "meta.csv").write_text("filename,fold,target,category\n1-1-A.ogg,1,0,dog\n2-2-A.ogg,2,1,rain\n")
    (tmp_path / "audio").mkdir()
    for name in ("1-1-A.ogg", "2-2-A.ogg"):
        (tmp_path / "audio" / name).touch()
    dataset = DATASETS.load("esc10").read(tmp_path)
    assert (len(dataset.items("train")), len(dataset.items("test"))) == (1, 1)


def test_audioset_leaves_out_what_vanished_and_finds_renamed_clips():
    dataset = read("audioset20k")
    assert dataset.labels == ("Speech", "Male speech, man speaking", "Music")
    assert dataset.items("train")[0].labels == ("Speech", "Male speech, man speaking")
    assert [item.path.name for item in dataset.items("test")] == ["Y4xGcwmdBIs_30.000.flac", "Y--4xSfVCBpI.flac"]
    assert [gap.path.stem for gap in dataset.left_out] == ["gone0000000"]


def test_audioset_as_its_copy_on_the_hub_has_it(tmp_path):
    for name in ("class_labels_indices.csv", "balanced_train_segments.csv", "eval_segments.csv"):
        shutil.copy(MINI / "audioset20k" / name, tmp_path / name)
    for old, new in (("balanced_train_segments", "bal_train"), ("eval_segments", "eval")):
        shutil.copytree(MINI / "audioset20k" / old, tmp_path / "audio" / new)
    found, as_always = DATASETS.load("audioset20k").read(tmp_path), read("audioset20k")
    assert {split: len(items) for split, items in found.splits.items()} == {
        split: len(items) for split, items in as_always.splits.items()
    }


def test_speech_commands_trains_on_what_no_list_names():
    dataset = read("speech-commands")
    assert dataset.labels == ("no", "yes")
    assert {item.group for item in dataset.items("train")} == {"0a7c2a8d"}


def test_layouts_of_downloads_are_known(tmp_path):
    """As torchaudio unpacks Speech Commands, and as common scripts leave AudioSet, MagnaTagATune and VoxCeleb."""
    moves = {
        "speech-commands": [(".", "SpeechCommands/speech_commands_v0.02")],
        "mtt": [(folder, f"mp3/{folder}") for folder in "0bcde"],
        "voxceleb1": [("vox1_dev_wav", "dev"), ("vox1_test_wav", "test")],
        "audioset20k": [
            *((f"{stem}_segments", f"audios/{stem}_segments/part00") for stem in ("balanced_train", "eval")),
            *((f"{stem}.csv", f"metadata/{stem}.csv") for stem in ("balanced_train_segments", "eval_segments")),
            ("class_labels_indices.csv", "metadata/class_labels_indices.csv"),
        ],
    }
    for name, places in moves.items():
        root = tmp_path / name
        for old, new in places:
            (root / new).parent.mkdir(parents=True, exist_ok=True)
            source = MINI / name / old
            (shutil.copytree if source.is_dir() else shutil.copy)(source, root / new)
        if name in ("mtt", "voxceleb1"):
            for path in MINI.joinpath(name).glob("*.??*"):
                shutil.copy(path, root) if path.is_file() else None
        want, found = read(name), DATASETS.load(name).read(root)
        assert {split: len(items) for split, items in found.splits.items()} == {
            split: len(items) for split, items in want.splits.items()
        }, name


def test_the_cals_split_names_its_tags():
    dataset = read("msd-cals")
    assert len(set(dataset.labels)) == 50 and dataset.items("train")[1].labels == ("folk",)


def test_voxceleb_draws_on_both_archives():
    dataset = read("voxceleb1")
    assert dataset.labels == ("id10003", "id10270")
    assert [len(items) for items in dataset.splits.values()] == [2, 2, 2]


def test_a_folder_holds_what_tag_would_find_in_it(tmp_path):
    """Deleted files, older versions and notes of other systems are no examples, on neither side of a split."""
    music = {"a/1.wav", "a/2.wav", "b/1.wav", "b/.38 Special/2.wav"}
    for name in (*music, "a/.Trash/3.wav", "a/.stversions/1.wav", "b/._1.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = {item.path for items in DATASETS.load("folder").read(tmp_path).splits.values() for item in items}
    assert {path.relative_to(tmp_path).as_posix() for path in found} == music


def test_a_folder_without_labels_is_explained(tmp_path):
    (tmp_path / "rock").mkdir()
    with pytest.raises(UsageError, match="at least two sub-folders"):
        DATASETS.load("folder").read(tmp_path)


def test_a_table_without_labels_is_explained(tmp_path):
    (tmp_path / "mine.csv").write_text("file,genre\na.mp3,rock\n")
    with pytest.raises(UsageError, match="needs the columns path and label; it has: file, genre"):
        DATASETS.load("csv").read(tmp_path / "mine.csv")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("mine.csv", "", "cannot be read as a table: No columns"),
        ("mine.csv", 'path,label\na.mp3,"rock\n', "cannot be read as a table"),
        ("mine.parquet", "path,label\n", "cannot be read as a table"),
        ("mine.csv", "path,label,split\na.mp3,rock,validation\n", "the column split says 'validation' for a.mp3"),
    ],
)
def test_a_table_that_cannot_be_used_is_explained(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=words):
        DATASETS.load("csv").read(tmp_path / name)


def test_a_table_is_taken_at_its_word_and_gaps_are_listed(tmp_path):
    table = "path,label,year\na.mp3,007,1999\nb.mp3,None,\nc.mp3,,2001\n"
    (tmp_path / "mine.csv").write_text(table)
    for name in "abc":
        (tmp_path / f"{name}.mp3").touch()
    dataset = DATASETS.load("csv").read(tmp_path / "mine.csv")
    assert dataset.labels == ("007", "None")
    assert [(gap.path.name, gap.reason) for gap in dataset.left_out] == [("c.mp3", "no label")]


def test_labels_may_be_lists_in_a_parquet_table(tmp_path):
    import pandas as pd

    rows = pd.DataFrame({"path": ["a.mp3", "b.mp3"], "labels": [["Rock", "Jazz"], []], "bpm": [120.0, None]})
    rows.to_parquet(tmp_path / "tracks.parquet")
    for name in rows.path:
        (tmp_path / name).touch()
    dataset = DATASETS.load("discogs").read(tmp_path)
    found = {item.path.name: item.labels for items in dataset.splits.values() for item in items}
    assert found == {"a.mp3": ("Rock", "Jazz"), "b.mp3": ()} and dataset.labels == ("Jazz", "Rock")


@pytest.mark.parametrize("label", ["hip\nhop", "hip\u2028hop", "Icon\r", "b\udcff"])
def test_a_label_that_models_cannot_store_is_refused_before_training(label, tmp_path):
    for folder in (label, "jazz", "rock \u00a0\u97f3\u697d"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.wav").write_bytes(b"x")
    with pytest.raises(UsageError, match="rename it") as refused:
        DATASETS.load("folder").read(tmp_path)
    assert repr(label) in str(refused.value)


def test_a_folder_without_audio_is_no_label(tmp_path):
    for name in ("jazz/a.mp3", "rock/b.mp3", "covers/front.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert DATASETS.load("folder").read(tmp_path).labels == ("jazz", "rock")


def test_a_parquet_table_reads_as_its_csv(tmp_path):
    import pandas as pd

    root = tmp_path / "csv"
    shutil.copytree(MINI / "csv", root)
    pd.read_csv(root / "tracks.csv").to_parquet(root / "mine.parquet")
    recipe = DATASETS.load("csv")
    assert recipe.read(root / "mine.parquet") == recipe.read(root)


def test_discogs_keeps_artists_together():
    dataset = read("discogs")
    assert dataset.labels == ("Electronic---House", "Jazz---Bop", "Rock---Punk")
    artists = [{item.group for item in items} for items in dataset.splits.values()]
    assert not artists[0] & artists[1] and not artists[0] & artists[2] and not artists[1] & artists[2]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_as_spreadsheets_write_it(tmp_path, encoding, separator):
    rows = [("path", "label"), *((f"{n}.wav", "ab"[n % 2]) for n in range(6))]
    for path, _ in rows[1:]:
        (tmp_path / path).write_bytes(b"x")
    (tmp_path / "tracks.csv").write_bytes("\r\n".join(map(separator.join, rows)).encode(encoding))
    found = DATASETS.load("csv").read(tmp_path)
    assert found.labels == ("a", "b") and sum(map(len, found.splits.values())) == 6
