"""A smaller copy of a transformer: heads and blocks go that its answers to the user's own music need least.

What something is worth is the change of the answers when it goes: the squared change of each logit z, times p (1 - p)
of its score p, summed over labels, mean over segments. That is twice the Kullback-Leibler divergence between the two
answers, to second order, and needs no labels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from audiopatch.audio.inputs import Inputs
from audiopatch.errors import OutputMismatchError, UsageError
from audiopatch.events import Observer, counted, silent
from audiopatch.inference.clips import real_segments
from audiopatch.models.card import ModelCard
from audiopatch.models.config import TransformerConfig
from audiopatch.models.cost import block_macs, cost_of
from audiopatch.models.shrunk import Moments, Remainder, network_of, shrunk
from audiopatch.models.tagger import Prediction, Tagger
from audiopatch.zoo import native
from audiopatch.zoo.load import load_model

N_SEGMENTS = 48
_EVERY = 4  # blocks are measured on every fourth segment: each costs a pass of its own


@dataclass(frozen=True)
class Repair:
    """How far the answers on ``n_clips`` clips of held-out music were from the whole model's ``before`` and ``after``:
    the squared change of their logits, each by how unsure the whole model is. The model kept is the nearer one."""

    n_clips: int
    before: float
    after: float

    @property
    def helped(self) -> bool:
        return self.after < self.before


@dataclass(frozen=True)
class Shrunk:
    """What came of it: the model's folder, the heads that each of its blocks has, and what it costs.

    ``macs`` are the multiply-adds of one segment; ``whole_macs`` and ``whole_n_params`` are those of the model before.
    ``repair`` says what learning from that brought, where it was asked for.
    """

    folder: Path
    heads: tuple[int, ...]
    macs: int
    n_params: int
    whole_macs: int
    whole_n_params: int
    repair: Repair | None = None


def shrink_to_folder(
    inputs: Inputs,
    folder: Path,
    *,
    model: str,
    gmacs: float,
    device: str = "auto",
    resume: bool = False,
    force: bool = False,
    observer: Observer = silent,
) -> Shrunk:
    """Shrink ``model`` to ``gmacs`` billion multiply-adds a segment, by what matters on ``inputs``, into ``folder``.

    It is named after the folder around it. With ``resume`` one that is there already is taken as it is.
    """
    if resume and not force and native.matches(folder):
        return _as_before(folder, model)
    if folder.exists() and not force:
        raise OutputMismatchError(f"{folder} exists; name another folder with -o, or add --force")
    tagger = load_model(model, device=device, dtype="float32")
    _check_goal(tagger.card, gmacs)
    mels = _mels(tagger, inputs)
    worth = measure(tagger, mels, counted(observer, "measuring heads and blocks"))
    whole = cost_of(tagger.card)
    kept = choose(network_of(tagger.card), worth, whole.tokens[0], whole.macs - 1e9 * gmacs)
    made = shrunk(tagger, kept, worth.moments)
    heads = network_of(made.card).block_heads
    summary = f"{model} with {len(heads)} blocks and {sum(heads)} attention heads"
    made.card = replace(made.card, name=folder.resolve().parent.name, summary=summary, shrunk_from=model)
    native.save(made, folder, dtype=torch.float16)
    return _told(folder, made.card, tagger.card)


def _told(folder: Path, card: ModelCard, whole: ModelCard) -> Shrunk:
    cost, before = cost_of(card), cost_of(whole)
    return Shrunk(folder, network_of(card).block_heads, cost.macs, cost.n_params, before.macs, before.n_params)


def _as_before(folder: Path, model: str) -> Shrunk:
    """What a run that was stopped had made of ``model``; a UsageError where it is of another one."""
    card = load_model(str(folder), device="cpu").card
    if card.shrunk_from != model:
        raise UsageError(f"{folder} is no smaller copy of {model}; choose another -o, or begin anew with --force")
    return _told(folder, card, load_model(model, device="cpu").card)


def _check_goal(card: ModelCard, gmacs: float) -> None:
    """A UsageError where there is nothing to do, and where it cannot be done."""
    config = network_of(card)
    least = replace(card, backbone=Remainder({1: (0,)}).config(config))
    now, least_now = cost_of(card).macs / 1e9, cost_of(least).macs / 1e9
    if not least_now <= gmacs < now:
        raise UsageError(
            f"{card.name} takes {now:.3g} G-MACs a segment, and at least {least_now:.3g} with one block of one head; "
            f"--gmacs {gmacs:g} is not between them"
        )


@torch.no_grad()
def _mels(tagger: Tagger, inputs: Inputs) -> list[Tensor]:
    """Of segments from all over the music: (n_mels, frames) each."""
    tracks = list(inputs.tracks())
    if not tracks:
        raise UsageError("no music to shrink by: name a file or a folder, as in: audiopatch shrink ~/Music --gmacs 2")
    spread = tracks[:: max(1, len(tracks) // N_SEGMENTS)]
    segments = real_segments(tagger, spread, N_SEGMENTS, per_track=-(-N_SEGMENTS // len(spread)))
    return [tagger.frontend(torch.from_numpy(one.wave)[None].to(tagger.device))[0] for one in segments]


@dataclass(frozen=True)
class Worth:
    """By the number (from 1) of a set of block weights: what each of its heads is worth, and the whole block.

    ``moments`` are of what the heads of each gave.
    """

    heads: Mapping[int, Sequence[float]]
    blocks: Mapping[int, float]
    moments: Mapping[int, Moments] = field(default_factory=dict)


def measure(tagger: Tagger, mels: Sequence[Tensor], progress: Callable[[int, int], None]) -> Worth:
    """mels, each (n_mels, frames) -> Worth. ``progress`` hears how many of how many passes are done."""
    kept, few = Remainder.all_of(network_of(tagger.card)), mels[::_EVERY]
    n_passes, chance = len(mels) + len(kept.heads), torch.Generator().manual_seed(0)
    seen: list[dict[int, Tensor]] = []
    moments: dict[int, Moments] = {}
    for mel in mels:
        found = _heads(tagger, mel, chance)
        seen.append({number: worth for number, (worth, _) in found.items()})
        moments = {number: here + moments[number] if moments else here for number, (_, here) in found.items()}
        progress(len(seen), n_passes)
    blocks: dict[int, float] = {}
    whole = answers(tagger, few)
    for number in kept.heads:
        blocks[number] = change(tagger, whole, answers(shrunk(tagger, kept.without_block(number)), few))
        progress(len(mels) + len(blocks), n_passes)
    heads = {number: torch.stack([one[number] for one in seen]).mean(dim=0).tolist() for number in kept.heads}
    return Worth(heads, blocks, moments)


def _heads(tagger: Tagger, mel: Tensor, chance: torch.Generator) -> dict[int, tuple[Tensor, Moments]]:
    """mel (n_mels, frames) -> by number what each head is worth (H,), and the Moments of what they give.

    Gradient times output (Michel et al. 2019, "Are Sixteen Heads Really Better than One?", section 4.2), squared. Where
    they have the gradient of a loss with labels, this has that of a random direction of the answers: its square is the
    change of all of them in expectation. Of audiopatch-small's 24 heads it finds the order of their true worth (rank
    correlation 0.81); how sharply a head attends, which others go by, does not (0.03).
    """
    outputs: dict[int, list[Tensor]] = defaultdict(list)
    blocks = cast(Any, tagger.backbone).blocks
    with torch.enable_grad(), _watched(blocks, outputs):
        answer = _answer(tagger(mel[None].requires_grad_()), tagger)
        direction = torch.randn(answer.shape, generator=chance).to(answer.device) * _weight(answer, tagger).sqrt()
        (answer * direction).sum().backward()
    found = {}
    for number, block in enumerate(blocks, start=1):
        out = torch.cat([one.detach() for one in outputs[number]])  # of each block that runs on this set
        change = out * torch.cat([cast(Tensor, one.grad) for one in outputs[number]])
        worth = change.unflatten(2, (block.attn.n_heads, -1)).sum(dim=(0, 1, 3)).square()
        found[number] = worth, Moments.of(out.flatten(0, 1))
    return found


@contextmanager
def _watched(blocks: nn.ModuleList, outputs: dict[int, list[Tensor]]) -> Iterator[None]:
    """What the heads of each block give, (1, L, H d), is kept with its gradient."""

    def keep(number: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            inputs[0].retain_grad()
            outputs[number].append(inputs[0])

        return hook

    projections = [cast(Any, block).attn.proj for block in blocks]
    hooks = [layer.register_forward_pre_hook(keep(number)) for number, layer in enumerate(projections, start=1)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def answers(tagger: Tagger, mels: Iterable[Tensor]) -> Tensor:
    """mels, each (n_mels, frames) -> logits (N, C), or of a model without classes its features."""
    return torch.cat([_answer(tagger(mel[None]), tagger) for mel in mels])


def _answer(found: Prediction, tagger: Tagger) -> Tensor:
    """Logits (B, C), or of a model without classes its features."""
    return found.logits if tagger.card.head.n_classes else found.features


def _weight(answer: Tensor, tagger: Tagger) -> Tensor:
    """How much a change of each number matters."""
    if not tagger.card.head.n_classes:
        return torch.ones_like(answer)
    score = tagger.scores(answer.detach())
    return score * (1 - score)


def change(tagger: Tagger, whole: Tensor, others: Tensor) -> float:
    """How far the answers ``others`` are from those of ``tagger``, the ``whole`` model: mean over segments."""
    return float((_weight(whole, tagger) * (others - whole).square()).sum(dim=1).mean())


def choose(config: TransformerConfig, worth: Worth, n_tokens: int, to_save: float) -> Remainder:
    """What stays after heads and blocks have gone that are worth least for the multiply-adds they cost.

    They go one by one until ``to_save`` is saved, of ``n_tokens`` patch tokens per segment. One head stays in each
    block, for reducers that ask what it attends to, and one block.
    """
    kept = Remainder.all_of(config)
    while to_save > 0:
        saving, kept = min(_steps(config, kept, worth, n_tokens), key=lambda step: step[0])[1:]
        to_save -= saving
    return kept


def _steps(
    config: TransformerConfig, kept: Remainder, worth: Worth, n_tokens: int
) -> list[tuple[float, int, Remainder]]:
    """What could go next: its worth per multiply-add, the multiply-adds it saves, and what is left then."""
    found = []
    for number, heads in kept.heads.items():
        macs = config.sharing * block_macs(config, len(heads), n_tokens, n_tokens)
        if len(kept.heads) > 1:
            found.append((worth.blocks[number] / macs, macs, kept.without_block(number)))
        if len(heads) > 1:
            saving = macs - config.sharing * block_macs(config, len(heads) - 1, n_tokens, n_tokens)
            found += [(worth.heads[number][h] / saving, saving, kept.without_head(number, h)) for h in heads]
    return found
