"""Columns of the tables are explained, models are in the pages as their cards say, copies agree with the original.

That generated pages are current, `make docs` sees to.
"""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from audiopatch.models.card import ModelCard
from audiopatch.models.cost import cost_of
from audiopatch.tables import schema
from audiopatch.zoo import CARDS
from audiopatch.zoo.cards import PUBLISHED, shipped_folder
from audiopatch.zoo.labels import never_tags
from audiopatch.zoo.native import WEIGHTS_FILE, read_labels

ROOT = Path(__file__).parents[1]
RECIPE = "packaging/conda-forge/recipe.yaml"


def test_every_column_is_explained():
    vector = schema.vector(2, "float16")
    made = (schema.embeddings_schema(vector, vector), schema.segments_schema(vector, vector))
    columns = {
        name for table in (schema.TRACKS, schema.TAGS, schema.ERRORS, schema.LABELS, *made) for name in table.names
    }
    assert columns == schema.MEANINGS.keys()


def model_rows(page: str, heading: str) -> list[tuple[list[str], list[str]]]:
    """The rows of the table under ``heading`` that name models: their names or patterns of names, and the cells."""
    text = (ROOT / page).read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    named = [(re.findall(r"`([\w.…-]+)`", cells[0]), cells) for cells in rows]
    return [(names, cells) for names, cells in named if names]


def cards_of(pattern: str) -> list[ModelCard]:
    cards = [card for name, card in CARDS.items() if fnmatch(name, pattern.replace("…", "*"))]
    assert cards, pattern
    return cards


def test_the_families_in_the_docs_are_those_of_the_cards():
    told = set()
    for names, (_, segment, labels, licence, code, published, year) in model_rows("docs/models.md", "The families"):
        for card in (card for name in names for card in cards_of(name)):
            told.add(card.name)
            low, _, high = segment.removesuffix(" s").partition("–")
            assert float(low) <= card.segment_s <= float(high or low), card.name
            assert licence.startswith(card.licence.partition(" (")[0]), card.name
            assert code == card.code_licence, card.name
            assert year in card.paper or card.name.startswith(("audiopatch", "eat", "sslam")), card.name
            assert card.head.n_classes or labels.endswith("none"), card.name
        for name in names if "…" not in "".join(names) else ():
            assert all(f"{score:.3f}".removeprefix("0") in published for score in scores_of(name)), name
    assert PUBLISHED.keys() <= told | {f"mn{width}_as" for width in ("02", "04", "05", "10", "20", "30")}


def scores_of(name: str) -> list[float]:
    """What the authors publish of a tagger."""
    scores = PUBLISHED[name].scores if name in PUBLISHED else {}
    return [score for what, score in scores.items() if what.startswith(("mAP", "ROC"))]


@pytest.mark.parametrize(
    ("page", "heading"),
    [("README.md", "Models inside the package"), ("docs/default-model.md", "Which of the packaged models?")],
)
def test_packaged_models_are_as_large_and_good_as_told(page: str, heading: str):
    for (name, *_), (_, labels, megabytes, *_, quality) in model_rows(page, heading):
        folder = shipped_folder(name)
        assert folder is not None, name
        n_tags = len(set(read_labels(folder)) - never_tags(CARDS[name].labels))
        assert int(re.findall(r"\d+", labels)[0]) == n_tags, name
        assert int(megabytes) == round((folder / WEIGHTS_FILE).stat().st_size / 1e6), name
        for figure in re.findall(r"(\.\d+) \(published\)", quality):
            assert float(figure) in CARDS[name].scores.values(), name


def test_sizes_in_the_docs_are_counted():
    """Of transformers; the convolutional networks, which take longer to count, are held to their README in the zoo."""
    for (name, *_), (_, n_params, macs, *_) in model_rows("docs/models.md", "How fast"):
        if CARDS[name].family not in ("efficientat", "musicnn"):
            cost = cost_of(CARDS[name])
            assert n_params == f"{float(f'{cost.n_params / 1e6:.3g}'):g} M", name
            assert macs == f"{cost.macs / 1e9 / CARDS[name].segment_s:.2g} G", name


def test_files_that_repeat_a_version_have_this_one():
    def text(name: str) -> str:
        return (ROOT / name).read_text(encoding="utf-8")

    version = tomllib.loads(text("pyproject.toml"))["project"]["version"]
    assert f"version: {version}\n" in text("CITATION.cff") and f"version: {version}\n" in text(RECIPE)
    assert f"## [{version}]" in text("CHANGELOG.md")
    (torch,) = re.findall(r"^torch==\S+", text("constraints.txt"), re.M)
    assert f" {torch}\n" in text("Dockerfile")


def test_the_conda_recipe_asks_for_what_the_package_needs():
    renamed = {"torch": "pytorch", "soxr": "soxr-python", "soundfile": "pysoundfile"}
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    names = [re.split("[>=]", one)[0] for one in needed]
    recipe = (ROOT / RECIPE).read_text(encoding="utf-8")
    missing = [name for name in names if f"- {renamed.get(name, name)} >=" not in recipe]
    assert not missing and recipe.count(" >=") == len(names) + 1  # and Python
