"""A Tagger as an ONNX file, for other runtimes and languages."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from audiopatch.errors import UsageError, missing_extra
from audiopatch.models.engines.traced import check_fixed
from audiopatch.models.tagger import Tagger
from audiopatch.reducers.plan import NO_REDUCTION, Plan


class _MelToScores(nn.Module):
    """mel (B, n_mels, frames) -> scores (B, C), features (B, E), then the stacks of ``taps``."""

    def __init__(self, tagger: Tagger, plan: Plan, taps: Sequence[int]):
        super().__init__()
        self.tagger = tagger
        self.plan, self.taps = plan, tuple(taps)

    def forward(self, mel: Tensor) -> tuple[Tensor, ...]:
        result = self.tagger(mel, self.plan, self.taps)
        return (self.tagger.scores(result.logits), result.features, *(result.stacks[block] for block in self.taps))


def export_onnx(tagger: Tagger, path: Path, plan: Plan = NO_REDUCTION, taps: Sequence[int] = ()) -> None:
    """Write float32 ONNX: ``mel`` (batch, n_mels, frames of one segment) -> ``scores``, ``features``, ``stack7``, ...

    The plan is baked in. Labels, front-end and licence go into the file's metadata. A plan that draws by chance and a
    tagger on another engine or in another dtype are a UsageError, missing packages an EnvironmentProblem.
    """
    check_fixed(plan)
    if tagger.engine != "torch" or tagger.dtype != torch.float32:
        raise UsageError("ONNX is exported from float32 weights; load the model with --engine torch --dtype float32")
    try:
        import onnxscript  # noqa: F401  torch.onnx uses it
    except ImportError as error:
        raise missing_extra("export to ONNX", "onnx") from error
    frontend = tagger.frontend
    n_frames = frontend.frames_of(round(tagger.card.segment_s * frontend.sample_rate))
    names = ["scores", "features", *(f"stack{block}" for block in taps)]
    for insides in ("torch.onnx", "onnxscript"):
        logging.getLogger(insides).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.onnx about its own insides
        program = torch.onnx.export(
            _MelToScores(tagger, plan, taps).eval(),
            (torch.zeros(2, frontend.n_mels, n_frames, device=tagger.device),),
            input_names=["mel"],
            output_names=names,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            dynamo=True,
            verbose=False,
        )
    metadata = {
        "model": tagger.card.name,
        "licence": tagger.card.licence,
        "weights_sha256": tagger.weights_sha256,
        "frontend": tagger.card.frontend.name,
        "sample_rate": str(frontend.sample_rate),
        "segment_s": str(tagger.card.segment_s),
        "patchout": str(plan),
        "labels": json.dumps(tagger.labels, ensure_ascii=False),
    }
    assert program is not None  # dynamo=True gives one
    program.model.metadata_props.update(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(path)
