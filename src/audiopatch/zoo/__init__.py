"""Models by name: their cards, labels, weight readers, and ``load_model``. Importing this imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audiopatch.zoo.cards import CARDS, DEFAULT_MODEL, find_card

if TYPE_CHECKING:
    from audiopatch.models.tagger import Tagger

__all__ = ["CARDS", "DEFAULT_MODEL", "find_card", "load_model"]


def load_model(
    name: str | Path, *, device: str = "auto", dtype: str = "auto", engine: str = "torch", offline: bool = False
) -> Tagger:
    """A ready Tagger: ``load_model("audiopatch-small").tag(wave, sample_rate)``.

    ``name`` is one of ``audiopatch models list``, ``hf://owner/name[@revision]``, a folder or a weights file, which are
    downloaded where they are not cached, unless ``offline``. ``device`` is auto, cpu, cuda or cuda:N, ``dtype`` auto,
    float32, bfloat16, float16 or int8, ``engine`` torch or openvino. UsageError for an unknown name, WeightsError for
    weights that cannot be had, EnvironmentProblem for a device that is not there.
    """
    from audiopatch.zoo.load import load_model as load

    return load(name, device=device, dtype=dtype, engine=engine, offline=offline)
