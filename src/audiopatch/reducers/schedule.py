"""Schedules: the plan of every epoch, listed once before training, so that the loop only reads it."""

from __future__ import annotations

import math

from audiopatch.reducers.plan import NO_REDUCTION, Plan


def plans_by_epoch(
    plan: Plan, n_epochs: int, *, start_epoch: int = 0, ramp_epochs: int = 0, before: Plan = NO_REDUCTION
) -> list[Plan]:
    """The plan for each of ``n_epochs`` epochs: keep all before ``start_epoch``, then reduce more along a cosine.

    After ``ramp_epochs`` it is ``plan`` itself (EViT, section 4.1: keep rates fall from 1 by half a cosine). Keep rates
    and the sizes of random and adaptive patchout are scaled; a fixed patchout has no strength and acts from the start.
    ``before``, where it reduces anything, is the plan of the epochs before ``start_epoch``.
    """
    scaled = [plan.scaled(_share(epoch, start_epoch, ramp_epochs)) for epoch in range(n_epochs)]
    return scaled if before == NO_REDUCTION else [before] * min(start_epoch, n_epochs) + scaled[start_epoch:]


def _share(epoch: int, start_epoch: int, ramp_epochs: int) -> float:
    if epoch >= start_epoch + ramp_epochs:
        return 1.0
    done = max(0, epoch - start_epoch) / ramp_epochs if ramp_epochs else 0.0
    return (1 - math.cos(math.pi * done)) / 2
