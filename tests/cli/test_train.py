"""``audiopatch train`` and ``evaluate`` as a user types them: a model that ``tag`` takes, a report, honest words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from audiopatch.cli.main import app
from audiopatch.models.card import ModelCard
from printed import printed

MINI = Path(__file__).parents[1] / "mini"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIOPATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AUDIOPATCH_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are files without content: drawn ones are looked at elsewhere, and take most of a report's time."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, **how: Path(path).touch())


def run(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def logged(folder):
    """The kinds of rows in a run's log, each row held to its schema."""
    rows = [printed("metrics", line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return list(dict.fromkeys(row["kind"] for row in rows))


QUICK = ("--set", "epochs=8", "--set", "lrs=[1e-2]", "--set", "n_hidden=16", "--model", "tiny-random")


def test_folders_of_music_become_a_model_that_tags(home):
    result = run("train", "folder", MINI / "folder", "-o", "mine", *QUICK, "--json")
    assert result.exit_code == 0, result.output
    (trained,) = printed("train", result.stdout)["runs"]
    assert trained["model"] == "mine/model" and trained["figures"]["accuracy"] is not None
    assert trained["chosen_on"] == "valid" and "were learnt" not in result.output
    assert "audiopatch tag ~/Music --model mine/model" in result.output
    files = {path.name for path in (home / "mine").iterdir()}
    assert {"config.toml", "environment.json", "metrics.jsonl", "grid.csv", "map.png", "left_out.tsv", "model"} <= files
    sides = json.loads((home / "mine" / "split.json").read_text())["sides"]
    assert len(sides) == 8 and set(sides.values()) == {"train", "valid", "test"}
    assert logged(home / "mine") == ["probe"] and printed("environment", (home / "mine/environment.json").read_text())
    assert "jazz, rock" in (home / "mine" / "model" / "README.md").read_text()
    again = run("train", "folder", MINI / "folder", "-o", "mine", *QUICK)
    assert again.exit_code == 7 and "--force" in again.output and "--resume" not in again.output
    assert " clips" not in again.output  # said before anything is decoded
    shutil.rmtree(home / "mine" / "model")  # as if it had been stopped: nothing stands in the way
    assert run("train", "folder", MINI / "folder", "-o", "mine", *QUICK).exit_code == 0
    judged_on = {path: "test" if side == "test" else "valid" for path, side in sides.items()} | {"rock/new.wav": "test"}
    judged_on[next(path for path, side in sides.items() if side == "train")] = "test"
    (home / "mine" / "split.json").write_text(json.dumps({"dataset": "folder", "sides": judged_on}))
    options = ("--model", "mine/model", "--resamples", 50, "--json", "--no-save")
    judged = run("evaluate", "folder", MINI / "folder", *options)
    assert printed("evaluate", judged.stdout)["n_clips"] == 3  # as the run says
    tagged = run("tag", MINI / "folder", "--model", "mine/model", "-o", "out", "--top", 1, "--no-show")
    assert tagged.exit_code == 0, tagged.output
    tags = pd.read_parquet(home / "out" / "tags")
    assert set(tags.label) <= {"jazz", "rock"} and len(tags) == 8
    assert (tags.label == [Path(path).parts[-3] for path in tags.path]).mean() > 0.8


def test_a_model_chosen_by_the_clips_it_learnt_says_so(home):
    for label in ("jazz", "rock"):  # one album each: nothing to hold out
        shutil.copytree(MINI / "folder" / label / "album 0", home / "few" / label / "album")
    result = run("train", "folder", "few", "-o", "mine", *QUICK, "--json")
    assert result.exit_code == 0, result.output
    (trained,) = printed("train", result.stdout)["runs"]
    assert (trained["chosen_on"], trained["figures"]) == ("train", {})
    assert "of the clips that were learnt" in result.stderr and "for a test" in result.stderr
    readme = (home / "mine" / "model" / "README.md").read_text()
    assert "of the clips that were learnt" in readme and "It has not been evaluated." in readme


def test_evaluate_writes_a_report_and_keeps_thresholds(home, undrawn, monkeypatch):
    assert run("train", "csv", MINI / "csv", "-o", "a", "--no-evaluate", *QUICK).exit_code == 0
    assert run("train", "csv", MINI / "csv", "-o", "b", "--set", "seed=3", "--no-evaluate", *QUICK).exit_code == 0
    result = run("evaluate", "csv", MINI / "csv", "--model", "a/model", "--resamples", 50, "-o", "report", "--json")
    assert result.exit_code == 0, result.output
    facts = printed("evaluate", result.stdout)
    assert facts == json.loads((home / "report" / "evaluation.json").read_text())
    assert facts["thresholds_from"] == "valid" and facts["n_clips"] == 2
    assert "note: only 2 clips: they say little" in result.stderr
    assert "Only 2 clips: they say little." in (home / "report" / "report.html").read_text()
    card = ModelCard.from_json((home / "a" / "model" / "card.json").read_text())
    (measured,) = card.thresholds
    assert set(measured.values) == {"a", "b"} and any("csv test" in name for name in card.scores)
    assert (measured.plan, measured.pool, measured.overlap) == ("none", "mean", 0.5)
    assert (measured.dataset, measured.split) == ("csv", "valid")
    tagged = run("tag", MINI / "csv", "--model", "a/model", "--thresholds", "-o", "meant", "--no-show")
    assert tagged.exit_code == 0, tagged.output
    tags = pd.read_parquet(home / "meant" / "tags")
    assert (tags.score >= tags.label.astype(str).map(measured.values).astype("float32")).all()
    assert 0 < len(tags) < 12  # of six clips with two labels each
    other = run("tag", MINI / "csv", "--model", "a/model", "--thresholds", "--patchout", "F3T2", "-o", "other")
    assert other.exit_code == 2
    said = " ".join(other.output.split())
    assert "measured with --patchout none --pool mean --overlap 0.5, on csv (valid)" in said
    assert "nothing about scores with --patchout F3T2 --pool mean --overlap 0.5" in said
    monkeypatch.setenv("AUDIOPATCH_MODEL", "tiny-random")  # two models named beat one that is set
    result = run("evaluate", "csv", MINI / "csv", "--compare", "a/model", "b/model", "--resamples", 50, "-o", "both")
    assert result.exit_code == 0 and "b/model minus a/model" in result.output
    assert printed("evaluate", (home / "both" / "evaluation.json").read_text())["compared"]["accuracy"]["p_value"] <= 1


def test_all_folds_give_a_mean(home, undrawn):
    quick = (*QUICK, "--set", "tokens=['cls']", "--set", "epochs=1")
    result = run("train", "esc10", MINI / "esc50", "--fold", "all", "-o", "folds", *quick)
    assert result.exit_code == 0, result.output
    card = ModelCard.from_json((home / "folds" / "fold2" / "model" / "card.json").read_text())
    assert card.name == "folds-fold2"
    recipe = home / "folds" / "fold2" / "recipe.json"
    recipe.write_text(json.dumps({**json.loads(recipe.read_text()), "published": {"accuracy": 0.5}}))
    evaluated = run("evaluate", "esc10", MINI / "esc50", "--fold", 2, "--model", "folds/fold2/model", "--resamples", 50)
    assert "published 0.500" in evaluated.output
    assert len(pd.read_csv(home / "folds" / "folds.csv")) == 5 and "accuracy over 5 folds" in result.output


def test_fine_tuning_from_the_command_line(home):
    settings = ("epochs=1", "sampling.batch_size=4", "model.segment_s=1.0", "averaging.start_epoch=0")
    changes = [word for setting in settings for word in ("--set", setting)]
    result = run("train", "esc10-finetune", MINI / "esc50", "--fold", 2, "-o", "ft", "--model", "tiny-random", *changes)
    assert result.exit_code == 0, result.output
    assert (home / "ft" / "fold2" / "curves.png").stat().st_size > 5000
    assert logged(home / "ft" / "fold2") == ["step", "epoch", "swa"]
    again = run("train", "esc10-finetune", MINI / "esc50", "--fold", 2, "-o", "ft", "--model", "tiny-random", *changes)
    assert again.exit_code == 7 and "--resume" in again.output


def test_the_list_names_every_row_with_its_result():
    rows = printed("train-list", run("train", "--list", "--json").stdout)["recipes"]
    found = {row["name"]: row for row in rows}
    assert found["passt-s"]["published"] == {"map_macro": 0.471}
    assert found["esc50"]["command"] == "audiopatch train esc50 --data-dir DIR"
    figures = found["maest-30s"]["figures"]
    assert {(figure["metric"], figure["value"]) for figure in figures} >= {("map_macro", 0.261), ("map_macro", 0.27)}
    assert all(figure["where"].startswith("MAEST, table 4") for figure in figures)
    table = run("train", "--list").stdout
    assert all(name in table for name in found)
    (longest,) = (line for line in table.splitlines() if "speech-commands-topk-intensity-audiomae" in line)
    assert "TopK by intensity" in longest and "accuracy 0.9818" in longest


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("train", "gtzann", "x"), "did you mean 'gtzan'"),
        (("train", "gtzan"), "gtzan ~/data (GTZAN: https://"),
        (("train", "gtzan", MINI / "gtzan"), "6 of 929 clips found"),
        (("train", "folder", MINI / "folder", "--fold", "1"), "does not come in folds"),
        (("train", "esc10", MINI / "esc50", "--fold", "6"), "choose 1 to 5"),
        (("train", "folder", MINI / "folder", "--set", "lr"), "write NAME=VALUE"),
        (("train", "probe", "nothing", MINI), "unknown dataset"),
        (("train", "maest-5s"), "as in: audiopatch train maest-5s ~/data"),
        (("train", "probe", "esc10"), "as in: audiopatch train probe esc10 ~/data"),
        (("evaluate", "folder", "--model", "m"), "as in: audiopatch evaluate folder ~/data"),
        (("evaluate", "csv", MINI / "csv"), "say which model"),
        (("evaluate", "csv", MINI / "csv", "--model", "tiny-random", "--overlap", "1"), "from 0 to below 1"),
        (("tag", MINI / "csv", "--model", "tiny-random", "--thresholds"), "has no thresholds yet"),
        (("evaluate", "csv", MINI / "csv", "--model", "tiny-random"), "does not know 2 of the 2 labels"),
    ],
)
def test_what_cannot_work_is_said(args, words):
    result = run(*args)
    assert result.exit_code == 2 and words in result.output
