"""``audiopatch export``: a model for other runtimes, or compiled and calibrated for this machine."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from audiopatch.cli import options as o
from audiopatch.cli.console import print_json, say
from audiopatch.errors import UsageError


@dataclass(frozen=True)
class Exported:
    """What was made of a model: the ONNX file, and whether the int8 program is in the cache now."""

    model: str
    patchout: str
    onnx: str | None
    int8: bool


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A name from 'models list', or a weights file or folder.", autocompletion=o.complete_models
        ),
    ],
    onnx: Annotated[
        str | None, typer.Option("--onnx", metavar="FILE", help="Write mel -> scores, features as ONNX.")
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option("--int8", metavar="FOLDER", help="Make the openvino int8 program from music in this folder."),
    ] = None,
    patchout: o.Patchout = None,
    block: Annotated[int | None, typer.Option("--block", min=1, help="Also the stack after this block.")] = None,
    n_tracks: Annotated[int, typer.Option("--tracks", min=1, help="Calibrate on so many tracks.")] = 64,
    json: o.JsonResult = False,
) -> None:
    """Export a model with a patchout baked in.

    [bold]audiopatch export audiopatch-music --onnx m.onnx[/bold]                  for ONNX
    [bold]audiopatch export audiopatch-music --patchout F3T2 --onnx f.onnx[/bold]  a third
    [bold]audiopatch export audiopatch-small --int8 ~/Music[/bold]                 int8 (CPU)
    """
    if not (onnx or calibrate):
        raise UsageError("nothing to export: give --onnx FILE, --int8 FOLDER, or both")
    from audiopatch.inference.extract import find_plan
    from audiopatch.zoo import load_model

    taps = () if block is None else (block,)
    if onnx:
        from audiopatch.models.engines.onnx import export_onnx

        tagger = load_model(model, device="cpu", dtype="float32")
        export_onnx(tagger, Path(onnx), find_plan(tagger, patchout), taps)
        say(f"wrote {onnx}")
    if calibrate:
        from audiopatch.audio.inputs import Inputs
        from audiopatch.bench.contender import mels_of
        from audiopatch.inference.clips import real_segments

        tagger = load_model(model, device="cpu", engine="openvino", dtype="int8")
        plan = find_plan(tagger, patchout)
        segments = real_segments(tagger, list(islice(Inputs([calibrate]).tracks(), n_tracks)), n_tracks)
        mel = mels_of(tagger, segments)
        for last in dict.fromkeys((None, block)):  # to tag with, and for embed, which goes no further than the block
            tagger.backbone.calibrate(mel, plan, taps, last=last)  # type: ignore[operator]  # the int8 engine's own
        say(f"int8 program for patchout {plan} made from {len(mel)} segments and kept in the cache")
    if json:
        print_json(Exported(model, patchout or "none", onnx, bool(calibrate)))
