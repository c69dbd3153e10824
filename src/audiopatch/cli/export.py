"""``audiopatch export``: a model for other runtimes, or compiled and calibrated for this machine."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from audiopatch.cli import options as o
from audiopatch.cli.console import print_json, say
from audiopatch.errors import UsageError


def export(
    model: Annotated[str, typer.Argument(help="A name from 'models list', or a weights file or folder.")],
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

    [bold]audiopatch export passt_20sec --onnx p.onnx[/bold]                  for ONNX runtimes
    [bold]audiopatch export passt_20sec --patchout F3T2 --onnx f.onnx[/bold]  keeps a third
    [bold]audiopatch export passt_20sec --int8 ~/Music[/bold]                 for int8 (CPU)
    """
    if not (onnx or calibrate):
        raise UsageError("nothing to export: give --onnx FILE, --int8 FOLDER, or both")
    from audiopatch.reducers.plan import parse_plan

    plan, taps = parse_plan(patchout), () if block is None else (block,)
    if onnx:
        from audiopatch.models.engines.onnx import export_onnx
        from audiopatch.zoo import load_model

        export_onnx(load_model(model, device="cpu", dtype="float32"), Path(onnx), plan, taps)
        say(f"wrote {onnx}")
    if calibrate:
        from audiopatch.audio.inputs import Inputs
        from audiopatch.bench.contender import mels_of
        from audiopatch.bench.whole import real_segments
        from audiopatch.zoo import load_model

        tagger = load_model(model, device="cpu", engine="openvino", dtype="int8")
        segments = real_segments(tagger, list(islice(Inputs([calibrate]).tracks(), n_tracks)), n_tracks)
        mel = mels_of(tagger, segments)
        for last in dict.fromkeys((None, block)):  # to tag with, and for embed, which goes no further than the block
            tagger.backbone.calibrate(mel, plan, taps, last=last)  # type: ignore[operator]  # the int8 engine's own
        say(f"int8 program for patchout {plan} made from {len(mel)} segments and kept in the cache")
    if json:
        print_json({"model": model, "patchout": str(plan), "onnx": onnx, "int8": bool(calibrate)})
