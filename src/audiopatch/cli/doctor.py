"""``audiopatch doctor``: what this machine can decode, compute with, and store."""

from __future__ import annotations

import locale
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from audiopatch.cli import config
from audiopatch.cli.console import print_json, printable, rich_console
from audiopatch.cli.progress import busy
from audiopatch.errors import install_command

_BROKEN = 6
_PACKAGES = ("numpy", "pyarrow", "pandas", "soxr", "typer", "rich", "mutagen", "openvino", "ray")
_LITTLE_SPACE_GB = 1.0


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``fine`` None is a fact that is neither good nor bad."""

    part: str
    name: str
    fine: bool | None
    text: str


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON on stdout.")] = False,
    output: Annotated[
        str, typer.Option("--output", "-o", help="The folder whose disk is looked at.")
    ] = "audiopatch.out",
) -> None:
    """See what this machine can do; exits with 6 when something is broken.

    [bold]audiopatch doctor[/bold]             formats, devices, cache, disk
    [bold]audiopatch doctor --json[/bold]      the same for programs
    [bold]audiopatch doctor -o /mnt/out[/bold] look at the disk of another output folder
    """
    with busy("trying every decoder, and what can compute"):
        findings = [*_software(), *_formats(), *_compute(), *_storage(output), *_stores()]
    if json:
        print_json(findings, "findings")
    else:
        _print(findings)
    if any(finding.fine is False for finding in findings):
        raise typer.Exit(_BROKEN)


def _software() -> Iterator[Finding]:
    from audiopatch import __version__

    yield Finding("software", "audiopatch", None, f"{__version__} in {Path(__file__).parents[1]}")
    yield Finding("software", "python", None, f"{platform.python_version()}, {sys.executable}")
    yield Finding("software", "system", None, f"{platform.platform()}, {locale.getpreferredencoding(False)}")
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            yield Finding("software", package, None, version(package))
    if names := sorted(name for name in os.environ if name.startswith("AUDIOPATCH_")):
        yield Finding("software", "environment", None, ", ".join(names))
    for file in (Path(config.PROJECT_FILE), config.user_file()):
        if file.exists():
            yield Finding("software", "configuration", None, str(file.absolute()))


def _formats() -> Iterator[Finding]:
    from audiopatch.audio.check import check_decoders

    checks = check_decoders()
    for check in checks:
        yield Finding("decoder", check.name, None, check.version or "not found")
    for name in checks[0].formats:
        readers = [check.name for check in checks if check.formats[name]]
        yield Finding("format", name, bool(readers), f"read back by {', '.join(readers) or 'no decoder'}")


def _compute() -> Iterator[Finding]:
    import torch

    from audiopatch.inference.settings import n_cpus
    from audiopatch.models.engines import available_engines
    from audiopatch.models.processor import processor
    from audiopatch.zoo import load_model

    threads = f"{torch.get_num_threads()} of {n_cpus()} CPUs" if n_cpus() > 1 else "1 CPU"
    yield Finding("compute", "torch", None, f"{torch.__version__}, computes on {threads}")
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        yield Finding("compute", f"cuda:{index}", True, f"{about.name}, {about.total_memory / 2**30:.0f} GiB")
    tagger = load_model("tiny-random")
    cpu = processor()
    native = [name for name, has in {"bfloat16": cpu.bfloat16, "int8": cpu.int8, "AMX": cpu.amx}.items() if has]
    yield Finding("compute", "processor", None, f"{cpu.isa}; native: {', '.join(['float32', *native])}")
    yield Finding("compute", "auto device", True, f"{tagger.device}, {str(tagger.dtype).removeprefix('torch.')}")
    yield Finding("compute", "engines", None, ", ".join(available_engines(str(tagger.device))))


def _storage(output: str) -> Iterator[Finding]:
    from audiopatch.storage.place import cache_folder, is_remote

    here = {} if is_remote(output) else {"output": Path(output)}
    for name, folder in {"cache": cache_folder(), **here}.items():
        present = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        free_gb = shutil.disk_usage(present).free / 1e9
        writable = os.access(present, os.W_OK)
        text = f"{folder}, {free_gb:.0f} GB free{'' if writable else ', not writable'}"
        yield Finding("disk", name, writable and free_gb > _LITTLE_SPACE_GB, text)


def _stores() -> Iterator[Finding]:
    for scheme, package in (("s3", "s3fs"), ("gs", "gcsfs")):
        try:
            found = f"{package} {version(package)}"
        except PackageNotFoundError:
            found = f"not installed: {install_command(scheme)}"
        yield Finding("store", f"{scheme}://", None, found)


def _print(findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    marks = {True: Text("ok", "green"), False: Text("broken", "red"), None: ""}
    grid = Table()
    for heading in ("", "what", "", "found"):
        grid.add_column(heading)
    for finding in findings:
        grid.add_row(finding.part, finding.name, marks[finding.fine], printable(finding.text))
    rich_console(stderr=False).print(grid)
