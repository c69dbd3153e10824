"""``audiopatch tag``: the best labels of every track; ``audiopatch embed``: a vector for every track."""

from __future__ import annotations

from dataclasses import replace

from audiopatch.cli import options as o
from audiopatch.inference.settings import Analysis, Runtime, Stack


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


_OF_TAGS = ("top", "min_score", "thresholds", "pool", "dense", "embeddings", "show")


@o.with_options(without=_OF_TAGS)
def embed(
    sources: o.Sources,
    analysis: Analysis,
    target: o.Target,
    runtime: Runtime,
    talk: o.Talk,
    block: o.Blocks = None,
    tokens: o.Tokens = o.ALL_TOKENS,
) -> None:
    """Embed tracks: one vector each, the mean over its segments.

    [bold]audiopatch embed ~/Music -o vectors[/bold]           the features before the head
    [bold]audiopatch embed ~/Music --block 2 -o stacks[/bold]  the tokens after block 2
    [bold]audiopatch embed mix.flac --timeline -o mix[/bold]   also one vector per segment
    """
    from audiopatch.cli.analyse import analyse

    wanted = replace(analysis, tags=False, embeddings=True, stack=Stack.parse(block, tokens))
    analyse("Embedded", sources, wanted, replace(target, show=False), runtime, talk)
