"""``audiopatch tag``: the best labels of every track."""

from __future__ import annotations

from dataclasses import replace

import typer

from audiopatch.cli import options as o
from audiopatch.inference.settings import Analysis, Runtime, Stack

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False)


@app.command()
@o.with_options()
def tag(
    sources: o.Sources,
    analysis: Analysis,
    target: o.Target,
    runtime: Runtime,
    talk: o.Talk,
    block: o.Blocks = None,
    tokens: o.Tokens = o.ALL_TOKENS,
) -> None:
    """Tag tracks: the best labels of each, with scores.

    [bold]audiopatch tag ~/Music[/bold]                        tables in ./audiopatch.out
    [bold]audiopatch tag ~/Music --segments 3 -o quick[/bold]  faster, a little less exact
    [bold]audiopatch tag a.mp3 --format jsonl -o -[/bold]      one JSON line per track
    """
    from audiopatch.cli.analyse import analyse

    stack = Stack.parse(block, tokens)
    wanted = replace(analysis, stack=stack, embeddings=analysis.embeddings or stack is not None)
    analyse("Tagged", sources, wanted, target, runtime, talk)
