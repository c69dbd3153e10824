"""Does reduction pay? CPU time of reduced forward passes against what their multiply-adds promise.

    python examples/does_reduction_pay.py            # a ViT-B on 30 s, random weights: about two minutes
    python examples/does_reduction_pay.py --tiny     # seconds, to see it work

Plans take turns, and the least time of each counts, so that other work on the machine disturbs little.
"""

import argparse
import time

import torch

from audiopatch.models.card import FrontendConfig, HeadConfig, ModelCard, TransformerConfig
from audiopatch.models.cost import cost_of
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import parse_plan

PLANS = ("none", "topk:1@4,7,10", "F3T2", "topk:0.7@4,7,10", "topk:0.5@4,7,10", "topk:0.7/token@4,7,10", "tome:60@1-12")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tiny", action="store_true")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("plans", nargs="*", default=PLANS)
    args = options.parse_args()
    torch.set_num_threads(1)
    backbone = TransformerConfig(grid=(9, 187), n_mels=96, dim=128 if args.tiny else 768)
    card = ModelCard(
        "maest-30s", "maest", FrontendConfig("maest", 1875), backbone, HeadConfig(400), "classes-400", 30.0
    )
    tagger, mel = Tagger(card, ()).eval(), torch.randn(1, 96, 1875)
    costs = {text: cost_of(card, parse_plan(text)) for text in args.plans}
    seconds = dict.fromkeys(args.plans, float("inf"))
    for _ in range(args.rounds):
        for text in args.plans:
            seconds[text] = min(seconds[text], cpu_seconds(tagger, mel, text))
    print(f"{'plan':28} {'G-MACs':>7} {'CPU s':>7} {'promised':>9} {'measured':>9} {'measured / promised':>20}")
    first = args.plans[0]
    for text in args.plans:
        promised, measured = costs[first].macs / costs[text].macs, seconds[first] / seconds[text]
        row = f"{text:28} {costs[text].macs / 1e9:7.1f} {seconds[text]:7.2f} {promised:8.2f}× {measured:8.2f}×"
        print(f"{row} {measured / promised:20.2f}")


def cpu_seconds(tagger: Tagger, mel: torch.Tensor, text: str) -> float:
    plan = parse_plan(text)
    with torch.no_grad():
        start = time.process_time()
        tagger(mel, plan, seeds=torch.zeros(1, dtype=torch.int64))
        return time.process_time() - start


if __name__ == "__main__":
    main()
