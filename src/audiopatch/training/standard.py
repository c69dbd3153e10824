"""Standardising regression targets, and doing and undoing it inside a layer so that nobody has to remember."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

LIMIT = 4.0  # standard deviations: a few wild targets must not rule the loss


@dataclass(frozen=True)
class Standard:
    """Mean and standard deviation (C,) of something that a teacher says, measured over a calibration mix."""

    mean: Tensor
    std: Tensor

    @classmethod
    def measure(cls, values: Tensor) -> Standard:
        """values (N, C) -> their Standard; a column that never moves counts as having a deviation of 1."""
        std = values.float().std(dim=0)
        return cls(values.float().mean(dim=0), torch.where(std > 1e-4, std, 1.0))

    def __call__(self, values: Tensor) -> Tensor:
        """values (..., C) -> in standard deviations from the mean, within +-4."""
        return ((values - self.mean) / self.std).clamp(-LIMIT, LIMIT)

    def undo(self, values: Tensor) -> Tensor:
        """values (..., C) in standard deviations -> in the units that were measured."""
        return values * self.std + self.mean

    @torch.no_grad()
    def do_in(self, layer: nn.Linear) -> None:
        """Change ``layer``, which predicts in the teacher's own units, so that it gives standardised values."""
        mean, std = self.mean.to(layer.weight.device), self.std.to(layer.weight.device)
        layer.weight.div_(std[:, None])
        layer.bias.sub_(mean).div_(std)

    @torch.no_grad()
    def undo_in(self, layer: nn.Linear) -> None:
        """Change ``layer``, which predicts standardised values, so that it gives them in the teacher's own units."""
        mean, std = self.mean.to(layer.weight.device), self.std.to(layer.weight.device)
        layer.weight.mul_(std[:, None])
        layer.bias.mul_(std).add_(mean)
