"""What computes the network: each engine prepares a Tagger in place, and everyone uses the Tagger as before.

An engine is ``prepare(tagger, dtype)``; ``dtype`` is one of ``DTYPES``, and one it cannot do is a UsageError.
"""

from importlib.util import find_spec

from audiopatch.catalog import Catalog

ENGINES = Catalog(
    "engine",
    {
        "torch": "audiopatch.models.engines.eager:prepare",
        "openvino": "audiopatch.models.engines.openvino:prepare",
    },
)

DTYPES = ("auto", "float32", "bfloat16", "float16", "int8")


def available_engines(device: str) -> list[str]:
    """``NAME:DTYPE`` of what can be tried on ``device`` without preparations; nothing emulated."""
    if device.startswith("cuda"):
        return ["torch:bfloat16"]
    from audiopatch.models.processor import processor

    dtype = "bfloat16" if processor().bfloat16 else "float32"
    engines = ("torch", "openvino") if find_spec("openvino") else ("torch",)
    return list(dict.fromkeys(["torch:float32", *(f"{engine}:{dtype}" for engine in engines)]))
