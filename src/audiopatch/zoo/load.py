"""From a model's name or path to a Tagger on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from audiopatch.catalog import nearest
from audiopatch.errors import AudioPatchError, EnvironmentProblem, UsageError, WeightsError
from audiopatch.models.card import ModelCard
from audiopatch.models.config import TransformerConfig
from audiopatch.models.engines import DTYPES, ENGINES
from audiopatch.models.tagger import Tagger
from audiopatch.storage.place import at_home, sha256_of
from audiopatch.zoo import fetch, hub, native
from audiopatch.zoo.cards import CARDS, FAMILIES, find_card, shipped_folder
from audiopatch.zoo.checkpoint import read_checkpoint, unwrap
from audiopatch.zoo.labels import load_labels
from audiopatch.zoo.published import Published, depth_of

_RANDOM, _HUB = "random/", "hf://"
_MAX_SEGMENT_S = 3600.0


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
        last = f"cuda:{torch.cuda.device_count() - 1}"
        raise EnvironmentProblem(f"--device {device} was asked for, but the last GPU that torch sees is {last}")
    return place


def _build(name: str, *, offline: bool) -> Tagger:
    if name.startswith(_RANDOM):
        return random_tagger(find_card(name.removeprefix(_RANDOM)))
    if (folder := shipped_folder(name)) is not None:
        return _tagger(folder, name)
    if name in CARDS:
        return tagger_of_card(CARDS[name], offline=offline)
    if name.startswith(_HUB):
        return _tagger(fetch.hub_folder(name.removeprefix(_HUB), offline=offline), name)
    path = at_home(name)
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
        if not hub.matches(path):
            return read_weights_file(file, name), file
        if hub.describes_ast(path):
            return hub.read(path, name), file
        return hub.with_config(path, read_weights_file(file, name)), file
    return read_weights_file(path), path


def read_weights_file(path: Path, name: str = "") -> Published:
    """Recognise a published file by its keys; never executes code from it."""
    state = unwrap(read_checkpoint(path), path.name)
    lacks = {family: family.lacks(state) for family in FAMILIES}
    for family, absent in lacks.items():
        if not absent:
            return family.read(state, name or path.stem)
    near = min(FAMILIES, key=lambda family: len(lacks[family]) / len(family.SIGNS))
    if len(lacks[near]) < len(near.SIGNS):
        like = f"the nearest are those of '{near.CARDS[0].family}', which also have {', '.join(lacks[near])}"
    else:
        like = f"its first keys are {sorted(state)[:3]}"
    raise WeightsError(f"{path.name} is of no format audiopatch reads; {like}")


def tagger_of_card(card: ModelCard, *, offline: bool) -> Tagger:
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


def adopt_card(published: Published, card: ModelCard) -> Published:
    """The tensors under the zoo's card for them; another architecture than the card's is a WeightsError.

    A hub folder brings a config of its own, which is right about everything but the task: the classes must agree.
    """
    read = published.card
    on_hub = card.weights is not None and card.weights.hub
    for part in ("head",) if on_hub else ("frontend", "backbone", "head"):
        found, expected = getattr(read, part), getattr(card, part)
        if found != expected:
            raise WeightsError(f"the weights of '{card.name}' are not what its card says: {found}, expected {expected}")
    if on_hub:
        card = replace(card, frontend=read.frontend, backbone=read.backbone, segment_s=read.segment_s)
    return replace(published, card=replace(card, labels=read.labels if published.labels else card.labels))


def check_fit(card: ModelCard, labels: tuple[str, ...], state: Mapping[str, Tensor]) -> None:
    """A WeightsError unless the state is exactly what the card's network needs; no memory is taken to find out."""
    if len(labels) != card.head.n_classes:
        raise WeightsError(f"'{card.name}' has {card.head.n_classes} classes but {len(labels)} labels")
    config = card.backbone
    n_sets = config.depth // config.sharing if isinstance(config, TransformerConfig) else 0
    if depth_of(state, "backbone.blocks.") < n_sets:
        raise WeightsError(f"the card of '{card.name}' names more blocks than its weights hold")
    try:
        with torch.device("meta"):
            tagger = Tagger(card, labels)
            _check_geometry(tagger)
            expected = tagger.state_dict()
    except AudioPatchError:
        raise
    except Exception as error:  # a card is outside data: whatever building from it trips over is a bad card
        raise WeightsError(f"the card of '{card.name}' describes no network that can be built: {error}") from error
    check_keys(expected, state)


def _check_geometry(tagger: Tagger) -> None:
    """A WeightsError unless one segment fits the front-end and the position table."""
    card, frontend = tagger.card, tagger.frontend
    n_samples = card.segment_s * frontend.sample_rate
    most = _MAX_SEGMENT_S * frontend.sample_rate
    frames_fit = frontend.hop_length > 0 and 0 < (frontend.n_frames or 1) <= most
    if not 0 < frontend.min_samples <= n_samples <= most or not frames_fit:
        raise WeightsError(f"'{card.name}': segments of {card.segment_s} s ({frontend.n_frames} frames) cannot be")
    if isinstance(card.backbone, TransformerConfig):
        rows, cols = tagger.grid or (0, 0)
        fits = 1 <= rows <= card.backbone.grid[0] and 1 <= cols <= card.backbone.grid[1]
        if not fits or card.backbone.n_mels != frontend.n_mels:
            raise WeightsError(f"'{card.name}': segments of {rows} × {cols} patches do not fit its position table")


def check_keys(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """A missing, unexpected, misshapen or mistyped tensor is a WeightsError that names it and both shapes."""
    problems = [f"missing '{key}' {tuple(expected[key].shape)}" for key in expected.keys() - state.keys()]
    problems += [f"unexpected '{key}' {tuple(state[key].shape)}" for key in state.keys() - expected.keys()]
    for key in expected.keys() & state.keys():
        found, wanted = state[key], expected[key]
        if found.shape != wanted.shape:
            problems.append(f"'{key}' has shape {tuple(found.shape)}, expected {tuple(wanted.shape)}")
        elif found.is_floating_point() != wanted.is_floating_point():
            problems.append(f"'{key}' has type {found.dtype}, expected {wanted.dtype}")
    if problems:
        shown = "; ".join(sorted(problems)[:5])
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise WeightsError(f"the weights do not fit their card: {shown}{more}")


def copy_weights(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy every tensor by name, strictly (see ``check_keys``), converting to the module's own precision."""
    check_keys(module.state_dict(), state)
    module.load_state_dict(dict(state))
