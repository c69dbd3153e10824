"""``audiopatch help``: what does not fit into the help of one option."""

from __future__ import annotations

from typing import Annotated

import typer

from audiopatch.catalog import unknown_name
from audiopatch.cli import config, console
from audiopatch.cli import options as o
from audiopatch.errors import UsageError

TOPICS = {
    "plans": """A plan says which patches of the spectrogram a model leaves out, for speed. Blocks count from 1; 0 is
the grid before block 1. Plans are joined with +.

  F3T2                     drop 3 rows of frequency, keep every 2nd column of time
  structured:F3T30         drop 3 rows and 30 columns, drawn by chance
  random:0.5               drop half of the patches, drawn by chance
  topk:0.7                 keep the best 70 % by attention of the CLS token, at 1/4, 1/2, 3/4 of the depth
  topk:0.7@1,2             the same in these blocks
  topk:0.7/intensity       the same by loudness (also /token, /variation)
  adaptive:F3T30           drop the least attended rows and columns, in the same stages
  tome:20                  merge 20 pairs of similar tokens, at the same stages
  F3T2+topk:0.5            one after the other
  my_module:MyReducer      a reducer of your own

audiopatch inspect song.mp3 --patchout PLAN shows what a plan keeps; audiopatch bench what it gains and costs.""",
    "tables": """A run writes a folder, audiopatch.out without -o, that every Parquet reader opens.

  tracks/      one row per file: path, length, codec, whether damaged, and a hash of the audio
  tags/        one row per track and label: rank, label, parent, leaf, score (0 to 1), the best segment's score
  embeddings/  one row per track, with --embeddings, embed or --dense: the vector, and all scores
  segments/    one row per segment, with --timeline
  errors/      one row per file that failed or is damaged: code, stage, message
  labels       the labels of the model: label, parent, leaf, group
  run.json     the parameters and what happened; enough to repeat the run

duckdb -c "select path, label, score from 'audiopatch.out/tags/*.parquet' where rank = 1"
python -c "import audiopatch; print(audiopatch.read('audiopatch.out').tags)"
""",
    "exit-codes": """0    fine, or nothing to do
1    an error inside audiopatch: please report it
2    usage: an option, an argument or a configuration file that cannot work
3    finished, and some files failed (see --fail-on)
4    no audio found
5    weights are missing, corrupt or offline
6    the machine lacks something: a device, a decoder, memory, room on the disk, a package
7    the output was made with other parameters, holds other files, or is in use
130  stopped by Ctrl-C; 143 by SIGTERM. A watch that is stopped while it waits ends with 0""",
    "config": """What is typed wins over the environment, that over ./audiopatch.toml, that over your own file:

  user file    {user}
  environment  AUDIOPATCH_MODEL=... is the default of --model, and so on for every option
  cache        {cache} (AUDIOPATCH_CACHE names another place)

  model = "audiopatch-music"     # for every command that has --model
  [tag]
  top = 20                       # for tag alone; names are those of the options, with _ for -

audiopatch config init writes a commented file, config show says where each value is from.""",
    "environment": """AUDIOPATCH_NAME            the default of --name
AUDIOPATCH_CACHE           where downloaded weights and decoded training audio are kept
AUDIOPATCH_PATIENCE_S      for how long a failing request to a store is repeated (60)
AUDIOPATCH_ALLOW_HTTP=1    take music and tables from stores without https
HF_HOME, HF_HUB_OFFLINE    as in huggingface_hub
OMP_NUM_THREADS            threads of the model, as --threads
NO_COLOR                   no colours
XDG_CONFIG_HOME            where your own configuration file is""",
}


def topic(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC", help="A topic, or a command.", autocompletion=lambda: [*TOPICS, *o.complete_commands()]
        ),
    ] = None,
) -> None:
    """Read about plans, tables, exit codes, configuration and the environment.

    [bold]audiopatch help[/bold]             the topics
    [bold]audiopatch help plans[/bold]       how to write a patchout
    [bold]audiopatch help exit-codes[/bold]  what each means
    """
    from audiopatch.cli.main import COMMANDS, find_command

    if name is None:
        typer.echo("Topics, as in: audiopatch help plans\n\n  " + "\n  ".join(TOPICS))
    elif name in TOPICS:
        from audiopatch.storage.place import cache_folder

        places = {"{user}": str(config.user_file()), "{cache}": str(cache_folder())}
        text = TOPICS[name]
        for mark, place in places.items():
            text = text.replace(mark, console.printable(place))
        typer.echo(text.rstrip())
    elif name in COMMANDS:
        command = find_command(name)
        with command.make_context(f"audiopatch {name}", [], resilient_parsing=True) as ctx:
            typer.echo(command.get_help(ctx))
    else:
        raise UsageError(unknown_name("topic", name, (*TOPICS, *COMMANDS)))
