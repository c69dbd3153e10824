"""The optimizer of a run, with weight decay only where it belongs and learning rates that may fall with depth."""

from __future__ import annotations

import re
from collections import defaultdict

import torch
from torch import Tensor, nn

from audiopatch.errors import UsageError
from audiopatch.training.config import Optimizer

_KINDS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
_BLOCK = re.compile(r"\.blocks\.(\d+)\.")
_INPUT = ("patch_embed.", "_token", "pos_embed")


def build_optimizer(module: nn.Module, config: Optimizer) -> torch.optim.Optimizer:
    """Groups of parameters by depth and by whether they decay; ``lr_scale`` is each group's share of the rate."""
    if config.name not in _KINDS:
        raise UsageError(f"unknown optimizer '{config.name}'; choose {', '.join(_KINDS)}")
    trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    depth = 1 + max((int(found[1]) for name, _ in trained if (found := _BLOCK.search(name))), default=-1)
    groups: dict[tuple[float, float], list[Tensor]] = defaultdict(list)
    for name, parameter in trained:
        spared = config.decay_matrices_only and (parameter.ndim < 2 or _is_position(name))
        scale = config.layer_decay ** (depth + 1 - _layer(name, depth))
        groups[scale, 0.0 if spared else config.weight_decay].append(parameter)
    settings = [
        {"params": params, "weight_decay": decay, "lr_scale": scale} for (scale, decay), params in groups.items()
    ]
    return _KINDS[config.name](settings, lr=config.lr, betas=config.betas)


def _layer(name: str, depth: int) -> int:
    """0 for what turns a mel into tokens, then the block's number from 1, ``depth`` + 1 for all that follows."""
    if found := _BLOCK.search(name):
        return int(found[1]) + 1
    return 0 if any(part in name for part in _INPUT) else depth + 1


def _is_position(name: str) -> bool:
    return name.endswith(("_token", "pos_embed"))
