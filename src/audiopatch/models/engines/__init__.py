"""What computes the network: each engine prepares a Tagger in place, and everyone uses the Tagger as before.

An engine is ``prepare(tagger, dtype)``; ``dtype`` is one of ``DTYPES``, and one it cannot do is a UsageError.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from audiopatch.catalog import Catalog

if TYPE_CHECKING:
    from audiopatch.models.tagger import Tagger

ENGINES = Catalog(
    "engine",
    {
        "torch": "audiopatch.models.engines.eager:prepare",
        "openvino": "audiopatch.models.engines.openvino:prepare",
        "auto": "audiopatch.models.engines:prepare_fastest",
    },
)

DTYPES = ("auto", "float32", "bfloat16", "float16", "int8")


def prepare_fastest(tagger: Tagger, dtype: str) -> None:
    """What is fastest among what is exact: OpenVINO for convolutions on a CPU, where it is installed, else torch.

    Its "auto" dtype is float32 on a CPU. In CPU time on a Zen 4 OpenVINO's float32 is 1.2 to 1.6 times as fast as
    torch's for mn04 and the models of the package, with errors of 3e-7; plain transformers are near torch's bound.
    """
    on_cpu, config = tagger.device.type == "cpu", tagger.card.backbone
    convolves = tagger.grid is None or bool(getattr(config, "stem", None))
    name = "openvino" if on_cpu and convolves and find_spec("openvino") else "torch"
    ENGINES.load(name)(tagger, "float32" if on_cpu and dtype == "auto" else dtype)


def available_engines(device: str) -> list[str]:
    """``NAME:DTYPE`` of what can be tried on ``device`` without preparations; nothing emulated."""
    if device.startswith("cuda"):
        return ["torch:bfloat16"]
    from audiopatch.models.processor import processor

    dtype = "bfloat16" if processor().bfloat16 else "float32"
    engines = ("torch", "openvino") if find_spec("openvino") else ("torch",)
    return list(dict.fromkeys(["torch:float32", *(f"{engine}:{dtype}" for engine in engines)]))
