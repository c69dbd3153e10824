"""Hostile and broken weights: refused with a sentence, nothing executed, nothing large allocated."""

import argparse
import json
import multiprocessing
import os
import pickle
import random
import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from audiopatch.errors import AudioPatchError, WeightsError
from audiopatch.models.tagger import Tagger
from audiopatch.zoo import load_model, native
from audiopatch.zoo.checkpoint import read_checkpoint
from audiopatch.zoo.efficientat import efficientat_card
from audiopatch.zoo.labels import load_labels

FORMS = ("pt", "armed pt", "safetensors", "card", "config")  # "armed": a sound checkpoint with code in its pickle
FAMILIES = ("ced", "dasheng", "eat", "dymn", "musicnn")


class Payload:
    """What a malicious pickle does: leaves a file behind when it is loaded."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("container", ["zip", "bare", "old torch"])
def test_code_in_a_pickle_is_refused_and_never_runs(tmp_path, container):
    mark = tmp_path / "executed"
    path, content = tmp_path / "model.pt", {"w": torch.ones(2), "x": Payload(f"touch {mark}")}
    if container == "bare":
        path.write_bytes(pickle.dumps({"x": Payload(f"touch {mark}")}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=container == "zip")
    with pytest.raises(WeightsError, match=r"model\.pt .*(code|neither)"):
        load_model(path, device="cpu")
    assert not mark.exists()


def test_harmless_extras_of_training_scripts_are_read(save):
    content = {"model": {"w": torch.ones(3)}, "args": argparse.Namespace(lr=2e-4, blocks=[1, 2]), "epoch": 3}
    assert torch.equal(read_checkpoint(save(content))["model"]["w"], torch.ones(3))


def rewrite(path: Path, change) -> None:
    """Write a torch file again with its pickle changed."""
    with zipfile.ZipFile(path) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in records.items():
            archive.writestr(name, change(data) if name.endswith("data.pkl") else data)


def test_numpys_numbers_are_read_under_both_names_and_nothing_else_of_it(save):
    """fairseq notes its best score as a NumPy scalar beside the weights."""
    content = {"model": {"w": torch.ones(3)}, "extra_state": {"best": np.float64(0.489), "n": np.int32(3)}}
    path = save(content)
    rewrite(path, lambda text: text.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    for file in (path, save(content, "new.pt")):
        assert torch.equal(read_checkpoint(file)["model"]["w"], torch.ones(3))
    for other, message in (
        (np.array([{}], dtype=object), "names Python code"),
        (np.str_("best"), "NumPy scalar of type 'U4'"),
        (np.void(b"12345678"), "NumPy scalar of type 'V8'"),
    ):
        with pytest.raises(WeightsError, match=message):
            read_checkpoint(save({"model": {"w": torch.ones(1)}, "best": other}))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"latin1", b"base64", "encodes text in another way"),
        (b"f8", b"f4", "not as long as its type says"),
        (b"f8", b"O8", "NumPy scalar of type 'O8'"),
        (b"J\xff\xff\xff\xff", b"J\x01\x00\x00\x00", "more than a number"),
    ],
)
def test_numbers_that_lie_are_refused(save, old, new, message):
    path = save({"model": {"w": torch.ones(3)}, "best": np.float64(0.489)})
    rewrite(path, lambda text: text.replace(old, new))
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(path)


def test_a_record_shorter_than_its_tensor_is_refused(save):
    path = save({"w": torch.ones(1000)})
    rewrite(path, lambda text: text.replace(struct.pack("<H", 1000), struct.pack("<H", 65535)))
    with pytest.raises(WeightsError, match="not as long as the tensor claims"):
        read_checkpoint(path)


def test_a_small_record_spread_over_a_huge_shape_is_refused(save):
    with pytest.raises(WeightsError, match="does not lie inside its record"):
        read_checkpoint(save({"w": torch.ones(1).expand(10**6, 10**6)}))


def test_one_record_named_a_thousand_times_is_refused(save):
    weight = torch.ones(100_000)
    with pytest.raises(WeightsError, match="more than the file holds"):
        read_checkpoint(save({f"blocks.{index}.w": weight for index in range(1000)}))


@pytest.mark.parametrize(
    "header",
    [
        {"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}},
        {"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"w": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
        {"w": {"dtype": "XX", "shape": [2], "data_offsets": [0, 8]}},
        {"w": [1, 2]}, {"w": {}}, [], 3,
    ],
)  # fmt: skip
def test_lying_safetensors_headers_are_refused(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(WeightsError):
        read_checkpoint(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "start", [b"", b"\x00", struct.pack("<Q", 1 << 62), b"PK\x03\x04", b"RIFF....WAVE", b"\xff" * 64]
)
def test_what_is_no_weights_file_is_said(tmp_path, start):
    (tmp_path / "song.pt").write_bytes(start)
    with pytest.raises(WeightsError, match=r"song\.pt"):
        read_checkpoint(tmp_path / "song.pt")


def test_missing_and_unreadable_files_are_said(tmp_path):
    with pytest.raises(WeightsError, match="cannot be read"):
        read_checkpoint(tmp_path / "none.pt")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Flip bits, cut, splice, or overwrite with a lying number."""
    changed = bytearray(data)
    kind = rng.randrange(4)
    if kind == 0:
        for _ in range(rng.randrange(1, 30)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del changed[rng.randrange(len(changed)) :]
    elif kind == 2:
        start, source = rng.randrange(len(changed)), rng.randrange(len(changed))
        changed[start : start + 64] = changed[source : source + 64]
    else:
        start = rng.randrange(max(1, min(len(changed) - 8, 3000)))
        changed[start : start + 8] = rng.choice([b"\xff" * 8, struct.pack("<Q", 1 << 40), b"99999999", bytes(8)])
    return bytes(changed)


def seeds(states, folder: Path) -> dict[str, Path]:
    """One sound model per format, in its own folder; the file to mutate by format."""
    for name in (*FORMS, *FAMILIES):
        (folder / name).mkdir()
    fairseq = {"model": states.eat(16, 5), "extra_state": {"best": np.float64(0.489)}}
    torch.save(states.ced(10, 5), folder / "ced" / "model.pt")
    torch.save(states.ced(20, 5, dasheng=True), folder / "dasheng" / "model.pt")
    torch.save(fairseq, folder / "eat" / "model.pt")
    dymn = Tagger(efficientat_card("dymn", width=0.1, n_classes=5, dynamic=True), load_labels("classes-5"))
    torch.save(states.efficientat(dymn), folder / "dymn" / "model.pt")
    torch.save(states.vgg(), folder / "musicnn" / "MSD_vgg.pt")
    torch.save(states.passt(9, 20, 5), folder / "pt" / "model.pt")
    armed = states.passt(9, 20, 5) | {"x": Payload(f"touch {folder / 'executed'}")}
    torch.save(armed, folder / "armed pt" / "model.pt")
    native.save(load_model("tiny-random", device="cpu"), folder / "card")
    save_file(states.hub(144, 5), folder / "config" / "model.safetensors")
    config = {"model_type": "audio-spectrogram-transformer", "hidden_size": 64, "num_attention_heads": 1,
              "num_hidden_layers": 2, "intermediate_size": 256, "max_length": 128,
              "id2label": {str(index): f"label {index}" for index in range(5)}}  # fmt: skip
    (folder / "config" / "config.json").write_text(json.dumps(config))
    for name in ("config.json", "model.safetensors"):
        (folder / "safetensors" / name).write_bytes((folder / "config" / name).read_bytes())
    return {
        "pt": folder / "pt" / "model.pt",
        "armed pt": folder / "armed pt" / "model.pt",
        "safetensors": folder / "safetensors" / "model.safetensors",
        "card": folder / "card" / "card.json",
        "config": folder / "config" / "config.json",
        **{name: folder / name / "model.pt" for name in ("ced", "dasheng", "eat", "dymn")},
        "musicnn": folder / "musicnn" / "MSD_vgg.pt",
    }


ODD_VALUES = [None, True, -1, 0, 1, 3, 10**9, 10**18, -0.5, 1e300, "", "x", [], [1, 2], [10**9, 10**9], {}, {"a": 1}]


def with_an_odd_value(text: bytes, rng: random.Random) -> bytes:
    """A JSON text with one of its values, at any depth, replaced: still JSON, but not what it should be."""
    tree = json.loads(text)
    places = []

    def walk(node) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(tree)
    node, key = rng.choice(places)
    node[key] = rng.choice(ODD_VALUES)
    return json.dumps(tree).encode()


def subtly_mutated(path: Path, sound: bytes, rng: random.Random) -> None:
    """Changes that no checksum or parser stops: the pickle inside a sound archive, one value of a JSON text."""
    path.write_bytes(sound)
    if path.suffix == ".pt":
        rewrite(path, lambda text: mutated(text, rng))
    elif path.suffix == ".safetensors":
        n_header = struct.unpack("<Q", sound[:8])[0]
        header = with_an_odd_value(sound[8 : 8 + n_header], rng)
        path.write_bytes(struct.pack("<Q", len(header)) + header + sound[8 + n_header :])
    else:
        path.write_bytes(with_an_odd_value(sound, rng))


def _load_mutants(path: Path, n_mutants: int, seed: str) -> tuple[int, int]:
    """(how many were refused, the most kB that one load added), in a process that may take 2 GB more and no more."""
    # A fork has none of the threads that its parent's products ran on, and would wait for them.
    torch.set_num_threads(1)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), resource.RLIM_INFINITY))
    sound, rng = path.read_bytes(), random.Random(seed)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for number in range(n_mutants):
        if number % 2:
            path.write_bytes(mutated(sound, rng))
        else:
            subtly_mutated(path, sound, rng)
        try:
            load_model(path if path.suffix == ".pt" else path.parent, device="cpu")
        except AudioPatchError as error:
            assert str(error)
            refused += 1
    return refused, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb


def _try_mutants(states, folder: Path, form: str, n_mutants: int) -> None:
    """One that only changes numbers may load, anything else is our own error; nothing runs, nothing large is taken."""
    path = seeds(states, folder)[form]
    with multiprocessing.get_context("fork").Pool(1) as child:
        refused, grown_kb = child.apply(_load_mutants, (path, n_mutants, form))
    assert refused >= n_mutants // 6
    assert grown_kb < 500_000
    assert not (folder / "executed").exists()


@pytest.mark.fault("mutated weights")
@pytest.mark.parametrize("form", FORMS)
def test_mutated_files_load_or_are_refused_in_words(states, tmp_path, form, record_property):
    _try_mutants(states, tmp_path, form, 24)
    record_property("tries", 24)


@pytest.mark.slow
@pytest.mark.fault("mutated weights")
@pytest.mark.parametrize("form", (*FORMS, *FAMILIES))
def test_thousands_of_mutated_files(states, tmp_path, form, record_property):
    """Three hundred of each form and family."""
    _try_mutants(states, tmp_path, form, 300)
    record_property("tries", 300)


def test_a_zip_that_is_compressed_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(10**8))
    with pytest.raises(WeightsError, match=r"not one that torch\.save writes"):
        read_checkpoint(tmp_path / "bomb.pt")
