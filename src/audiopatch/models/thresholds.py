"""From which score on a label is meant, and how that was measured: what holds for scores made one way only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from audiopatch.errors import UsageError


@dataclass(frozen=True)
class Thresholds:
    """From which score on each label is meant: ``values``, measured on a split of a data set at some ``date``.

    They hold for scores made the same way: with ``plan`` as plans spell themselves, and with that ``pool`` and
    ``overlap`` of the segments. All of this is None or empty where a card of an earlier version does not tell.
    """

    values: Mapping[str, float]
    plan: str | None = None
    pool: str | None = None
    overlap: float | None = None
    dataset: str = ""
    split: str = ""
    date: str = ""

    def __post_init__(self) -> None:
        if any(type(value) not in (int, float) or not math.isfinite(value) for value in self.values.values()):
            raise TypeError("'values' are one finite number per label")

    @property
    def origin(self) -> str:
        """``with --patchout F3T2 --pool mean --overlap 0.5, on gtzan (valid), 2026-11-26``."""
        if self.plan is None:
            return "in a way that the card does not tell"
        place = f", on {self.dataset} ({self.split})" if self.dataset else ""
        return f"with {_spelled(self.plan, self.pool, self.overlap)}{place}{self.date and f', {self.date}'}"

    @property
    def conditions(self) -> tuple[str | None, str | None, float | None, str, str]:
        """What another measurement must share to take this one's place."""
        return self.plan, self.pool, self.overlap, self.dataset, self.split


def thresholds_for(measured: Sequence[Thresholds], plan: str, pool: str, overlap: float) -> Thresholds | None:
    """The thresholds that hold for scores made so, ``plan`` as plans spell themselves (``str(plan)``).

    Those of several data sets are one, the latest for each label. Where none is told how it was measured,
    they are taken for what they are, with ``plan`` None. None where there are none, or only some for other scores.
    """
    known = [one for one in measured if one.plan is not None]
    fitting = [one for one in known if (one.plan, one.pool) == (plan, pool) and math.isclose(one.overlap or 0, overlap)]
    if not fitting:
        return measured[-1] if measured and not known else None
    values = {label: value for one in fitting for label, value in one.values.items()}
    names = {field: ", ".join(dict.fromkeys(getattr(one, field) for one in fitting)) for field in ("dataset", "split")}
    return replace(fitting[-1], values=values, **names)


def require_thresholds(
    measured: Sequence[Thresholds], plan: str, pool: str, overlap: float, *, model: str
) -> Thresholds:
    """``thresholds_for``; where there are none, a UsageError that says what there is and how to measure them."""
    found = thresholds_for(measured, plan, pool, overlap)
    if found is not None:
        return found
    how = f"audiopatch evaluate DATASET DIR --model MODEL {_spelled(plan, pool, overlap)}"
    if not measured:
        raise UsageError(f"{model} has no thresholds yet; measure them on labelled clips: {how}")
    known = "; ".join(one.origin for one in measured if one.plan is not None)
    raise UsageError(
        f"the thresholds of {model} were measured {known}; they say nothing about scores with "
        f"{_spelled(plan, pool, overlap)}. Run it as it was measured, or measure again: {how}"
    )


def _spelled(plan: str, pool: str | None, overlap: float | None) -> str:
    return f"--patchout {plan} --pool {pool} --overlap {overlap:g}"
