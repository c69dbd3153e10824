"""A backbone for one plan as a plain function of tensors: what other engines and ONNX can take over."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from audiopatch.errors import UsageError
from audiopatch.models.features import Features
from audiopatch.reducers.chain import steps_of
from audiopatch.reducers.plan import Plan


class Traceable(nn.Module):
    """mel (B, n_mels, frames) -> (pooled (B, E), then the stack (B, P + 1, D) of each block in ``taps``)."""

    def __init__(self, backbone: nn.Module, plan: Plan, taps: Sequence[int], last: int | None):
        super().__init__()
        self.backbone = backbone
        self.plan: Plan = plan
        self.taps: tuple[int, ...] = tuple(taps)
        self.last: int | None = last

    def forward(self, mel: Tensor) -> tuple[Tensor, ...]:
        features = self.backbone(mel, self.plan, self.taps, last=self.last)
        return (features.pooled, *(features.stacks[block] for block in self.taps))

    def features(self, outputs: Sequence[Tensor]) -> Features:
        """What ``forward`` gave, with its names again."""
        return Features(outputs[0], None, dict(zip(self.taps, outputs[1:], strict=True)))


def check_fixed(plan: Plan) -> None:
    """UsageError for a plan in which chance has a part: whoever runs the graph cannot seed it."""
    if plan.draws:
        raise UsageError(f"patchout {plan} draws by chance, which cannot be baked in; take a fixed one, such as F3T2")


def trace(module: nn.Module, mel: Tensor) -> torch.export.ExportedProgram:
    """The graph of ``module`` for inputs of the shape of ``mel``."""
    with torch.no_grad():
        return torch.export.export(module, (mel,))


def identity(backbone: nn.Module) -> str:
    """16 hex digits of the weights and of what is done with them, for the names of files derived from both."""
    digest = hashlib.blake2b(repr(backbone.config).encode(), digest_size=8)
    for name, value in sorted(backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def code_of(plan: Plan) -> str:
    """16 hex digits of the files of the user's own reducers, which change while their names in a plan stay; or ""."""
    modules = {type(step).__module__ for reducer in plan.values() for step in steps_of(reducer)}
    files = [getattr(sys.modules[name], "__file__", None) for name in sorted(modules) if not _is_ours(name)]
    sources = [Path(file).read_bytes() for file in files if file]
    return hashlib.blake2b(b"".join(sources), digest_size=8).hexdigest() if sources else ""


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "audiopatch"
