"""Print the table of models: length, labels, size, licence, published score, and how fast each one runs here.

    python examples/model_table.py                 one model of each family
    python examples/model_table.py --all           every published model
    python examples/model_table.py passt_20sec     these only

Networks are built with random weights (``random/NAME``): speed does not depend on the values. The speed is that of
front-end and network together, fp32, one segment at a time, CPU time of one thread, multiplied by two cores; the last
column is the same with patchout F3T2 (F0T2 on a grid of one row).
"""

from __future__ import annotations

import sys
import time

import torch

from audiopatch import Tagger, load_model
from audiopatch.models.card import ModelCard
from audiopatch.reducers.plan import NO_REDUCTION, Plan, parse_plan
from audiopatch.zoo import CARDS

ONE_OF_EACH = (
    "discogs-maest-30s-pw-129e",
    "discogs-maest-30s-pw-129e-hub",
    "passt_s_swa_p16_128_ap476",
    "ast-finetuned-audioset-10-10-0.4593",
    "audiomae-as2m",
    "ced-tiny",
    "ced-mini",
    "ced-small",
    "ced-base",
    "eat-base-as2m",
    "dasheng-base-audioset",
    "mn04_as",
    "mn10_as",
    "dymn10_as",
    "musicnn-msd",
    "audiopatch-small",
)
N_CORES, N_RUNS = 2, 3


def row(card: ModelCard) -> str:
    """One line of the table, in Markdown."""
    tagger = load_model(f"random/{card.name}", device="cpu")
    size_mb = 4e-6 * sum(value.numel() for value in tagger.state_dict().values())
    score = next((f"{score:.4g} {source}" for source, score in card.scores.items()), "–")
    labels = f"{card.head.n_classes}" if card.head.n_classes else "embeds only"
    cells = (
        f"`{card.name}`", f"{card.segment_s:g}", labels, f"{size_mb:.0f} MB", card.licence, score,
        f"{N_CORES * card.segment_s / seconds_per_segment(tagger, NO_REDUCTION):.0f}",
        f"{N_CORES * card.segment_s / seconds_per_segment(tagger, plan):.0f}" if (plan := thinned(tagger)) else "–",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def thinned(tagger: Tagger) -> Plan:
    """What the last column is measured with; no plan for a network without tokens."""
    if tagger.grid is None:
        return NO_REDUCTION
    return parse_plan("F3T2" if tagger.grid[0] > 1 else "F0T2")


@torch.inference_mode()
def seconds_per_segment(tagger: Tagger, plan: Plan) -> float:
    """CPU seconds of one thread for one segment: the fastest of a few runs, after one to warm up."""
    wave = torch.randn(1, round(tagger.card.segment_s * tagger.frontend.sample_rate)) * 0.1
    times = []
    for _ in range(1 + N_RUNS):
        start = time.thread_time()
        tagger(tagger.frontend(wave), plan)
        times.append(time.thread_time() - start)
    return min(times[1:])


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    published = [name for name in CARDS if name != "tiny-random"]
    names = published if arguments == ["--all"] else arguments or ONE_OF_EACH
    print("| model | seconds | labels | size | licence | published score | × real time, 2 cores | with F3T2 |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        print(row(CARDS[name]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
