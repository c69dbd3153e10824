"""From which score on a label is meant: the thresholds that ``evaluate`` measured and left in the model's card."""

from __future__ import annotations

from audiopatch.errors import UsageError
from audiopatch.models.tagger import Tagger

NEVER = 2.0  # no score reaches it


def label_thresholds(tagger: Tagger) -> tuple[float, ...]:
    """(C,) in the order of the model's labels; one that nobody measured is never meant.

    A model whose card holds no threshold of any of its labels is a UsageError.
    """
    measured = tagger.card.thresholds
    if not any(label in measured for label in tagger.labels):
        raise UsageError(
            f"{tagger.card.name} has no thresholds yet; measure them on labelled clips: "
            f"audiopatch evaluate DATASET DIR --model MODEL"
        )
    return tuple(measured.get(label, NEVER) for label in tagger.labels)
