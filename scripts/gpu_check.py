"""What only a GPU can show, in a few minutes: parity, whole runs, throughput, compiling, running out of memory.

    python scripts/gpu_check.py                      # on a GPU: writes gpu-check.json and prints tables
    python scripts/gpu_check.py --device cpu --toy   # the same script rehearsed where there is none
    python scripts/gpu_check.py --only parity,tags   # some of its parts

Networks are published shapes with seeded random weights, so nothing is downloaded. Each part that fails says so in the
result, and the others go on. The exit code is 1 where a part failed or a bound does not hold.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

import audiopatch
from audiopatch.bench.contender import Case
from audiopatch.bench.measure import describe
from audiopatch.bench.sweep import Settings, sweep
from audiopatch.events import GPU_LANES
from audiopatch.inference.extract import Extractor
from audiopatch.inference.settings import Analysis
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import parse_plan
from audiopatch.types import Segment, Track
from audiopatch.zoo import DEFAULT_MODEL
from audiopatch.zoo.load import load_model

MUSIC = Path(__file__).parents[1] / "examples/music"
FULL = (
    DEFAULT_MODEL,
    "random/mn04_as",
    "random/discogs-maest-30s-pw-129e",
    "random/passt_s_swa_p16_128_ap476",
    "random/ast-finetuned-audioset-10-10-0.4593",
    "random/audiomae-as2m",
)
TOY = (DEFAULT_MODEL, "random/tiny-random")
TIMED = FULL[0], *FULL[2:5]
PLANS = ("F0T0", "F3T2", "F4T10")
BATCHES = (1, 16, 64, 256)
_TRACK_S = 12
FP32_BOUND, BF16_BOUND, TAGS_BOUND = 1e-4, 3e-2, 1e-3


class Check:
    """One run over the parts; ``failures`` are sentences."""

    def __init__(self, device: str, *, toy: bool):
        self.device, self.toy = torch.device(device), toy
        self.models = TOY if toy else FULL
        self.failures: list[str] = []

    def hold(self, what: str, value: float, bound: float) -> None:
        """Note a failure where ``value`` is above ``bound``; NaN is."""
        if not value <= bound:
            self.failures.append(f"{what}: {value:.2e} is above {bound:.0e}")

    def parity(self) -> list[dict[str, Any]]:
        """Logits of each family on the device against the CPU's in float32, relative in L2."""
        rows = []
        for name in self.models:
            wave = _noise(load_model(name, device="cpu"), 2)
            for plan in ("F0T0", "F3T2"):
                with exact_float32():
                    reference = _logits(load_model(name, device="cpu", dtype="float32"), wave, plan)
                    fp32 = _logits(load_model(name, device=str(self.device), dtype="float32"), wave, plan)
                bf16 = _logits(load_model(name, device=str(self.device), dtype="bfloat16"), wave, plan)
                errors = {"fp32": _error(fp32, reference), "bf16": _error(bf16, reference)}
                self.hold(f"{name} {plan} fp32", errors["fp32"], FP32_BOUND)
                self.hold(f"{name} {plan} bf16", errors["bf16"], BF16_BOUND)
                rows.append({"model": name, "patchout": plan, **errors})
                if load_model(name, device="cpu").grid is None:
                    break  # a convolutional network has no plans
        return rows

    def tags(self) -> dict[str, float]:
        """Tags of examples/music with the default model: the device's against the CPU's, both in float32."""
        options = {"top": 0, "dtype": "float32"}
        with exact_float32():
            cpu = audiopatch.tag(str(MUSIC), device="cpu", **options).tags
            here = audiopatch.tag(str(MUSIC), device=str(self.device), **options).tags
        both = cpu.merge(here, on=["path", "label"], suffixes=("_cpu", "_here"))
        worst = float((both.score_cpu - both.score_here).abs().max())
        self.hold("tags of examples/music, largest difference of scores", worst, TAGS_BOUND)
        return {"n_tracks": int(both.path.nunique()), "n_scores": len(both), "largest_difference": worst}

    def library(self) -> dict[str, Any]:
        """Whole runs over many short tracks, with more and more decoders: is it the files or the model that limits?"""
        n_tracks, rows = 20 if self.toy else 2000, []
        with tempfile.TemporaryDirectory() as folder:
            seconds = _make_library(Path(folder), n_tracks)
            for model in self.models[:1] if self.toy else (DEFAULT_MODEL, "random/discogs-maest-10s-pw-129e"):
                for workers in (1, 2) if self.toy else (4, 16):
                    counts = audiopatch.tag(folder, model=model, device=str(self.device), workers=workers).run["counts"]
                    row = {"model": model, "workers": workers, "n_tracks": counts["n_ok"], "spent": counts["spent"]}
                    wall_s = row["wall_s"] = counts["elapsed_s"]
                    row |= {"tracks_per_s": n_tracks / wall_s, "times_real_time": seconds / wall_s}
                    rows.append(row | {"gpu_had_work": counts["spent"]["gpu_s"] / (GPU_LANES * wall_s)})
        return {"audio_s": seconds, "runs": rows}

    def throughput(self) -> list[dict[str, Any]]:
        """Analysed minutes per second and the share of the promised rate, over plans and batch sizes."""
        rows: list[dict[str, Any]] = []
        for model in self.models if self.toy else TIMED:
            tagger = load_model(model, device="cpu", dtype="float32")
            segments = {model: _segments(tagger, 8)}
            cases = [
                Case(model, plan if tagger.grid else "F0T0", "torch", "auto", batch)
                for batch in ((1, 2) if self.toy else BATCHES)
                for plan in PLANS[: None if tagger.grid else 1]
            ]
            settings = Settings(device=str(self.device), repeats=5, budget_s=4.0 if self.toy else 20.0)
            found, _ = sweep(cases, segments, settings)
            names = ("model", "patchout", "dtype", "batch", "minutes_per_s", "latency_ms", "mfu", "peak_share", "error")
            rows += [{name: getattr(row, name) for name in names} for row in found]
        return rows

    def compiling(self) -> list[dict[str, Any]]:
        """What ``torch.compile`` and CUDA graphs would gain: worth an engine of its own from 15 %."""
        rows = []
        for model in self.models[:1] if self.toy else (DEFAULT_MODEL, "random/discogs-maest-30s-pw-129e"):
            tagger = load_model(model, device=str(self.device))
            mel = tagger.frontend(_noise(tagger, 2 if self.toy else 32).to(self.device))
            plain = lambda tagger=tagger, mel=mel: tagger(mel).logits  # noqa: E731
            row: dict[str, Any] = {"model": model, "batch": len(mel), "plain_ms": _median_ms(plain, self.device)}
            if self.device.type == "cuda":
                row["graph_ms"] = _median_ms(_graph(plain), self.device)
            if not self.toy:
                for block in cast(nn.ModuleList, tagger.backbone.blocks):
                    block.compile()  # the blocks alone: a plan is Python
                row["compiled_ms"] = _median_ms(plain, self.device)
            rows.append(row)
        return rows

    @torch.inference_mode()
    def memory(self) -> dict[str, Any]:
        """A batch that does not fit is halved, and the scores stay."""
        if self.device.type != "cuda":
            return {"skipped": "needs a GPU, whose memory can be held down"}
        tagger = load_model("random/discogs-maest-10s-pw-129e", device=str(self.device))
        segments = _segments(tagger, 8) * 64
        whole = Extractor(tagger, Analysis(model="any"), batch_size=8)(segments[:8]).scores
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(self.device).total_memory
        torch.cuda.set_per_process_memory_fraction(2.0 * 2**30 / total)
        try:
            extractor = Extractor(tagger, Analysis(model="any"), batch_size=512)
            halved = extractor(segments).scores
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        assert whole is not None and halved is not None
        worst = float(np.abs(halved[:8] - whole).max())
        self.hold("scores of a halved batch, largest difference", worst, BF16_BOUND)
        if extractor.batch_size >= 512:
            self.failures.append("a batch of 512 fitted into 2 GiB: nothing was halved")
        return {"batch_asked": 512, "batch_found": extractor.batch_size, "largest_difference": worst}


PARTS = ("parity", "tags", "memory", "compiling", "throughput", "library")


@contextmanager
def exact_float32() -> Iterator[None]:
    """TF32 off: products of float32 are float32."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@torch.inference_mode()
def _logits(tagger: Tagger, wave: Tensor, plan: str) -> Tensor:
    mel = tagger.frontend(wave.to(tagger.device))
    return tagger(mel, parse_plan(plan if tagger.grid else None)).logits.float().cpu()


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _noise(tagger: Tagger, n_clips: int) -> Tensor:
    """(n_clips, samples) of pink-like noise, one segment each."""
    n_samples = round(tagger.card.segment_s * tagger.frontend.sample_rate)
    white = torch.randn(n_clips, n_samples, generator=torch.Generator().manual_seed(0))
    return (white.cumsum(dim=1) - white.cumsum(dim=1).mean(dim=1, keepdim=True)).clamp(-50, 50) / 100 + 0.05 * white


def _segments(tagger: Tagger, n: int) -> list[Segment]:
    track, length_s = Track("", "", "", 0, 0), tagger.card.segment_s
    waves = _noise(tagger, n).clamp(-1, 1).numpy()
    return [Segment(track, index, 0.0, length_s, wave) for index, wave in enumerate(waves)]


def _make_library(folder: Path, n_tracks: int) -> float:
    """Tracks of 12 s cut from examples/music at different places, each with other audio; their seconds together."""
    sources = [audio for path in sorted(MUSIC.iterdir()) if (audio := _read(path)) is not None]

    def cut(number: int) -> float:
        wave, rate = sources[number % len(sources)]
        begin = (number * 977) % max(1, len(wave) - _TRACK_S * rate)
        piece = wave[begin : begin + _TRACK_S * rate]
        soundfile.write(folder / f"{number:05d}.flac", piece, rate)
        return len(piece) / rate

    with ThreadPoolExecutor() as threads:
        return sum(threads.map(cut, range(n_tracks)))


def _read(path: Path) -> tuple[np.ndarray, int] | None:
    try:
        return soundfile.read(path, dtype="float32")
    except soundfile.LibsndfileError:
        return None  # a format of the other decoder


def _graph(run: Callable[[], Tensor]) -> Callable[[], None]:
    """``run`` as a CUDA graph that is replayed."""
    with torch.inference_mode():
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                run()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
    return graph.replay


def _median_ms(run: Callable[[], Any], device: torch.device, repeats: int = 20) -> float:
    times = []
    with torch.inference_mode():
        for number in range(repeats + 3):
            if device.type == "cuda":
                torch.cuda.synchronize()
            began = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number >= 3:
                times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--toy", action="store_true", help="small models and few tracks: a rehearsal")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {', '.join(PARTS)}")
    parser.add_argument("--output", type=Path, default=Path("gpu-check.json"))
    arguments = parser.parse_args()
    check = Check(arguments.device, toy=arguments.toy)
    result: dict[str, Any] = {"machine": describe(check.device)}
    for part in arguments.only.split(","):
        began = time.perf_counter()
        try:
            result[part] = getattr(check, part)()
        except Exception:
            check.failures.append(f"{part}: {traceback.format_exc(limit=-3)}")
        took_s = time.perf_counter() - began
        print(f"== {part}, {took_s:.1f} s\n{json.dumps(result.get(part), indent=1, default=str)}", flush=True)
        arguments.output.write_text(json.dumps(result | {"failures": check.failures}, indent=1, default=str))
    print("\n".join(check.failures) or "all bounds hold")
    return 1 if check.failures else 0


if __name__ == "__main__":
    sys.exit(main())
