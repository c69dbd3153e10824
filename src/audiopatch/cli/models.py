"""``audiopatch models``: which models there are, what they are, and whether their weights are sound."""

from __future__ import annotations

import dataclasses
import json as json_text
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiopatch.cli.console import printable, rich_console

if TYPE_CHECKING:
    from audiopatch.models.card import ModelCard

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False, no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A name from the list, or a weights file or folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.callback()
def models() -> None:
    """List, describe, download and verify models.

    [bold]audiopatch models list[/bold]               every known model
    [bold]audiopatch models info mn04_as[/bold]       one model's card: labels, licence, scores
    [bold]audiopatch models verify weights.pt[/bold]  check weights and run them once
    """


@app.command("list")
def list_models(json: Json = False) -> None:
    """Every known model, one per line."""
    from rich.table import Table

    from audiopatch.zoo import CARDS

    if json:
        typer.echo(json_text.dumps([_facts(card) for card in CARDS.values()], indent=2))
        return
    # Whole names and one line per model, even in the 80 columns that Rich takes a pipe for.
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("model", no_wrap=True)
    for heading in ("s", "labels", "mAP", "weights"):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("licence", no_wrap=True)
    for card in CARDS.values():
        score = next((score for what, score in card.scores.items() if what.startswith("mAP")), None)
        licence = card.licence.partition(" (")[0]
        labels, quality = str(card.head.n_classes), f"{score:.3f}" if score else ""
        grid.add_row(card.name, f"{card.segment_s:g}", labels, quality, _weights(card), licence)
    rich_console(stderr=False).print(grid)


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
    return f"{card.weights.size_bytes / 1e6:.0f} MB" if card.weights.size_bytes else "online"


@app.command()
def info(name: Name, json: Json = False) -> None:
    """Everything a model's card says."""
    facts = _facts(_find(name))
    if json:
        typer.echo(json_text.dumps(facts, indent=2))
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        if value in (None, "", {}):
            continue
        lines = [f"{inner:<6g} {what}" for what, inner in value.items()] if key == "scores" else [_line(value)]
        for number, line in enumerate(lines):
            typer.echo(f"{'' if number else key:<{width}}  {printable(line)}")
    for line in _told(name):
        typer.echo(printable(line))


@app.command()
def download(name: Annotated[str, typer.Argument(help="A name from the list.")]) -> None:
    """Bring a model's published weights into the cache; its licence is shown first."""
    from audiopatch.zoo import fetch, find_card
    from audiopatch.zoo.cards import shipped_folder

    card = find_card(name)
    typer.echo(shipped_folder(name) or fetch.download(card, progress=fetch.progress_bar(card)))


@app.command()
def verify(name: Name) -> None:
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
    typer.echo(f"{printable(tagger.card.name)}: sound; sha256 {tagger.weights_sha256}, {len(tagger.labels)} labels")


def _find(name: str) -> ModelCard:
    """A known card, or the one inside a weights file or folder."""
    from pathlib import Path

    from audiopatch.zoo import CARDS, find_card, load_model

    if name in CARDS:
        return find_card(name)
    if "/" in name or Path(name).expanduser().exists():
        return load_model(name, device="cpu", offline=True).card
    return find_card(name)


def _told(name: str) -> list[str]:
    """What the README of a model folder tells beyond its card: data, figures, weaknesses."""
    from pathlib import Path

    from audiopatch.zoo.cards import shipped_folder

    readme = (shipped_folder(name) or Path(name).expanduser()) / "README.md"
    return ["", *readme.read_text(encoding="utf-8", errors="replace").splitlines()] if readme.is_file() else []


def _facts(card: ModelCard) -> dict[str, Any]:
    return dataclasses.asdict(card)


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items() if inner not in (None, "", {}))
    return str(value)
