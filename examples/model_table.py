"""Print how large models are and how fast each one runs here, as the table of docs/models.md.

    python examples/model_table.py                 one model of each size of each family
    python examples/model_table.py --all           every published model
    python examples/model_table.py passt_20sec     these only

Networks have random weights, which do not matter to their speed: seconds of audio per second of one core, front-end
included, in float32, one segment at a time; the last column is the same with patchout F3T2 (F0T2 on a single row).
"""

from __future__ import annotations

import sys

import audiopatch
from audiopatch.zoo import CARDS

ONE_OF_EACH = (
    "audiopatch-music", "audiopatch-small", "musicnn-msd",
    "mn04_as", "mn10_as", "mn40_as", "dymn04_as", "dymn10_as", "dymn20_as",
    "ced-tiny", "ced-mini", "ced-small", "ced-base",
    "dasheng-base-audioset", "dasheng-0.6b", "dasheng-1.2b",
    "eat-base-as2m", "eat-large-as2m", "sslam-as2m", "audiomae-as2m",
    "passt_s_swa_p16_128_ap476", "ast-finetuned-audioset-10-10-0.4593",
    "discogs-maest-10s-pw-129e", "discogs-maest-30s-pw-129e",
)  # fmt: skip


def row(name: str) -> str:
    """One line of the table, in Markdown."""
    (model,) = audiopatch.compare_models([name])
    n_params = float(f"{model.n_params / 1e6:.3g}")
    macs = model.macs / 1e9 / model.segment_s
    thinned = f"{model.real_time_thinned:.3g}" if model.real_time_thinned else "–"
    return f"| `{name}` | {n_params:g} M | {macs:.2g} G | {model.real_time:.3g} | {thinned} |"


def main(arguments: list[str]) -> None:
    published = [name for name in CARDS if name != "tiny-random"]
    print("| model | parameters | multiply-adds per second | × real time per core | with F3T2 |")
    print("|---|---|---|---|---|")
    for name in published if arguments == ["--all"] else arguments or ONE_OF_EACH:
        print(row(name), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
