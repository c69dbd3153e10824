"""From a model's name or path to a Tagger on a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from audiopatch.cache import sha256_of
from audiopatch.catalog import nearest
from audiopatch.errors import EnvironmentProblem, UsageError, WeightsError
from audiopatch.models.card import ModelCard
from audiopatch.models.engines import DTYPES, ENGINES
from audiopatch.models.tagger import Tagger
from audiopatch.zoo import ast, audiomae, efficientat, fetch, hub, maest, native, passt
from audiopatch.zoo.cards import CARDS, find_card
from audiopatch.zoo.checkpoint import read_checkpoint
from audiopatch.zoo.hub_cache import hub_folder
from audiopatch.zoo.labels import load_labels
from audiopatch.zoo.published import Published, adopt_card, check_fit, copy_weights
from audiopatch.zoo.shipped import shipped_folder
from audiopatch.zoo.unwrap import unwrap

_READERS: tuple[ModuleType, ...] = (maest, passt, ast, audiomae, efficientat)  # asked in this order
_RANDOM, _HUB = "random/", "hf://"


def load_model(
    name: str | Path, *, device: str = "auto", dtype: str = "auto", engine: str = "torch", offline: bool = False
) -> Tagger:
    """A ready Tagger in evaluation mode.

    ``name`` is a card's name, ``hf://owner/name[@revision]``, a folder (audiopatch's own or in the hub's layout) or
    a weights file. ``random/NAME`` builds a card's network with seeded random weights: for benchmarks and tests.
    Weights that are not cached yet are downloaded, unless ``offline``.
    ``engine`` (see ``models.engines``) computes it; what ``dtype`` "auto" means is the engine's choice.
    """
    ENGINES.load(engine)
    return prepare(read_model(name, offline=offline), device=device, dtype=dtype, engine=engine)


def read_model(name: str | Path, *, offline: bool = False) -> Tagger:
    """``load_model`` up to where the machine begins to matter; the result can be sent to others as it is."""
    return _build(str(name), offline=offline).eval().requires_grad_(False)


def prepare(tagger: Tagger, *, device: str, dtype: str, engine: str) -> Tagger:
    """The same Tagger, on a device and set up for an engine."""
    if dtype not in DTYPES:
        raise UsageError(f"unknown dtype '{dtype}'; choose {', '.join(DTYPES)}")
    tagger = tagger.to(find_device(device))
    ENGINES.load(engine)(tagger, dtype)
    return tagger


def find_device(device: str) -> torch.device:
    """``auto`` takes a GPU if there is one; a device that is not there is an EnvironmentProblem, never a fallback."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"unknown device '{device}'; choose auto, cpu, cuda or cuda:N") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem("--device cuda was asked for, but torch sees no GPU; use --device cpu or auto")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise EnvironmentProblem(f"--device {device} was asked for, but torch sees {torch.cuda.device_count()} GPUs")
    return place


def devices_of(device: str) -> list[str]:
    """The names in ``cuda:0,cuda:1``; ``all`` names every GPU, and without any is an EnvironmentProblem."""
    if device != "all":
        return device.split(",")
    find_device("cuda")
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]


def _build(name: str, *, offline: bool) -> Tagger:
    if name.startswith(_RANDOM):
        return random_tagger(find_card(name.removeprefix(_RANDOM)))
    if (folder := shipped_folder(name)) is not None:
        return _tagger(folder, name)
    if name in CARDS:
        return _zoo_tagger(CARDS[name], offline=offline)
    if name.startswith(_HUB):
        return _tagger(hub_folder(name.removeprefix(_HUB), offline=offline), name)
    path = Path(name).expanduser()
    if path.exists():
        return _tagger(path, path.stem)
    cure = nearest(name, CARDS, otherwise="see: audiopatch models list")
    raise UsageError(f"'{name}' is neither a model audiopatch knows nor a weights file or folder; {cure}")


def random_tagger(card: ModelCard, labels: Sequence[str] | None = None, *, seed: int = 0) -> Tagger:
    """The network of ``card`` with seeded random weights (truncated normal, σ = 0.02, as ViTs start).

    ``labels`` name its classes where the card's label set does not ship with the package.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tagger = Tagger(card, load_labels(card.labels) if labels is None else tuple(labels))
        for name, parameter in tagger.backbone.named_parameters():
            if name.endswith(("_token", "pos_embed")):
                nn.init.trunc_normal_(parameter, std=0.02)
    return tagger


def read_weights(path: Path, name: str) -> tuple[Published, Path]:
    """A file or folder of any published format -> what it holds, and the file that its weights lie in."""
    if path.is_dir():
        if native.matches(path):
            return native.read(path), path / native.WEIGHTS_FILE
        file = hub.weights_file(path)
        if file is None:
            inside = path / "model"  # where a training run keeps its result
            hint = f"; did you mean {inside}?" if native.matches(inside) else ""
            raise WeightsError(f"{path} holds neither an audiopatch model nor one in the hub's layout{hint}")
        if hub.matches(path) and hub.describes_ast(path):
            return hub.read(path, name), file
        return read_weights_file(file, name), file
    return read_weights_file(path), path


def read_weights_file(path: Path, name: str = "") -> Published:
    """Recognise a published file by its keys; never executes code from it."""
    state = unwrap(read_checkpoint(path), path.name)
    for reader in _READERS:
        if reader.matches(state):
            return reader.read(state, name or path.stem)
    raise WeightsError(f"{path.name} is of no format audiopatch reads; its first keys are {sorted(state)[:3]}")


def _zoo_tagger(card: ModelCard, *, offline: bool) -> Tagger:
    if card.weights is None:
        return random_tagger(card)
    path = fetch.download(card, offline=offline, progress=fetch.progress_bar(card))
    published, file = read_weights(path, path.stem)
    sha256 = sha256_of(file)
    if not sha256.startswith(card.weights.sha256):
        raise WeightsError(f"{file} is not the published '{card.name}': its sha256 is {sha256[:16]}…")
    return _with_weights(adopt_card(published, card), sha256=sha256)


def _tagger(path: Path, name: str) -> Tagger:
    published, file = read_weights(path, name)
    return _with_weights(published, sha256=sha256_of(file))


def _with_weights(published: Published, *, sha256: str) -> Tagger:
    labels = load_labels(published.card.labels) if published.labels is None else published.labels
    check_fit(published.card, labels, published.state)
    tagger = Tagger(published.card, labels)
    copy_weights(tagger, published.state)
    tagger.weights_sha256 = sha256
    return tagger
