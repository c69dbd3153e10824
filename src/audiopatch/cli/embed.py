"""``audiopatch embed``: a vector for every track."""

from __future__ import annotations

import typer

from audiopatch.cli import options as o
from audiopatch.zoo import DEFAULT_MODEL

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False)


@app.command()
def embed(
    inputs: o.Inputs = None,
    files_from: o.FilesFrom = None,
    null: o.Null = False,
    include: o.Include = None,
    exclude: o.Exclude = None,
    model: o.Model = DEFAULT_MODEL,
    patchout: o.Patchout = None,
    block: o.Blocks = None,
    tokens: o.Tokens = "cls,dist,avg",
    segments: o.Segments = None,
    overlap: o.Overlap = 0.5,
    timeline: o.Timeline = False,
    vectors: o.Vectors = "float16",
    seed: o.Seed = 0,
    output: o.Output = "audiopatch.out",
    file_format: o.FileFormat = o.Format.parquet,
    force: o.Force = False,
    retry_failed: o.RetryFailed = False,
    watch: o.Watch = False,
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
    """Embed tracks: one vector each, the mean over its segments.

    [bold]audiopatch embed ~/Music -o vectors[/bold]           the features before the head
    [bold]audiopatch embed ~/Music --block 7 -o stacks[/bold]  the tokens after block 7
    [bold]audiopatch embed mix.flac --timeline -o mix[/bold]   also one vector per segment
    """
    from audiopatch.cli.analyse import Request, analyse
    from audiopatch.inference.settings import Analysis, Runtime

    analyse(
        Request(
            verb="Embedded",
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
        ),
        Analysis(
            model=model,
            tags=False,
            embedding=True,
            stack=o.parse_stack(block, tokens),
            timeline=timeline,
            patchout=patchout,
            overlap=overlap,
            n_segments=segments,
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
