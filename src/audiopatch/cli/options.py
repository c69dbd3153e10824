"""The options that commands share: names, help and panels, each defined once, and how their values are written."""

from __future__ import annotations

import re
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from audiopatch.errors import UsageError

if TYPE_CHECKING:
    from audiopatch.inference.settings import Stack

INPUT, WHAT, MODEL, OUTPUT, MACHINE, TALK = "Inputs", "What to compute", "Model", "Output", "Machine", "Progress"


class Format(StrEnum):
    parquet = "parquet"
    jsonl = "jsonl"
    csv = "csv"


class FailOn(StrEnum):
    any = "any"
    all = "all"
    never = "never"


class ProgressKind(StrEnum):
    auto = "auto"
    bar = "bar"
    plain = "plain"
    json = "json"
    none = "none"


Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        help="Files, folders, globs, m3u/m3u8/txt/csv lists; here, or as s3://bucket/music.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
FilesFrom = Annotated[
    str | None,
    typer.Option(
        "--files-from", metavar="FILE|-", help="Read more inputs from a file, one per line.", rich_help_panel=INPUT
    ),
]
Null = Annotated[
    bool, typer.Option("--null", "-0", help="--files-from is separated by NUL, not by lines.", rich_help_panel=INPUT)
]
Include = Annotated[
    list[str] | None,
    typer.Option("--include", metavar="GLOB", help="Take only files that match.", rich_help_panel=INPUT),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="Leave out files that match.", rich_help_panel=INPUT),
]

Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="A name from 'models list', or a weights file or folder.", rich_help_panel=MODEL
    ),
]
Patchout = Annotated[
    str | None,
    typer.Option(
        "--patchout",
        metavar="PLAN",
        help="Drop tokens for speed. F3T2: drop 3 rows of frequency, keep every 2nd column of time. "
        "topk:0.7@4,7,10: keep the best 70 % in these blocks by CLS attention (or /token, /intensity, /variation). "
        "adaptive:F3T120: drop the least attended rows and columns in stages. structured:F3T90, random:0.5: by chance. "
        "tome:60@1-12: merge similar tokens. MODULE:CLASS: a reducer of your own. Join with +, as in F3T2+topk:0.7@7.",
        rich_help_panel=MODEL,
    ),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Never touch the network: weights must be cached.", rich_help_panel=MODEL)
]
Runner = Annotated[
    str,
    typer.Option("--runner", help="local, or ray: decoders and models on a Ray cluster.", rich_help_panel=MACHINE),
]
Address = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="auto|local|HOST:PORT",
        help="With --runner ray: the cluster this machine belongs to, one of its own, or the one whose head is there.",
        rich_help_panel=MACHINE,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device", help="auto, cpu, cuda or cuda:N; one that is not there is an error.", rich_help_panel=MACHINE
    ),
]
Devices = Annotated[
    str,
    typer.Option(
        "--device",
        "--devices",
        help="auto, cpu, cuda or cuda:N; several as in cuda:0,cuda:1, or all, a model on each (with Ray). "
        "One that is not there is an error.",
        rich_help_panel=MACHINE,
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="auto, float32, bfloat16, float16 or int8 (openvino); auto is bfloat16 on a GPU and with openvino.",
        rich_help_panel=MACHINE,
    ),
]
Engine = Annotated[
    str,
    typer.Option("--engine", help="torch, or openvino: faster on CPUs, if installed.", rich_help_panel=MACHINE),
]
Batch = Annotated[
    int | None,
    typer.Option("--batch", min=1, help="Segments per model call.", show_default="auto", rich_help_panel=MACHINE),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Decoding processes at most.",
        show_default="as the model needs, up to the CPUs",
        rich_help_panel=MACHINE,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads of the model.", show_default="auto", rich_help_panel=MACHINE),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        "--max-memory",
        metavar="SIZE",
        help="What the run may hold, as in 2GB: as many decoders and model threads as fit (Linux).",
        rich_help_panel=MACHINE,
    ),
]
DecodeTimeout = Annotated[
    float,
    typer.Option(
        "--decode-timeout",
        min=1,
        metavar="SECONDS",
        help="Give up on a file whose decoder hangs.",
        rich_help_panel=MACHINE,
    ),
]

Overlap = Annotated[
    float, typer.Option("--overlap", help="Share that two neighbouring segments have in common.", rich_help_panel=WHAT)
]
Segments = Annotated[
    int | None,
    typer.Option(
        "--segments",
        metavar="N",
        help="Analyse only N evenly spread segments per track.",
        show_default="all",
        rich_help_panel=WHAT,
    ),
]
Timeline = Annotated[bool, typer.Option("--timeline", help="Also write a row per segment.", rich_help_panel=WHAT)]
Vectors = Annotated[
    str, typer.Option("--vectors", help="Type of the numbers in vectors: float16 or float32.", rich_help_panel=WHAT)
]
Seed = Annotated[int, typer.Option("--seed", help="For models and plans that draw at random.", rich_help_panel=WHAT)]
Blocks = Annotated[
    str | None,
    typer.Option(
        "--block",
        metavar="N[,N]",
        help="Take embeddings after these transformer blocks (from 1) instead of the pooled features.",
        rich_help_panel=WHAT,
    ),
]
Tokens = Annotated[
    str, typer.Option("--tokens", help="Which tokens of a block, in this order: cls, dist, avg.", rich_help_panel=WHAT)
]

Output = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR|-",
        help="Folder of the tables, or s3://bucket/tags; - writes jsonl to stdout.",
        rich_help_panel=OUTPUT,
    ),
]
FileFormat = Annotated[Format, typer.Option("--format", help="File format of the tables.", rich_help_panel=OUTPUT)]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Recompute; the old tables stay until all of the new ones are there.", rich_help_panel=OUTPUT
    ),
]
Watch = Annotated[
    bool,
    typer.Option(
        "--watch",
        help="Then keep the tables current: take up new, changed, moved and deleted files until Ctrl-C.",
        rich_help_panel=OUTPUT,
    ),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try files again that failed before.", rich_help_panel=OUTPUT)
]
FailOnOption = Annotated[
    FailOn,
    typer.Option("--fail-on", help="Exit with 3 when any or all files failed, or never.", rich_help_panel=OUTPUT),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print a summary of the run as JSON on stdout.", rich_help_panel=OUTPUT)
]
Tables = Annotated[
    str, typer.Option("--in", metavar="DIR", help="Folder of the tables of tag or embed.", rich_help_panel=INPUT)
]
RunModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Where the model of the tables is, for files not in them, if it came from a file or folder.",
        show_default="by its name",
        rich_help_panel=MODEL,
    ),
]
JsonResult = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.", rich_help_panel=OUTPUT)]
Progress = Annotated[
    ProgressKind, typer.Option("--progress", help="How to show progress on stderr.", rich_help_panel=TALK)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=TALK)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more: every failed file.", rich_help_panel=TALK)]

_FACTORS = {"M": 1, "MB": 1, "MIB": 1.048576, "G": 1000, "GB": 1000, "GIB": 1073.741824}


def megabytes(text: str | None) -> int | None:
    """``2GB``, ``800 MB``, ``1.5GiB`` -> megabytes."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]+)", text.strip().upper())
    if match is None or match[2] not in _FACTORS:
        raise UsageError(f"--max-memory {text} is no size; write it as in 2GB or 800MB")
    return int(float(match[1]) * _FACTORS[match[2]])


def parse_stack(block: str | None, tokens: str) -> Stack | None:
    """None without ``--block``: the pooled features are wanted then."""
    if block is None:
        return None
    from audiopatch.inference.settings import TOKENS, Stack

    names = tuple(token.strip() for token in tokens.split(","))
    unknown = [name for name in names if name not in TOKENS]
    if unknown:
        raise UsageError(f"unknown token '{unknown[0]}'; choose from: {', '.join(TOKENS)}")
    try:
        return Stack(blocks=tuple(int(number) for number in block.split(",")), tokens=names)
    except ValueError as error:
        raise UsageError(f"--block {block} cannot work; write a number from 1, or several as in 6,7") from error


_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> float:
    """``1h30m`` -> 5400.0 seconds; anything else than numbers with s, m, h, d is a UsageError."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text.lower())
    if not parts or "".join(chain.from_iterable(parts)) != text.lower().replace(" ", ""):
        raise UsageError(f"'{text}' is no duration; write it as in 90s, 45m, 2h or 1h30m")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
