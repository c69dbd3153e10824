"""Put a published model inside the package, in float16, so that its name works without a network.

    python scripts/ship_model.py mn04_as mn04_as_mAP_432.pt NOTICE
    python scripts/ship_model.py musicnn-msd MSD_musicnn.safetensors NOTICE

Writes ``src/audiopatch/zoo/packaged/NAME``: card, labels, weights, and the authors' licence text as ``LICENSE``. The
``README.md`` there, which says what the weights are and what float16 costs, is written by hand.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch

from audiopatch.zoo import native
from audiopatch.zoo.cards import PUBLISHED
from audiopatch.zoo.load import read_model

PACKAGED = Path(__file__).parents[1] / "src/audiopatch/zoo/packaged"


def main(name: str, weights: str, notice: str) -> None:
    tagger = read_model(weights)
    tagger.card = replace(PUBLISHED.get(name, tagger.card), name=name, weights=None)
    native.save(tagger, PACKAGED / name, dtype=torch.float16)
    shutil.copyfile(notice, PACKAGED / name / "LICENSE")
    n_bytes = (PACKAGED / name / native.WEIGHTS_FILE).stat().st_size
    print(f"{name}: {n_bytes:,} bytes of weights, made from a file with sha256 {tagger.weights_sha256}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
