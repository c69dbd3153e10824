"""Every published architecture, as a tiny random file: what its reader makes of it, and how strict it is."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from audiopatch.errors import UsageError, WeightsError
from audiopatch.models.tagger import Tagger
from audiopatch.zoo import CARDS, load_model, native
from audiopatch.zoo.cards import FAMILIES
from audiopatch.zoo.checkpoint import unwrap
from audiopatch.zoo.efficientat import efficientat_card
from audiopatch.zoo.load import read_weights_file

# name of the file, (rows, cols) of the table, classes -> stride, hop, seconds, columns that one segment fills
PASST = [
    ("passt-s-f128-p16-s10-ap.476-swa.pt", (12, 99), 527, (10, 320, 10.0, 99)),
    ("passt-s-f128-p16-s12-ap.473-swa.pt", (10, 83), 527, (12, 320, 10.0, 83)),
    ("passt-s-f128-p16-s14-ap.471-swa.pt", (9, 71), 527, (14, 320, 10.0, 71)),
    ("passt-s-f128-p16-s16-ap.468.pt", (8, 62), 527, (16, 320, 10.0, 62)),
    ("passt-s-f128-stfthop100-p16-s10-ap.473-swa.pt", (12, 320), 527, (10, 100, 10.0, 319)),
    ("passt-s-f128-stfthop160-p16-s10-ap.473-swa.pt", (12, 200), 527, (10, 160, 10.0, 199)),
    ("passt-s-f128-20sec-p16-s10-ap.474-swa.pt", (12, 200), 527, (10, 320, 20.0, 199)),
    ("passt-s-f128-30sec-p16-s10-ap.473-swa.pt", (12, 300), 527, (10, 320, 30.0, 299)),
    ("openmic-passt-s-f128-10sec-p16-s10-ap.85.pt", (12, 99), 20, (10, 320, 10.0, 99)),
    ("fsd50k-passt-s-n-f128-p16-s16-ap.642.pt", (8, 62), 200, (16, 320, 10.0, 62)),
    ("somebody's-own.pt", (12, 25), 7, (10, 320, 2.0, 19)),
]
# columns of the table, classes -> frames, seconds, columns that one segment fills
MAEST = [
    (31, 400, (312, 5.0, 30)),
    (62, 400, (625, 10.0, 61)),
    (125, 400, (1250, 20.0, 124)),
    (187, 400, (1875, 30.0, 186)),
    (187, 519, (1875, 30.0, 186)),
]
# patches, classes -> stride, frames, grid
AST = [
    (1212, 527, (10, 1024, (12, 101))),
    (850, 527, (12, 1024, (10, 85))),
    (657, 527, (14, 1024, (9, 73))),
    (512, 527, (16, 1024, (8, 64))),
    (144, 35, (10, 128, (12, 12))),
    (600, 50, (10, 512, (12, 50))),
]


def tag_one_segment(path: Path | str):
    """Load a file, run noise of one segment and of a short input through it."""
    tagger = load_model(path, device="cpu")
    rate = tagger.frontend.sample_rate
    for seconds in (tagger.card.segment_s, max(tagger.min_s, 0.4)):
        prediction = tagger(tagger.frontend(torch.randn(1, round(seconds * rate)) * 0.1))
        assert prediction.logits.shape == (1, tagger.card.head.n_classes)
        assert prediction.logits.isfinite().all() and prediction.features.isfinite().all()
    return tagger


@pytest.mark.parametrize(("name", "grid", "n_classes", "expected"), PASST, ids=[row[0] for row in PASST])
def test_every_passt(states, save, name, grid, n_classes, expected):
    tagger = tag_one_segment(save(states.passt(*grid, n_classes), name))
    card = tagger.card
    found = (card.backbone.patch_stride[0], tagger.frontend.hop_length, card.segment_s, tagger.grid[1])
    assert (card.family, card.backbone.grid, len(tagger.labels)) == ("passt", grid, n_classes)
    assert found == expected


@pytest.mark.parametrize(("cols", "n_classes", "expected"), MAEST)
def test_every_maest(states, save, cols, n_classes, expected):
    tagger = tag_one_segment(save(states.passt(9, cols, n_classes), "model.ckpt"))
    card = tagger.card
    assert (card.frontend.n_frames, card.segment_s, tagger.grid[1]) == expected
    assert (card.family, card.labels) == ("maest", f"discogs{n_classes}")


@pytest.mark.parametrize(("n_patches", "n_classes", "expected"), AST)
def test_every_original_ast(states, save, n_patches, n_classes, expected):
    tagger = tag_one_segment(save(states.ast(n_patches, n_classes), "audio_model.pth"))
    card = tagger.card
    assert (card.backbone.patch_stride[0], card.frontend.n_frames, tagger.grid) == expected
    assert (card.backbone.norm_eps, card.head.eps) == (1e-6, 1e-5)
    assert card.multilabel == (n_classes != 35)


def test_depth_and_width_are_counted(states, save):
    tagger = load_model(save(states.passt(12, 99, 527, dim=128, depth=7), "passt-l-kd-ap.47.pt"), device="cpu")
    assert (tagger.card.backbone.depth, tagger.card.backbone.dim, tagger.card.backbone.n_heads) == (7, 128, 2)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net", "both nets", "module"])
def test_wrappers_are_taken_off(states, save, wrapper):
    state = states.passt(12, 99, 527)
    other = {key: value + 1 for key, value in state.items()}
    wrapped = {
        "state_dict": {"state_dict": state, "epoch": 3, "optimizer_states": [{"step": torch.tensor(1)}]},
        "model": {"model": state},
        "net": {"state_dict": {f"net.{key}": value for key, value in state.items()}},
        "both nets": {
            "state_dict": {f"net.{key}": value for key, value in other.items()}
            | {f"net_swa.{key}": value for key, value in state.items()}
            | {"mel.window": torch.ones(800)}
        },
        "module": {f"module.{key}": value for key, value in state.items()},
    }[wrapper]
    published = read_weights_file(save(wrapped))
    assert torch.equal(published.state["backbone.cls_token"], state["cls_token"])


FORMATS = {
    "passt": lambda states: states.passt(12, 99, 20),
    "maest": lambda states: states.passt(9, 62, 400),
    "ast": lambda states: states.ast(144, 35),
    "audiomae": lambda states: states.audiomae(64, 30),
    "audiomae pre-trained": lambda states: states.audiomae(64, 0),
    "ced": lambda states: states.ced(63, 527),
    "dasheng": lambda states: states.ced(252, 9, dasheng=True),
    "dasheng encoder": lambda states: states.ced(252, 0, dasheng=True),
    "eat": lambda states: states.eat(64, 527),
    "eat pre-trained": lambda states: states.eat(64, 0),
}
CONVOLUTIONAL = {
    "efficientat": lambda states: states.efficientat(Tagger(efficientat_card("mn", width=0.1, n_classes=5), ())),
    "efficientat dynamic": lambda states: states.efficientat(
        Tagger(efficientat_card("dymn", width=0.1, n_classes=5, dynamic=True), ())
    ),
    "musicnn": lambda states: states.musicnn(),
    "musicnn vgg": lambda states: states.vgg(),
}


@pytest.mark.parametrize("form", FORMATS)
def test_readers_are_strict_on_both_sides(states, save, form):
    state = FORMATS[form](states)
    victim = next(key for key in state if key.endswith("blocks.1.norm2.weight"))
    for change, message in (
        ({victim: None}, r"missing '.*blocks\.1\.norm2\.weight' \(64,\)"),
        ({victim: torch.ones(65)}, r"norm2\.weight' has shape \(65,\), expected \(64,\)"),
        ({victim + "_extra": torch.ones(3)}, r"unexpected '.*norm2\.weight_extra' \(3,\)"),
        ({victim: torch.ones(64, dtype=torch.int64)}, "has type torch.int64"),
    ):
        changed = {key: value for key, value in (state | change).items() if value is not None}
        with pytest.raises(WeightsError, match=message):
            load_model(save(changed), device="cpu")


@pytest.mark.parametrize(
    ("form", "unused"),
    [
        ("passt", {"head_dist.weight": torch.ones(3, 3)}),
        ("maest", {"melspectrogram.spec.window": torch.ones(512), "melspectrogram.mel_scale.fb": torch.ones(257, 96)}),
    ],
)
def test_documented_leftovers_are_ignored(states, save, form, unused):
    load_model(save(FORMATS[form](states) | unused), device="cpu")


def test_half_precision_files_become_float32(states, save):
    path = save({key: value.half() for key, value in states.passt(9, 31, 400).items()})
    assert load_model(path, device="cpu").head[1].weight.dtype == torch.float32


def test_no_two_readers_claim_one_file(states):
    for form, state in (FORMATS | CONVOLUTIONAL).items():
        claims = [family.__name__ for family in FAMILIES if not family.lacks(unwrap(state(states), form))]
        assert claims[0].endswith(form.split()[0])
        assert len(claims) == 1 or claims == ["audiopatch.zoo.maest", "audiopatch.zoo.passt"]  # asked in this order


@pytest.mark.parametrize("form", FORMATS | CONVOLUTIONAL)
def test_a_file_that_lacks_a_sign_of_its_family_is_refused_by_that_name(states, save, form):
    state = unwrap((FORMATS | CONVOLUTIONAL)[form](states), form)
    (family, *_) = (family for family in FAMILIES if not family.lacks(state))
    for sign in family.SIGNS:
        rest = {key: value for key, value in state.items() if key != sign and not key.endswith(f".{sign}")}
        if len(rest) == len(state):  # a DyMN and a VGG have another first layer, a batch norm may be nested
            continue
        with pytest.raises(WeightsError, match=re.escape(f"{sign}'")):
            load_model(save(rest, "MSD.pt"), device="cpu")


def test_patches_of_neither_ced_nor_dasheng_are_said(states, save):
    state = states.ced(63, 5) | {"patch_embed.proj.weight": torch.zeros(64, 1, 32, 32)}
    with pytest.raises(WeightsError, match="nearest are those of 'ced', which also have patches of 16 × 16"):
        load_model(save(state), device="cpu")


def test_unknown_files_are_named_with_their_first_keys(save):
    with pytest.raises(WeightsError, match=r"no format audiopatch reads; its first keys are \['a', 'b'\]"):
        load_model(save({"b": torch.ones(1), "a": torch.ones(1)}), device="cpu")
    with pytest.raises(UsageError, match="audiopatch models list"):
        load_model("no-such-model", device="cpu")


@pytest.mark.parametrize(
    "change", [{"cls_token": torch.ones(1, 1, 65)}, {"freq_new_pos_embed": torch.ones(1, 64, 7, 1)}]
)
def test_sizes_no_such_network_has_are_refused(states, save, change):
    with pytest.raises(WeightsError):
        load_model(save(states.passt(12, 99, 527) | change), device="cpu")


def hub_folder(folder: Path, state, **config) -> Path:
    """A folder as transformers saves it."""
    sizes = {"hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 2, "intermediate_size": 256}
    values = {"model_type": "audio-spectrogram-transformer", **sizes, **config}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    save_file(state, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("spelling", [4, 5])
def test_hub_folders_in_both_spellings(states, tmp_path, spelling):
    tagger = tag_one_segment(hub_folder(tmp_path / "m", states.hub(1212, 527, spelling=spelling)))
    assert (tagger.card.family, tagger.grid, tagger.card.segment_s) == ("ast", (12, 101), 10.24)
    assert tagger.card.head.eps == tagger.card.backbone.norm_eps == 1e-12
    assert tagger.labels[0] == "Speech"


def test_both_spellings_give_one_network(states, tmp_path):
    torch.manual_seed(0)
    old = load_model(hub_folder(tmp_path / "4", states.hub(144, 9), max_length=128), device="cpu")
    torch.manual_seed(0)
    new = load_model(hub_folder(tmp_path / "5", states.hub(144, 9, spelling=5), max_length=128), device="cpu")
    assert all(torch.equal(old.state_dict()[key], value) for key, value in new.state_dict().items())


@pytest.mark.parametrize("stride", [10, 12, 14, 16])
def test_hub_strides_come_from_the_config(states, tmp_path, stride):
    rows, cols = (128 - 16) // stride + 1, (1024 - 16) // stride + 1
    config = {"frequency_stride": stride, "time_stride": stride}
    tagger = load_model(hub_folder(tmp_path / "m", states.hub(rows * cols, 527), **config), device="cpu")
    assert tagger.grid == (rows, cols)


@pytest.mark.parametrize(("max_length", "seconds"), [(316, 5.0), (626, 10.0), (1256, 20.0), (1876, 30.0)])
def test_maest_on_the_hub(states, tmp_path, max_length, seconds):
    cols = (max_length - 16) // 10 + 1
    config = {"num_mel_bins": 96, "max_length": max_length, "layer_norm_eps": 1e-6}
    tagger = tag_one_segment(hub_folder(tmp_path / "m", states.hub(9 * cols, 400), **config))
    assert (tagger.card.family, tagger.card.segment_s, tagger.grid) == ("maest-hub", seconds, (9, cols))
    assert tagger.labels[0] == "Blues---Boogie Woogie"


def test_a_hub_config_names_its_own_labels_and_statistics(states, tmp_path):
    names = {str(index): word for index, word in enumerate(("yes", "no", "maybe"))}
    config = {"max_length": 128, "id2label": names, "problem_type": "single_label_classification"}
    folder = hub_folder(tmp_path / "m", states.hub(144, 3), **config)
    (folder / "preprocessor_config.json").write_text(json.dumps({"mean": -6.8, "std": 5.5}))
    tagger = load_model(folder, device="cpu")
    assert tagger.labels == ("yes", "no", "maybe")
    assert (tagger.frontend.mean, tagger.frontend.scale) == (-6.8, 11.0)
    assert not tagger.card.multilabel
    torch.testing.assert_close(tagger.scores(torch.zeros(1, 3)), torch.full((1, 3), 1 / 3))


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": "64"}, {"hidden_size": 10**12}, {"num_hidden_layers": 3}, {"layer_norm_eps": None},
        {"hidden_act": "relu"}, {"qkv_bias": False}, {"time_stride": 0}, {"max_length": 15}, {"num_mel_bins": 80},
        {"id2label": ["a"]}, {"id2label": {"0": "a"}}, {"intermediate_size": 100}, {"patch_size": -16},
    ],
)  # fmt: skip
def test_hub_configs_that_do_not_fit_are_refused(states, tmp_path, change):
    with pytest.raises(WeightsError):
        load_model(hub_folder(tmp_path / "m", states.hub(1212, 527), **change), device="cpu")


def test_hub_weights_are_strict_too(states, tmp_path):
    state = states.hub(1212, 527)
    query = "audio_spectrogram_transformer.encoder.layer.1.attention.attention.query.bias"
    with pytest.raises(WeightsError, match=r"unexpected 'classifier\.other'"):
        load_model(hub_folder(tmp_path / "a", state | {"classifier.other": torch.ones(1)}), device="cpu")
    with pytest.raises(WeightsError, match="needs query, key and value"):
        load_model(hub_folder(tmp_path / "b", {k: v for k, v in state.items() if k != query}), device="cpu")


def test_an_ast_without_classifier_embeds_only(states, tmp_path):
    bare = {key: value for key, value in states.hub(144, 5).items() if not key.startswith("classifier")}
    bare = {
        key.removeprefix("audio_spectrogram_transformer."): value for key, value in bare.items()
    }  # ASTModel's names
    tagger = load_model(hub_folder(tmp_path / "m", bare, max_length=128), device="cpu")
    assert tagger(tagger.frontend(torch.zeros(1, 16000))).logits.shape == (1, 0)


def test_a_folder_with_another_config_is_read_by_its_weights_names(states, tmp_path):
    """AudioMAE has a copy on the hub with timm's config beside the original names."""
    folder = hub_folder(tmp_path / "m", states.audiomae(512, 527), model_type="timm_wrapper")
    assert load_model(folder, device="cpu").card.family == "audiomae"


def test_a_folder_with_nothing_to_load_is_said(tmp_path):
    with pytest.raises(WeightsError, match="neither an audiopatch model nor one in the hub's layout"):
        load_model(tmp_path, device="cpu")


def test_a_training_run_is_no_model_but_holds_one(tmp_path):
    from audiopatch.zoo import native

    native.save(load_model("tiny-random", device="cpu"), tmp_path / "model")
    with pytest.raises(WeightsError, match=r"did you mean .*/model"):
        load_model(tmp_path, device="cpu")


def test_native_folders_come_back_equal(tmp_path):
    from audiopatch.zoo import native

    tagger = load_model("tiny-random", device="cpu")
    native.save(tagger, tmp_path / "mine")
    again = load_model(tmp_path / "mine", device="cpu")
    assert again.card == tagger.card and again.labels == tagger.labels
    assert all(torch.equal(again.state_dict()[key], value) for key, value in tagger.state_dict().items())


def test_cards_and_readers_agree(states, save):
    """A card's architecture is what its reader makes of a file of that architecture."""
    for card in CARDS.values():
        if card.family in ("passt", "maest") and card.weights:
            backbone = card.backbone
            state = states.passt(*backbone.grid, card.head.n_classes, depth=backbone.depth)
            read = read_weights_file(save(state, card.weights.filename)).card
            assert read.frontend == card.frontend and read.head == card.head and read.segment_s == card.segment_s
            assert (read.backbone.grid, read.backbone.depth) == (backbone.grid, backbone.depth), card.name


def test_weights_may_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o022)
    try:
        native.save(load_model("tiny-random", device="cpu"), tmp_path)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}
