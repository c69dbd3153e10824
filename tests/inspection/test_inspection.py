"""Pages, pictures and the study's numbers, on a small network and sounds of known loudness."""

import io
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.image import imread
from scipy.stats import kendalltau

from audiopatch.errors import UsageError
from audiopatch.inference.extract import Extractor, find_plan
from audiopatch.inference.settings import Analysis
from audiopatch.inspection.inspect import DEFAULT_PLAN, inspect_collection, inspect_segment
from audiopatch.inspection.pictures import kept_strip
from audiopatch.inspection.study import Clusters, attention_by_block, quarter_blocks, study, watch
from audiopatch.models.card import ModelCard
from audiopatch.models.config import FrontendConfig, HeadConfig, MobileNetConfig, TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import parse_plan
from audiopatch.types import Segment, Track

LABELS = tuple(f"<b>label {number}</b>" for number in range(20))


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    torch.manual_seed(0)
    config = TransformerConfig(grid=(9, 30), n_mels=96, dim=64, depth=4)
    card = ModelCard("small", "maest", FrontendConfig("maest", 300), config, HeadConfig(20), "classes-20", 4.0)
    small = Tagger(card, LABELS).eval()
    for parameter in small.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return small


def sounds(n: int) -> list[Segment]:
    """Four seconds each: noise that fades in, so that later columns are louder."""
    chance = np.random.default_rng(0)
    waves = [(np.linspace(0, 0.5, 64000) * chance.standard_normal(64000)).astype(np.float32) for _ in range(n)]
    return [Segment(Track("", "", "0" * 16, 0, 0), 0, 0.0, 4.0, wave) for wave in waves]


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_page_of_a_file(tagger, tmp_path):
    plan = parse_plan("F1T2+topk:0.5/intensity@2")
    path = inspect_segment(tagger, sounds(1)[0], plan, tmp_path / "a b", title="<script>evil()</script>.mp3")
    page = Page(path.read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert "<script>evil()</script>.mp3" in page.text
    assert "<b>label" in page.text
    assert "96 of 216 tokens after block 0, 48 after block 2" in page.text
    sources = [attrs["src"] for _, attrs in page.elements if "src" in attrs]
    assert [source.split(";")[0] for source in sources] == ["data:audio/wav", "data:image/png"]
    assert not [attrs for _, attrs in page.elements if "href" in attrs]
    assert imread(path.parent / "kept.png").shape[1] > 1000


def test_time_runs_on_through_the_padding_of_a_short_sound(tmp_path):
    config = TransformerConfig(grid=(12, 30), n_mels=128, dim=64, depth=1, positions="full")
    card = ModelCard("padding", "ast", FrontendConfig("ast", 306), config, HeadConfig(20), "classes-20", 3.06)
    second = replace(sounds(1)[0], wave=sounds(1)[0].wave[:16000])
    path = inspect_segment(Tagger(card, LABELS).eval(), second, parse_plan("F1T2"), tmp_path, title="a second")
    (strip,) = (attrs for _, attrs in Page(path.read_text(encoding="utf-8")).elements if attrs.get("class") == "strip")
    assert strip["data-seconds"] == "3.060"


def test_a_picture_veils_exactly_the_dropped_patches():
    config = TransformerConfig(grid=(8, 10), n_mels=128, patch_stride=(16, 16))
    mel = np.random.default_rng(0).normal(size=(128, 160))
    cells = {"all": np.arange(80), "left half": np.flatnonzero(np.arange(80) % 10 < 5)}
    strips = [kept_strip(mel, {"a stage": kept}, config, seconds=1.6) for kept in cells.values()]
    whole, half = (imread(io.BytesIO(strip.png)) for strip in strips)
    changed = np.flatnonzero((np.abs(whole - half).max(axis=2) > 0.05).any(axis=0)) / whole.shape[1]
    middle = (strips[0].left + strips[0].right) / 2
    assert changed.min() == pytest.approx(middle, abs=0.003)
    assert changed.max() == pytest.approx(strips[0].right, abs=0.003)


def test_watching_changes_nothing(tagger):
    (segment,) = sounds(1)
    analysis = Analysis(model="small", patchout="random:0.5+topk:0.5@3", seed=4)
    seen = watch(tagger, segment, parse_plan(analysis.patchout), seed=4)
    tagged = Extractor(tagger, analysis, batch_size=1)([segment]).scores  # the very draw that `tag` makes
    assert torch.equal(seen.scores, torch.from_numpy(tagged[0]))
    assert {block: len(cells) for block, cells in seen.cells.items()} == {0: 108, 3: 54}


def test_clusters_are_ordered_from_quiet_to_loud():
    values = np.concatenate([np.full(50, level) + np.linspace(0, 0.1, 50) for level in (3.0, -2.0, 0.0, 9.0, 5.0)])
    labels = Clusters.fit(values).of(values)
    assert [set(labels[start : start + 50]) for start in range(0, 250, 50)] == [{2}, {0}, {1}, {4}, {3}]
    assert Clusters.fit(np.zeros(10)).of(np.zeros(3)).tolist() == [0, 0, 0]


def test_the_study_of_a_collection(tagger, tmp_path):
    found = inspect_collection(tagger, sounds(3), parse_plan("topk:0.5/intensity@2,3"), tmp_path, title="three & more")
    path, clusters = found.page, found.study.clusters
    assert clusters["share"].sum() == pytest.approx(1) and clusters["intensity"].is_monotonic_increasing
    assert list(clusters["cluster"]) == [f"C{number}" for number in range(1, 6)]
    names = {"kept", "tau", "removal", "patches"}
    assert {file.name for file in tmp_path.iterdir()} == {"index.html"} | {
        f"{name}.{kind}" for name in names for kind in ("parquet", "png")
    }
    kept = pd.read_parquet(tmp_path / "kept.parquet").pivot(index="block", columns="cluster", values="share_kept")
    assert kept.loc[0].eq(1).all()
    assert kept.loc[3, "C1"] == 0 and kept.loc[3, "C3"] == 0 and kept.loc[3, "C5"] > 0.5  # the loudest quarter stays
    patches = pd.read_parquet(tmp_path / "patches.parquet")
    assert patches.left.sum() == 3 * 54 and len(patches) == 3 * 216
    assert patches[patches.left].intensity.min() > patches[~patches.left].intensity.median()
    removal = pd.read_parquet(tmp_path / "removal.parquet")
    assert removal.block.tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    last = removal.block == 4  # what leaves after the last attention cannot reach CLS any more
    assert (removal[last].score_change == 0).all() and (removal[last].agreement == 1).all()
    assert (removal[~last].score_change > 0).all()
    page = Page(path.read_text(encoding="utf-8"))
    assert "three & more" in page.text and len([1 for tag, _ in page.elements if tag == "img"]) == 4


def test_tau_is_kendalls_between_attention_and_clusters(tagger):
    (segment,) = sounds(1)
    found = study(tagger, [segment], parse_plan("topk:0.5@2"))
    patches = found.patches
    attention = attention_by_block(tagger, segment)[3].numpy()
    expected = kendalltau(attention, patches.cluster.to_numpy()).statistic
    row = found.tau[(found.tau.block == 3) & (found.tau.statistic == "intensity")]
    assert row.tau_mean.item() == pytest.approx(expected, abs=1e-9)


def test_default_plans_fit_the_depth(tagger):
    assert quarter_blocks(12, (1, 2, 3)) == [4, 7, 10]
    assert quarter_blocks(2, (0, 1, 2, 3)) == [1, 2]
    assert str(find_plan(tagger, DEFAULT_PLAN)) == "topk:0.7@2-4"


def test_networks_without_tokens_say_so(tmp_path):
    card = ModelCard("cnn", "e", FrontendConfig("passt"), MobileNetConfig(0.1), HeadConfig(4), "classes-4", 1.0)
    with pytest.raises(UsageError, match="cnn is a convolutional network"):
        find_plan(Tagger(card, LABELS[:4]), DEFAULT_PLAN)
