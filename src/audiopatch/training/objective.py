"""A batch -> its loss: front-end, mixup, masks, network, loss. The one module that the loop wraps and steps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiopatch.models.heads import SeparatedHeads
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import NO_REDUCTION, Plan
from audiopatch.training.clips import Batch, mask_mel
from audiopatch.training.config import Augment


class Objective(nn.Module):
    """The Tagger in training. ``plan`` and ``augment`` are this epoch's, set by the loop."""

    def __init__(self, tagger: Tagger, loss: str, augment: Augment):
        super().__init__()
        self.tagger = tagger
        self.loss = LOSSES[loss]
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


LOSSES = {"bce": bce, "cross_entropy": cross_entropy}
