"""A batch -> its loss -> a step: the module that is trained, weight decay and learning rates."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.errors import UsageError
from audiopatch.models.heads import SeparatedHeads
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import NO_REDUCTION, Plan
from audiopatch.training.clips import Batch, mask_mel
from audiopatch.training.config import Augment, LearningRate, Optimizer

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


def lr_share(schedule: LearningRate, epoch: float) -> float:
    """In 0..1: the rise, then whatever the fall leaves."""
    return _WARMUPS[schedule.warmup](schedule, epoch) * _DECAYS[schedule.decay](schedule, epoch)


def check_schedule(schedule: LearningRate) -> None:
    """A schedule that cannot be is a UsageError, before anything is computed."""
    for kind, table in (("warmup", _WARMUPS), ("decay", _DECAYS)):
        if getattr(schedule, kind) not in table:
            raise UsageError(f"unknown learning-rate {kind} '{getattr(schedule, kind)}'; choose {', '.join(table)}")


def _linear_rise(schedule: LearningRate, epoch: float) -> float:
    return min(1.0, epoch / schedule.warmup_epochs) if schedule.warmup_epochs else 1.0


def _exponential_rise(schedule: LearningRate, epoch: float) -> float:
    if epoch >= schedule.warmup_epochs:
        return 1.0
    return math.exp(-5.0 * (1 - epoch / schedule.warmup_epochs) ** 2)  # PaSST and MAEST


def _fallen(schedule: LearningRate, epoch: float) -> float:
    """How far the fall is, in 0..1."""
    return min(1.0, max(0.0, (epoch - schedule.decay_start) / schedule.decay_epochs))


def _linear_fall(schedule: LearningRate, epoch: float) -> float:
    return 1 + _fallen(schedule, epoch) * (schedule.last_share - 1)


def _cosine_fall(schedule: LearningRate, epoch: float) -> float:
    left = (1 + math.cos(math.pi * _fallen(schedule, epoch))) / 2
    return schedule.last_share + left * (1 - schedule.last_share)


def _steps(schedule: LearningRate, epoch: float) -> float:
    """AST: times ``factor`` at ``decay_start`` and every ``step_epochs`` after it."""
    n = max(0, (math.floor(epoch) - math.floor(schedule.decay_start)) // schedule.step_epochs + 1)
    return schedule.factor ** (n if epoch >= schedule.decay_start else 0)


_WARMUPS = {"linear": _linear_rise, "exponential": _exponential_rise}
_DECAYS = {"none": lambda schedule, epoch: 1.0, "linear": _linear_fall, "cosine": _cosine_fall, "steps": _steps}


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits, target, known, (B, C) each -> a scalar


class Objective(nn.Module):
    """The Tagger in training. ``plan`` and ``augment`` are this epoch's, set by the loop."""

    def __init__(self, tagger: Tagger, loss: str, augment: Augment):
        super().__init__()
        self.tagger = tagger
        self.loss: Loss = LOSSES[loss]
        self.augment = augment
        self.plan: Plan = NO_REDUCTION

    def forward(self, batch: Batch) -> Tensor:
        """The batch's mean loss, a scalar in float32."""
        prediction = self.tagger(self._mel(batch), self.plan)
        if batch.teacher is None:
            return self.loss(prediction.logits, batch.target, batch.known)
        head = self.tagger.head
        assert isinstance(head, SeparatedHeads)
        cls, dist = head.both(prediction.features)
        own = self.loss(cls.float(), batch.target, batch.known)
        taught = self.loss(dist.float(), batch.teacher, torch.ones_like(batch.known))
        return (own + taught) / 2  # MAEST, section 3.4

    @torch.no_grad()
    def _mel(self, batch: Batch) -> Tensor:
        """(B, n_mels, frames), the other clips mixed in, then masked."""
        mel = self.tagger.frontend(batch.wave)
        if batch.other is not None:
            share = batch.share[:, None, None]
            mel = share * mel + (1 - share) * self.tagger.frontend(batch.other)
        return mask_mel(mel, self.augment, batch.rngs)


def bce(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Binary cross entropy, (B, C) each: unknown answers count as zero loss, and in the mean (PaSST on OpenMIC).

    A mean over everything, not over what is known, makes the loss of a batch the mean of its parts' losses.
    """
    return (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * known).mean()


def cross_entropy(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Softmax cross entropy with the target's own shares (mixup gives two labels a share each)."""
    return F.cross_entropy(logits, target)


LOSSES: dict[str, Loss] = {"bce": bce, "cross_entropy": cross_entropy}
