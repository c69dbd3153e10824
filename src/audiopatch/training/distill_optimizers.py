"""Muon for the matrices inside the blocks, AdamW for everything else."""

from __future__ import annotations

from typing import Any

import torch

from audiopatch.training.distill_config import DistillConfig
from audiopatch.training.student import Student


def build_optimizers(student: Student, config: DistillConfig) -> list[torch.optim.Optimizer]:
    """Two optimizers over all parameters of ``student``; each group keeps its unscheduled rate as ``full_lr``.

    Muon (Jordan et al. 2024) orthogonalises the update of a matrix; scaled to AdamW's step size (Liu et al. 2025,
    "Muon is scalable for LLM training", section 2.2) it takes the same learning rates and learns from fewer segments.
    """
    backbone: Any = student.tagger.backbone
    matrices = [p for block in backbone.blocks for p in block.parameters() if p.ndim == 2]
    inside = {id(parameter) for parameter in matrices}
    rest = [parameter for parameter in student.parameters() if id(parameter) not in inside]
    muon = torch.optim.Muon(
        matrices, lr=config.lr_matrices, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(rest, lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.98))
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return [muon, adamw]
