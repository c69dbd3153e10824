from __future__ import annotations

import numpy as np
import pytest
import torch

from audiopatch.errors import TrackError, UsageError
from audiopatch.inference.extract import Extractor, batch_size_for, find_stack, n_embedding, stack_names
from audiopatch.inference.settings import Analysis, Stack
from audiopatch.models.card import ModelCard
from audiopatch.models.config import FrontendConfig, HeadConfig, MobileNetConfig, TransformerConfig
from audiopatch.models.tagger import Tagger
from audiopatch.types import Segment, Track
from audiopatch.zoo import load_model
from audiopatch.zoo.load import random_tagger


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return load_model("tiny-random", device="cpu")


def _segments(n: int, *, seconds: float = 10.0) -> list[Segment]:
    noise = np.random.default_rng(0).normal(size=(n, int(16_000 * seconds))).astype(np.float32) * 0.1
    track = Track("/a", "/", "0" * 16, 0, 0)
    return [Segment(track, index, 0.0, seconds, wave) for index, wave in enumerate(noise)]


def _analysis(**options) -> Analysis:
    return Analysis(model="tiny-random", **options)


@pytest.mark.parametrize("options", [{}, {"patchout": "F3T2"}, {"patchout": "random:0.4"}])
def test_batched_and_single_results_agree(tagger, options):
    segments = _segments(5)
    batched = Extractor(tagger, _analysis(embeddings=True, **options), batch_size=5)(segments)
    for index, segment in enumerate(segments):
        alone = Extractor(tagger, _analysis(embeddings=True, **options), batch_size=1)([segment])
        np.testing.assert_allclose(alone.scores[0], batched.scores[index], atol=1e-6)
        np.testing.assert_allclose(alone.embeddings[0], batched.embeddings[index], atol=1e-5)


@pytest.mark.parametrize(("model", "n"), [("tiny-random", 1), ("audiopatch-music", 8), ("mn04_as", 8)])
def test_networks_of_convolutions_take_several_segments_at_once(model, n):
    assert batch_size_for(load_model(model, device="cpu")) == n


def test_chance_is_repeatable_and_follows_the_seed(tagger):
    def scores(seed: int) -> np.ndarray:
        return Extractor(tagger, _analysis(patchout="random:0.4", seed=seed), batch_size=2)(_segments(2)).scores

    np.testing.assert_array_equal(scores(1), scores(1))
    assert np.abs(scores(1) - scores(2)).max() > 1e-4


def test_a_track_too_short_for_the_plan_fails_alone(tagger):
    extractor = Extractor(tagger, _analysis(patchout="structured:T40"), batch_size=2)
    assert extractor(_segments(1)).scores is not None
    with pytest.raises(TrackError, match="too short for this patchout: this plan drops 40 columns") as caught:
        extractor(_segments(1, seconds=2.0))
    assert (caught.value.code, caught.value.stage) == ("E_TOO_SHORT", "infer")


def test_a_stack_alone_equals_the_stack_beside_the_tags(tagger):
    stack = Stack(blocks=(1, 2), tokens=("avg", "cls"))
    alone = Extractor(tagger, _analysis(tags=False, embeddings=True, stack=stack), batch_size=4)(_segments(3))
    beside = Extractor(tagger, _analysis(embeddings=True, stack=stack), batch_size=4)(_segments(3))
    assert alone.scores is None and beside.scores is not None
    assert alone.embeddings.shape == (3, 2 * 2 * 64)
    np.testing.assert_allclose(alone.embeddings, beside.embeddings, atol=1e-5)


def test_tokens_come_in_the_order_asked_for(tagger):
    def run(*tokens: str) -> np.ndarray:
        stack = Stack(blocks=(2,), tokens=tokens)
        return Extractor(tagger, _analysis(tags=False, embeddings=True, stack=stack), batch_size=4)(
            _segments(1)
        ).embeddings

    everything = run("cls", "dist", "avg")
    np.testing.assert_allclose(
        run("avg", "cls"), np.concatenate([everything[:, 128:], everything[:, :64]], axis=1), atol=1e-5
    )
    assert stack_names(tagger) == ("cls", "dist", "avg")


def test_without_a_word_an_embedding_takes_the_tokens_that_the_model_has(tagger):
    assert find_stack(tagger, Analysis(stack=Stack(blocks=(1,)))).tokens == ("cls", "dist", "avg")
    without_dist = load_model("audiopatch-music", device="cpu")
    analysis = Analysis(stack=Stack(blocks=(1, 2)), tags=False, embeddings=True)
    assert find_stack(without_dist, analysis).tokens == ("cls", "avg")
    assert n_embedding(without_dist, analysis) == 2 * 2 * 64
    with pytest.raises(UsageError, match="--tokens cls,avg"):
        find_stack(without_dist, Analysis(stack=Stack(blocks=(1,), tokens=("dist",))))


def test_out_of_memory_halves_the_batch_and_goes_on(tagger, monkeypatch, one_thread):
    extractor = Extractor(tagger, _analysis(), batch_size=8)
    whole = extractor(_segments(7)).scores
    really, sizes = Extractor._run, []

    def limited(self, segments):
        sizes.append(len(segments))
        if len(segments) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return really(self, segments)

    monkeypatch.setattr(Extractor, "_run", limited)
    np.testing.assert_allclose(extractor(_segments(7)).scores, whole, atol=1e-6)
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1] and extractor.batch_size == 1
    monkeypatch.setattr(Extractor, "_run", lambda self, segments: torch.empty(1 << 50))  # a petabyte
    with pytest.raises(TrackError) as caught:
        extractor(_segments(1))
    assert caught.value.code == "E_OOM"
    monkeypatch.setattr(Extractor, "_run", lambda self, segments: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        extractor(_segments(1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stack": Stack(blocks=(3,))}, "block 3 does not exist"),
        ({"stack": Stack(blocks=(0,))}, "block 0 does not exist"),
        ({"stack": Stack(blocks=(1,), tokens=("mean",))}, "unknown token 'mean'"),
        ({"patchout": "F3"}, "both letters need their number"),
    ],
)
def test_what_the_model_cannot_do_is_refused_at_once(tagger, options, words):
    with pytest.raises(UsageError, match=words):
        Extractor(tagger, _analysis(**options), batch_size=1)


def test_a_network_without_classes_embeds_only():
    embeds_only = random_tagger(
        ModelCard(
            "bare",
            "maest",
            FrontendConfig("maest", 625),
            TransformerConfig(grid=(9, 62), n_mels=96, dim=64, depth=1),
            HeadConfig(0, "none"),
            "classes-0",
            10.0,
        )
    )
    with pytest.raises(UsageError, match="audiopatch embed"):
        Extractor(embeds_only, _analysis(), batch_size=1)
    outputs = Extractor(embeds_only, _analysis(tags=False, embeddings=True), batch_size=1)(_segments(1))
    assert outputs.embeddings.shape == (1, 64)


@pytest.mark.parametrize(
    ("options", "words"), [({"patchout": "F3T2"}, "without tokens"), ({"stack": Stack(blocks=(1,))}, "--block")]
)
def test_a_network_without_tokens_says_so(options, words):
    card = ModelCard(
        "mn",
        "efficientat",
        FrontendConfig("passt"),
        MobileNetConfig(0.1),
        HeadConfig(5, "mlp", n_hidden=8),
        "classes-5",
        10.0,
    )
    with pytest.raises(UsageError, match=words):
        Extractor(random_tagger(card), _analysis(**options), batch_size=1)
