"""Run one published model of each family beside its authors' own package, and write what came out as a page.

    python scripts/check_models.py build/check-models.md [NAME ...]

Needs a network: weights and packages are downloaded (several GB). A model that cannot be had is a row that says why.
"""

from __future__ import annotations

import sys
from pathlib import Path

from audiopatch.bench.check import Check, check_model
from audiopatch.bench.measure import describe
from audiopatch.errors import AudioPatchError
from audiopatch.zoo import find_card

MODELS = (
    "discogs-maest-30s-pw-129e",
    "discogs-maest-30s-pw-129e-hub",
    "passt_s_swa_p16_128_ap476",
    "ast-finetuned-audioset-10-10-0.4593",
    "ced-tiny",
    "ced-base",
    "dasheng-base",
    "dasheng-base-audioset",
    "eat-base-as2m",
    "sslam-as2m",
    "mn04_as",
    "mn10_as",
    "dymn10_as",
    "musicnn-msd",
    "musicnn-mtt",
)
MUSIC = Path(__file__).parents[1] / "examples/music"
PARTS = ("mel", "logits", "scores", "features")


def row(name: str) -> str:
    """One line of the table, in Markdown."""
    try:
        check = check_model(find_card(name), [str(MUSIC)], note=lambda said: print(f"{name}: {said}", flush=True))
    except AudioPatchError as error:
        return f"| `{name}` | – | {' | '.join('–' for _ in PARTS)} | – | {error} |"
    verdict = "agrees" if check.agrees else "**differs**"
    return f"| `{name}` | {check.n_clips} | {' | '.join(_cells(check))} | {_labels(check)} | {verdict} |"


def _cells(check: Check) -> list[str]:
    found = [check.differences.get(part) for part in PARTS]
    return [f"{one.max:.0e} ({one.relative:.0e})" if one else "–" for one in found]


def _labels(check: Check) -> str:
    return {True: "same order", False: "other order", None: "not named"}[check.labels]


def main(page: str, names: list[str]) -> None:
    import torch

    machine = describe(torch.device("cpu"))
    lines = [
        "# Published weights beside their authors' packages",
        "",
        "Largest absolute (and relative L2) differences on `examples/music`; "
        f"{machine['cpu']}, torch {machine['torch']}.",
        "",
        f"| model | clips | {' | '.join(PARTS)} | labels | |",
        f"|---|---|{'---|' * len(PARTS)}---|---|",
        *(row(name) for name in names or MODELS),
    ]
    Path(page).parent.mkdir(parents=True, exist_ok=True)
    Path(page).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {page}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
