"""A network with a convolutional stem is looked at as any other."""

import numpy as np
import pandas as pd
import pytest
import torch

from audiopatch.inference.extract import find_plan
from audiopatch.inspection.inspect import inspect_collection, inspect_segment
from audiopatch.models.card import ModelCard
from audiopatch.models.config import FrontendConfig, HeadConfig, StemConfig, TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import parse_plan
from audiopatch.types import Segment, Track

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    config = TransformerConfig(
        grid=(8, 13), n_mels=128, dim=64, depth=2, prefix=1, patch_stride=(16, 16), pool="both", stem=StemConfig(0.1)
    )
    torch.manual_seed(0)
    card = ModelCard("stem", "own", FrontendConfig("passt"), config, HeadConfig(12), "classes-12", 2.0)
    return Tagger(card, [f"class {number}" for number in range(12)]).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def segments() -> list[Segment]:
    rng = np.random.default_rng(0)
    waves = [0.1 * rng.standard_normal(64000).astype(np.float32) for _ in range(3)]
    return [Segment(Track("", "", "0" * 16, 0, 0), 0, 0.0, 2.0, wave) for wave in waves]


def test_the_page_of_a_file_and_its_cost(tagger, segments, tmp_path):
    page = inspect_segment(tagger, segments[0], parse_plan("F1T2+topk:0.5@1"), tmp_path, title="noise")
    text = page.read_text(encoding="utf-8")
    assert "49 of 104 tokens after block 0, 25 after block 1" in text
    assert (tmp_path / "kept.png").stat().st_size > 10_000


def test_the_study_of_a_collection(tagger, segments, tmp_path):
    inspect_collection(tagger, segments, find_plan(tagger, "topk:0.7"), tmp_path, title="noise")
    patches = pd.read_parquet(tmp_path / "patches.parquet")
    assert len(patches) == 3 * 104 and patches.left.sum() < len(patches)
    removal = pd.read_parquet(tmp_path / "removal.parquet")
    assert removal.drop(columns=["removed"]).notna().all(axis=None)
