"""Other people's networks to compare with, where their packages are installed. Random weights: speed does not mind."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from audiopatch.bench.contender import Case, Contender, Network
from audiopatch.catalog import Catalog
from audiopatch.errors import EnvironmentProblem

BASELINES = Catalog(
    "baseline",
    {
        "efficientat": "audiopatch.bench.baselines:efficientat",
        "musicnn": "audiopatch.bench.baselines:musicnn",
        "efficientnet-b0": "audiopatch.bench.baselines:efficientnet_b0",
        "resnet-50": "audiopatch.bench.baselines:resnet_50",
        "transformers-ast": "audiopatch.bench.baselines:transformers_ast",
        "maest-infer": "audiopatch.bench.baselines:maest_infer",
        "maest-infer-block7": "audiopatch.bench.baselines:maest_infer_block7",
        "hear21passt": "audiopatch.bench.baselines:hear21passt",
    },
)


@dataclass(frozen=True)
class Baseline:
    """A network and the input it takes: mel (batch, *shape) for ``segment_s`` seconds; ``block`` where it stops.

    ``family`` names the cards of our zoo that compute the same network.
    """

    net: nn.Module
    forward: Callable[[nn.Module, Tensor], object]
    shape: tuple[int, ...]
    segment_s: float
    block: int | None = None
    family: str = ""


def build_baseline(name: str, *, device: torch.device, batch: int = 1) -> Contender:
    """A baseline as its authors run it, in float32, ``batch`` segments at once; where it cannot be imported an
    EnvironmentProblem."""
    try:
        with redirect_stdout(StringIO()):  # hear21passt greets there
            baseline: Baseline = BASELINES.load(name)()
    except (ImportError, OSError, RuntimeError) as error:  # torchaudio raises the latter two next to another torch
        raise EnvironmentProblem(str(error)) from error
    net = baseline.net.eval().requires_grad_(False).to(device)
    mel = torch.randn(batch, *baseline.shape, device=device)

    def run(mel: Tensor) -> None:
        chosen = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")  # torch's default, which their users have
        with torch.inference_mode(), redirect_stdout(StringIO()):
            baseline.forward(net, mel)
        torch.set_float32_matmul_precision(chosen)

    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # it does not count fused attention
        run(mel[:1])
    n_params = sum(parameter.numel() for parameter in net.parameters())
    return Contender(
        Case(name, engine="reference", dtype="float32", batch=batch, block=baseline.block),
        run=lambda: run(mel),
        run_one=lambda: run(mel[:1]),
        n_segments=batch,
        batch=batch,
        segment_s=baseline.segment_s,
        n_params=n_params,
        macs=counter.get_total_flops() // 2,
        network=Network(baseline.family, baseline.segment_s, baseline.block),
    )


def efficientat() -> Baseline:
    """EfficientAT's mn10, of our own zoo, on its 10 s mel."""
    return _own("mn10_as")


def musicnn() -> Baseline:
    """MusiCNN, of our own zoo, on its 3 s mel."""
    return _own("musicnn-msd")


def _own(name: str) -> Baseline:
    from audiopatch.zoo.cards import find_card
    from audiopatch.zoo.load import random_tagger

    net = random_tagger(find_card(name))
    frontend, segment_s = net.frontend, net.card.segment_s
    n_frames = frontend.frames_of(round(segment_s * frontend.sample_rate))
    return Baseline(net, lambda net, mel: net(mel), (frontend.n_mels, n_frames), segment_s)


def efficientnet_b0() -> Baseline:
    """EfficientNet-B0 on MAEST's 30 s mel, one of the CNNs in its figure 3."""
    from transformers import EfficientNetConfig, EfficientNetModel

    b0 = EfficientNetConfig(num_channels=1, width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280)
    return Baseline(EfficientNetModel(b0), lambda net, mel: net(mel), (1, 96, 1875), 30.0)


def resnet_50() -> Baseline:
    """ResNet-50 on MAEST's 30 s mel, one of the CNNs in its figure 3."""
    from transformers import ResNetConfig, ResNetModel

    return Baseline(ResNetModel(ResNetConfig(num_channels=1)), lambda net, mel: net(mel), (1, 96, 1875), 30.0)


def transformers_ast() -> Baseline:
    """AST as ``transformers`` runs it, without its front-end."""
    from transformers import ASTConfig, ASTForAudioClassification

    net = ASTForAudioClassification(ASTConfig(num_labels=527))  # type: ignore[call-arg]
    return Baseline(net, lambda net, mel: net(mel), (1024, 128), 10.24, family="ast")


def maest_infer() -> Baseline:
    """MAEST-30s by its authors' inference package, to logits."""
    return _maest(lambda net, mel: net(mel, melspectrogram_input=True))


def maest_infer_block7() -> Baseline:
    """The same, to the embedding after block 7 (the package counts from 0)."""
    return _maest(lambda net, mel: net(mel, transformer_block=6, melspectrogram_input=True), block=7)


def hear21passt() -> Baseline:
    """PaSST by its authors' inference package, to logits."""
    with _stand_ins({"timm.models._hub": ("download_cached_file",)}):  # for weights, which we do not take
        passt = import_module("hear21passt.models.passt")
    net = passt.get_model("passt_s_swa_p16_128_ap476", pretrained=False)
    return Baseline(net, lambda net, mel: net(mel), (1, 128, 998), 10.0, family="passt")


def _maest(forward: Callable[[nn.Module, Tensor], object], block: int | None = None) -> Baseline:
    with _stand_ins({"torchaudio.transforms": ("Spectrogram", "MelScale")}):  # for mels, which we bring
        package = import_module("maest_infer")
        net = package.get_maest("discogs-maest-30s-pw-129e", pretrained=False)
    return Baseline(net, forward, (96, 1875), 30.0, block=block, family="maest")


@contextmanager
def _stand_ins(wanted: dict[str, tuple[str, ...]]) -> Iterator[None]:
    """Modules that a network's package imports, and that computing it does not use: empty ones where they are missing.

    torchaudio and timm are often not to be had for the torch at hand (some of their releases load libraries of another
    build); a comparison need not end there.
    """
    made: list[str] = []
    for name, attributes in wanted.items():
        try:
            import_module(name)
        except (ImportError, OSError, RuntimeError):
            parts = name.split(".")
            made += (path for n in range(len(parts)) if (path := ".".join(parts[: n + 1])) not in sys.modules)
            sys.modules |= {path: ModuleType(path) for path in made}
            for attribute in attributes:
                setattr(sys.modules[name], attribute, nn.Identity)
    try:
        yield
    finally:
        for path in made:
            del sys.modules[path]
