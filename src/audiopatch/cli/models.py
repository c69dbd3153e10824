"""``audiopatch models``: which models there are, what they are, and whether their weights are sound."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiopatch.cli import options as o
from audiopatch.cli.console import print_json, printable, rich_console
from audiopatch.storage.place import at_home
from audiopatch.zoo import DEFAULT_MODEL

if TYPE_CHECKING:
    from audiopatch.bench.compare import Comparison
    from audiopatch.models.card import ModelCard

app: typer.Typer = typer.Typer(
    pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False, no_args_is_help=True
)

_INSIDES = ("frontend", "backbone", "head", "thresholds")  # of a network; --json has them

Name = Annotated[
    str, typer.Argument(help="A name from the list, or a weights file or folder.", autocompletion=o.complete_models)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.callback()
def models() -> None:
    """List, describe, compare, download and verify models.

    [bold]audiopatch models list --licence permissive[/bold]  what may be used for anything
    [bold]audiopatch models info mn04_as[/bold]               labels, licence, scores
    [bold]audiopatch models compare ced-mini mn10_as[/bold]   side by side, with their speed
    """


@dataclasses.dataclass(frozen=True)
class Downloaded:
    """Where the weights of a model are on this machine."""

    name: str
    path: Path


@dataclasses.dataclass(frozen=True)
class Verified:
    """A model whose weights load and whose scores are numbers."""

    name: str
    weights_sha256: str
    n_labels: int


class Licence(StrEnum):
    permissive = "permissive"
    non_commercial = "non-commercial"


class Domain(StrEnum):
    music = "music"
    sound = "sound"
    speech = "speech"


@app.command("list")
def list_models(
    licence: Annotated[Licence | None, typer.Option(help="Only models whose weights are licensed so.")] = None,
    domain: Annotated[Domain | None, typer.Option("--for", help="Only models with labels of that.")] = None,
    json: Json = False,
) -> None:
    """Known models, one per line: all, or those of a licence and a domain."""
    from rich.table import Table

    from audiopatch.zoo.cards import select_cards

    cards = select_cards(licence=licence, domain=domain)
    if json:
        print_json(cards, "models")
        return
    # Whole names and one line per model, even in the 80 columns that Rich takes a pipe for.
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("model", no_wrap=True)
    for heading in ("s", "labels", "mAP", "weights"):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("licence", no_wrap=True)
    for card in cards:
        score = next((score for what, score in card.scores.items() if what.startswith("mAP")), None)
        short = card.licence.partition(" (")[0]
        labels, quality = str(card.head.n_classes), f"{score:.3f}" if score else ""
        grid.add_row(card.name, f"{card.segment_s:g}", labels, quality, _weights(card), short)
    rich_console(stderr=False, width=None if sys.stdout.isatty() else 100).print(grid)


def _weights(card: ModelCard) -> str:
    """Where a model's weights are: shipped, cached, to be downloaded, or nowhere."""
    from audiopatch.zoo import fetch
    from audiopatch.zoo.cards import shipped_folder

    if shipped_folder(card.name):
        return "shipped"
    if card.weights is None:
        return "random"
    if fetch.cached(card):
        return "cached"
    return f"{card.weights.size_bytes / 1e6:.0f} MB" if card.weights.size_bytes else "to fetch"


@app.command()
def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Two or more names from the list, weights files or folders.", autocompletion=o.complete_models
        ),
    ],
    speed: Annotated[bool, typer.Option("--speed/--no-speed", help="Measure how fast each one runs here.")] = True,
    json: Json = False,
) -> None:
    """Models side by side: size, seconds, labels, published figures, speed here, licence."""
    from rich.table import Table

    from audiopatch.bench.compare import compare_models

    models = compare_models(names, measure=speed)
    if json:
        print_json(models, "models")
        return
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", *(model.name for model in models)):
        grid.add_column(heading, overflow="fold")
    for heading, cell in _COMPARED.items():
        grid.add_row(heading, *(cell(model) for model in models))
    rich_console(stderr=False).print(grid)


_COMPARED: dict[str, Callable[[Comparison], str]] = {
    "tags": lambda model: model.summary,
    "segment": lambda model: f"{model.segment_s:g} s at {model.sample_rate / 1000:g} kHz",
    "labels": lambda model: f"{model.n_labels} ({model.label_set})" if model.n_labels else "none: embeds only",
    "parameters": lambda model: f"{model.n_params / 1e6:.2f} M",
    "weights file": lambda model: f"{model.size_bytes / 1e6:.1f} MB" if model.size_bytes else "–",
    "multiply-adds": lambda model: f"{model.macs / 1e9 / model.segment_s:.3g} G per second of audio",
    "speed here": lambda model: _speed(model.real_time, "not measured"),
    "with F3T2": lambda model: _speed(model.real_time_thinned, "–"),
    "published": lambda model: _published(model.scores),
    "licence": lambda model: model.licence,
    "of the code": lambda model: model.code_licence or "–",
    "page": lambda model: model.page or "–",
}


def _speed(real_time: float | None, otherwise: str) -> str:
    return f"{real_time:.0f}× real time per core" if real_time else otherwise


def _published(scores: dict[str, float], n_shown: int = 3) -> str:
    lines = [f"{score:g} {what}" for what, score in scores.items()]
    more = [f"and {len(lines) - n_shown} more"] if len(lines) > n_shown else []
    return "\n".join([*lines[:n_shown], *more]) or "–"


@app.command()
def info(name: Name, json: Json = False) -> None:
    """Everything a model's card says."""
    card = _find(name)
    if json:
        print_json(card)
        return
    facts = dataclasses.asdict(card)
    width = max(map(len, facts))
    for key, value in facts.items():
        if not value or key in _INSIDES:
            continue
        lines = [f"{inner:<6g} {what}" for what, inner in value.items()] if key == "scores" else [_line(value)]
        for number, line in enumerate(lines):
            typer.echo(f"{'' if number else key:<{width}}  {printable(line)}")
    typer.echo(f"{'':<{width}}  what it can say: audiopatch labels{'' if name == DEFAULT_MODEL else f' -m {name}'}")
    for line in _told(name):
        typer.echo(printable(line))


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="A name from the list.", autocompletion=o.complete_models)],
    json: Json = False,
) -> None:
    """Bring a model's published weights into the cache; its licence is shown first."""
    from audiopatch.zoo import fetch, find_card
    from audiopatch.zoo.cards import shipped_folder

    card = find_card(name)
    place = shipped_folder(name) or fetch.download(card, progress=fetch.progress_bar(card))
    if json:
        print_json(Downloaded(name, place))
    else:
        typer.echo(place)


@app.command()
def verify(name: Name, json: Json = False) -> None:
    """Check a model's sha256 where one is published, load its weights strictly, and run the network once."""
    import torch

    from audiopatch.errors import WeightsError
    from audiopatch.zoo import CARDS, fetch, load_model

    if name in CARDS and CARDS[name].weights is not None and (found := fetch.verify(CARDS[name])) != "ok":
        if found != "unpublished hash":
            raise WeightsError(f"{name}: {found}; get it with: audiopatch models download {name}")
        typer.echo(f"{name}: its authors publish no sha256", err=True)
    tagger = load_model(name, device="cpu", offline=True)
    wave = torch.zeros(1, round(tagger.card.segment_s * tagger.frontend.sample_rate))
    with torch.inference_mode():
        logits = tagger(tagger.frontend(wave)).logits
    if not logits.isfinite().all():
        raise WeightsError(f"{name}: its scores of silence are not finite numbers")
    if json:
        print_json(Verified(tagger.card.name, tagger.weights_sha256, len(tagger.labels)))
    else:
        typer.echo(f"{printable(tagger.card.name)}: sound; sha256 {tagger.weights_sha256}, {len(tagger.labels)} labels")


@app.command()
def check(
    name: Annotated[
        str,
        typer.Argument(
            help="A name from the list, of a family whose authors publish a package.", autocompletion=o.complete_models
        ),
    ],
    music: Annotated[
        list[str] | None, typer.Argument(help="Files and folders to run it on.", show_default="examples/music")
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(help="An interpreter that has the authors' package.", show_default="one made in the cache"),
    ] = None,
    json: Json = False,
) -> None:
    """Run a published model beside its authors' own package on the same audio, and say how far they differ.

    It downloads the weights and, unless --python names an interpreter that has it, the package, into an environment of
    its own. Exits with 5 where they do not agree.
    """
    from audiopatch.bench.check import check_model
    from audiopatch.errors import WeightsError
    from audiopatch.zoo import find_card

    result = check_model(
        find_card(name), music or ["examples/music"], python=python, note=lambda said: typer.echo(said, err=True)
    )
    if json:
        print_json(result)
    else:
        for part, found in result.differences.items():
            typer.echo(f"{part:<8}  largest difference {found.max:.1e}, relative {found.relative:.1e}")
        order = {True: "in the same order", False: "IN ANOTHER ORDER", None: "not named by the package"}[result.labels]
        typer.echo(f"labels    {order}")
        versions = ", ".join(f"{package} {version}" for package, version in sorted(result.environment.items()))
        typer.echo(f"{result.name}: {result.n_clips} clips; {versions}")
    if not result.agrees:
        raise WeightsError(f"{name} does not give the numbers of its authors' package")


def _find(name: str) -> ModelCard:
    """A known card, or the one inside a weights file or folder."""

    from audiopatch.zoo import CARDS, find_card, load_model

    if name in CARDS:
        return find_card(name)
    if "/" in name or at_home(name).exists():
        return load_model(name, device="cpu", offline=True).card
    return find_card(name)


def _told(name: str) -> list[str]:
    """What the README of a model folder tells beyond its card: data, figures, weaknesses."""

    from audiopatch.zoo.cards import shipped_folder

    readme = (shipped_folder(name) or at_home(name)) / "README.md"
    if not readme.is_file():
        return []
    lines = readme.read_text(encoding="utf-8", errors="replace").splitlines()
    return ["", *(line for line in lines if not line.startswith("<!--"))]  # marks for whoever writes the file


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items() if inner)
    return str(value)
