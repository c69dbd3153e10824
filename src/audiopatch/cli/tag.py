"""``audiopatch tag``: the best labels of every track."""

from __future__ import annotations

from typing import Annotated

import typer

from audiopatch.cli import options as o
from audiopatch.zoo import DEFAULT_MODEL

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False)


@app.command()
def tag(
    inputs: o.Inputs = None,
    files_from: o.FilesFrom = None,
    null: o.Null = False,
    include: o.Include = None,
    exclude: o.Exclude = None,
    model: o.Model = DEFAULT_MODEL,
    patchout: o.Patchout = None,
    top: Annotated[
        int, typer.Option("--top", "-k", help="Tags per track; 0 keeps all.", min=0, rich_help_panel=o.WHAT)
    ] = 10,
    min_score: Annotated[
        float, typer.Option("--min-score", help="Leave out tags below this score.", rich_help_panel=o.WHAT)
    ] = 0.0,
    thresholds: Annotated[
        bool,
        typer.Option(
            "--thresholds",
            help="Keep only tags that reach the threshold which 'evaluate' measured for their label.",
            rich_help_panel=o.WHAT,
        ),
    ] = False,
    pool: Annotated[
        str, typer.Option("--pool", help="Segments to track: mean, max, median, noisy-or.", rich_help_panel=o.WHAT)
    ] = "mean",
    segments: o.Segments = None,
    overlap: o.Overlap = 0.5,
    timeline: o.Timeline = False,
    dense: Annotated[
        bool, typer.Option("--dense", help="Also write every label's score as a vector.", rich_help_panel=o.WHAT)
    ] = False,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Also write embeddings, in the same pass.", rich_help_panel=o.WHAT)
    ] = False,
    block: o.Blocks = None,
    tokens: o.Tokens = "cls,dist,avg",
    vectors: o.Vectors = "float16",
    seed: o.Seed = 0,
    output: o.Output = "audiopatch.out",
    file_format: o.FileFormat = o.Format.parquet,
    force: o.Force = False,
    retry_failed: o.RetryFailed = False,
    watch: o.Watch = False,
    show: Annotated[
        bool | None,
        typer.Option(
            "--show/--no-show",
            help="Print the tags as a table at the end.",
            show_default="on a terminal, up to 20 tracks",
            rich_help_panel=o.OUTPUT,
        ),
    ] = None,
    fail_on: o.FailOnOption = o.FailOn.any,
    json: o.Json = False,
    offline: o.Offline = False,
    runner: o.Runner = "local",
    address: o.Address = "local",
    device: o.Devices = "auto",
    dtype: o.Dtype = "auto",
    engine: o.Engine = "torch",
    batch: o.Batch = None,
    workers: o.Workers = None,
    threads: o.Threads = None,
    max_memory: o.MaxMemory = None,
    decode_timeout: o.DecodeTimeout = 120.0,
    progress: o.Progress = o.ProgressKind.auto,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Tag tracks: the best labels of each, with scores.

    [bold]audiopatch tag ~/Music[/bold]                        tables in ./audiopatch.out
    [bold]audiopatch tag ~/Music --segments 3 -o quick[/bold]  faster, a little less exact
    [bold]audiopatch tag a.mp3 --format jsonl -o -[/bold]      one JSON line per track
    """
    from audiopatch.cli.analyse import Request, analyse
    from audiopatch.inference.settings import Analysis, Runtime

    analyse(
        Request(
            verb="Tagged",
            inputs=inputs or (),
            files_from=files_from,
            null=null,
            include=include or (),
            exclude=exclude or (),
            output=output,
            watch=watch,
            file_format=file_format,
            fail_on=fail_on,
            as_json=json,
            progress=progress,
            quiet=quiet,
            verbose=verbose,
            show=show,
        ),
        Analysis(
            model=model,
            tags=True,
            embedding=embeddings or block is not None,
            stack=o.parse_stack(block, tokens),
            dense=dense,
            timeline=timeline,
            top_k=top or None,
            min_score=min_score,
            thresholds=thresholds,
            patchout=patchout,
            overlap=overlap,
            n_segments=segments,
            pool=pool,
            vectors=vectors,
            seed=seed,
        ),
        Runtime(
            runner=runner,
            address=address,
            offline=offline,
            device=device,
            dtype=dtype,
            engine=engine,
            batch_size=batch,
            workers=workers,
            threads=threads,
            max_memory_mb=o.megabytes(max_memory),
            decode_timeout_s=decode_timeout,
            force=force,
            retry_failed=retry_failed,
        ),
    )
