"""Patchout as the authors' packages do it: recorded logits for given rows, columns and tokens.

MAEST's network is kept in float16, and its package ran on those very values.
"""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiopatch.frontends.maest import MaestFrontend
from audiopatch.frontends.passt import PasstFrontend
from audiopatch.models.config import HeadConfig, TransformerConfig
from audiopatch.models.heads import build_head
from audiopatch.models.transformer import SpectrogramTransformer
from audiopatch.reducers.plan import Plan, parse_plan

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = 2e-4


def network(weights: str, config: TransformerConfig, n_classes: int):
    """The recorded random network: its state dict uses the core's own names."""
    state = torch.load(GOLDEN / weights, weights_only=True)
    backbone, head = SpectrogramTransformer(config), build_head(HeadConfig(n_classes), config.dim)
    backbone.load_state_dict({key: state[key] for key in backbone.state_dict()})
    head.load_state_dict({key: state[f"head.{key}"] for key in head.state_dict()})
    return backbone.eval(), head.eval()


def wave(name: str) -> torch.Tensor:
    return torch.from_numpy(soundfile.read(GOLDEN / name, dtype="float32")[0])[None]


@pytest.fixture(scope="module")
def maest():
    config = TransformerConfig(grid=(9, 187), n_mels=96, dim=128, depth=8)
    mel = MaestFrontend(1875)(wave("maest_small/m30.flac"))
    return *network("maest_small/discogs-maest-30s-small-half.ckpt", config, 400), mel


@pytest.mark.parametrize(
    ("case", "plan"),
    [
        ("f_idx_0_1_2", "fixed:rows=0-2"),
        ("f_idx_0_2_4_8", "fixed:rows=0,2,4,8"),
        ("f_int_2", "fixed:rows=1,3,5,7"),
        ("t_int_2", "F0T2"),
        ("t_int_3", "F0T3"),
        ("t_int_5", "F0T5"),
        ("t_int_10", "F0T10"),
        ("t_idx_0_5_185", "fixed:cols=0,5,185"),
        ("f_idx_0_1_2__t_int_3", "fixed:F0T3/rows=0-2"),
    ],
)
def test_maest_fixed_patchout(case, plan, maest):
    backbone, head, mel = maest
    recorded = np.load(GOLDEN / "maest_small/patchout.npz")
    with torch.no_grad():
        features = backbone(mel, parse_plan(plan), taps=[8])
        logits = head(features.pooled)
    np.testing.assert_allclose(logits, recorded[f"logits_{case}"], atol=TOLERANCE)
    np.testing.assert_allclose(features.stacks[8].flatten(1), recorded[f"emb_block7_{case}"], atol=TOLERANCE)


@pytest.mark.parametrize("case", ["t40f4", "u400", "t20f2u100"])
def test_passt_training_patchout(case):
    """The reference's own draws, replayed: columns, then rows, then single tokens of what is left."""
    recorded = np.load(GOLDEN / "passt_small/patchout.npz")
    config = TransformerConfig(grid=(12, 99), n_mels=128, dim=128, depth=2)
    backbone, head = network("passt_small/passt-small.pt", config, 40)
    draws = {axis: torch.from_numpy(recorded[key]) for axis in "tfu" if (key := f"{case}_keep_{axis}") in recorded}

    def replay(tokens, signals):
        if "t" in draws:
            tokens = tokens.keep_rows_cols(draws["f"], draws["t"])
        return tokens.keep(draws["u"][None]) if "u" in draws else tokens

    with torch.no_grad():
        mel = PasstFrontend(998)(wave("passt_small/a10.flac"))
        logits = head(backbone(mel, Plan({0: replay}, text=case)).pooled)
    np.testing.assert_allclose(logits, recorded[f"{case}_logits"], atol=TOLERANCE)
