"""Open a weights file safely: nothing in it is executed, and every size is checked before memory is taken.

A torch file is read twice. First its pickle is walked with stand-ins for everything it names, which tells each
tensor's shape and where it lies; only a file whose sizes add up is then given to ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import _codecs
import argparse
import io
import json
import math
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from audiopatch.errors import WeightsError, first_line

_MAX_PICKLE_BYTES = 64 << 20  # the pickle only names tensors; those of ViT-B take 30 kB
_MAX_HEADER_BYTES = 16 << 20
_ITEM_BYTES = {
    "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "DoubleStorage": 8, "BoolStorage": 1, "ByteStorage": 1,
    "CharStorage": 1, "ShortStorage": 2, "IntStorage": 4, "LongStorage": 8,
}  # fmt: skip
_FORBIDDEN_OPCODES = {"BYTEARRAY8", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "READONLY_BUFFER"}


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Everything a ``.safetensors`` or torch file holds, by name; a WeightsError for anything unsafe or broken."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
        return _read_torch(path) if start == b"PK\x03\x04" else _read_safetensors(path, start)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error


def _read_safetensors(path: Path, start: bytes) -> Mapping[str, Tensor]:
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise WeightsError(f"{path.name} is a bare pickle, which may run code; save it again with torch.save")
    check_safetensors_header(path)
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"{path.name} is no sound safetensors file: {first_line(error)}") from error


def check_safetensors_header(path: Path) -> None:
    """A WeightsError unless the header's length and every tensor's place lie inside the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        n_header = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if n_header > min(size - 8, _MAX_HEADER_BYTES):
            raise WeightsError(f"{path.name} is neither a torch nor a safetensors file, or it was cut short")
        header = _json_object(file.read(n_header), path.name)
    header.pop("__metadata__", None)
    for name, entry in header.items():
        try:
            begin, end = entry["data_offsets"]
            inside = 0 <= begin <= end <= size - 8 - n_header
        except (TypeError, KeyError, ValueError):
            inside = False
        if not inside:
            raise WeightsError(f"{path.name}: the tensor '{name}' does not lie inside the file")


def _json_object(text: bytes, name: str) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{name} is neither a torch nor a safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{name}: the safetensors header is no JSON object")
    return header


def _read_torch(path: Path) -> Mapping[str, Any]:
    _check_torch_file(path)
    try:
        with torch.serialization.safe_globals(_harmless_globals()):
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(f"{path.name} cannot be loaded safely: {first_line(error)}") from error
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path.name} holds a {type(state).__name__}, not a mapping from names to tensors")
    if (n_bytes := _tensor_bytes(state)) > 2 * path.stat().st_size:  # one record under many names
        raise WeightsError(f"{path.name}: its tensors claim {n_bytes:,} bytes, more than the file holds")
    return state


def _harmless_globals() -> list[Any]:
    """What torch may build besides tensors: arguments as MAE-style files keep them, fairseq's NumPy scalars.

    ``_check_torch_file`` has seen by then that the scalars are plain numbers and that nothing else is encoded.
    """
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(code)) for code in _NUMBER_BYTES]
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [argparse.Namespace, _codecs.encode, np.dtype, *dtypes, *names]


def _tensor_bytes(content: Any, depth: int = 3) -> int:
    """Bytes of all tensors down to where state dicts lie; deeper, a pickle may even contain itself."""
    if isinstance(content, Tensor):
        return content.numel() * content.element_size()
    if not isinstance(content, Mapping) or depth == 0:
        return 0
    return sum(_tensor_bytes(value, depth - 1) for value in content.values())


def _check_torch_file(path: Path) -> None:
    """A WeightsError if the archive is broken, names code, or claims tensors that its records do not hold."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = {info.filename.partition("/")[2]: info for info in archive.infolist()}
            if any(info.compress_type != zipfile.ZIP_STORED for info in records.values()) or "data.pkl" not in records:
                raise WeightsError(f"{path.name} is a zip file, but not one that torch.save writes")
            if records["data.pkl"].file_size > _MAX_PICKLE_BYTES:
                raise WeightsError(f"{path.name}: its table of contents is larger than any real one")
            text = archive.read(records["data.pkl"])
        sizes = {name.removeprefix("data/"): info.file_size for name, info in records.items()}
        _Inventory(text, sizes, path.name).check()
    except WeightsError:
        raise
    except Exception as error:  # the pickle is arbitrary bytes: whatever its walk trips over is a broken file
        raise WeightsError(f"{path.name} is damaged: {first_line(error)}") from error


class _StandIn:
    """Takes the place of a harmless object; anything may be stored on it."""

    def __init__(self, *args: Any):
        pass


def _latin1(text: Any, encoding: Any) -> bytes:
    """``_codecs.encode``, as pickles of protocol 2 write bytes; any other use of it is refused."""
    if type(text) is not str or encoding != "latin1":
        raise WeightsError("the pickle encodes text in another way than NumPy's scalars do")
    return text.encode("latin1")


class _PlainDtype:
    """Stands in for a NumPy dtype of plain numbers, so that no object, field or flag hides in one."""

    n_bytes: int

    def __new__(cls, code: Any = "", *args: Any) -> _PlainDtype:
        dtype = super().__new__(cls)
        dtype.n_bytes = _NUMBER_BYTES.get(code, 0) if type(code) is str else 0
        if not dtype.n_bytes:
            raise WeightsError(f"the pickle holds a NumPy scalar of type {code!r}")
        return dtype

    def __setstate__(self, state: Any) -> None:
        if state not in [(3, order, None, None, None, -1, -1, 0) for order in "<>|="]:
            raise WeightsError("the pickle holds a NumPy type that is more than a number")


def _scalar(dtype: Any, content: Any) -> None:
    """A NumPy scalar, such as the best score that fairseq notes beside its weights."""
    if type(dtype) is not _PlainDtype or type(content) is not bytes or len(content) != dtype.n_bytes:
        raise WeightsError("a NumPy scalar is not as long as its type says")


_NUMBER_BYTES = {"f8": 8, "f4": 4, "f2": 2, "i8": 8, "i4": 4, "i2": 2, "i1": 1, "u8": 8, "u4": 4, "u2": 2, "u1": 1}
_NUMPY = {("_codecs", "encode"): _latin1, ("numpy", "dtype"): _PlainDtype} | {
    (f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")
}

# What a state dict may name, with the stand-in for it; everything else is refused by name.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("argparse", "Namespace"): _StandIn,
    ("torch", "Size"): tuple,
    ("torch", "device"): _StandIn,
    **{("torch", dtype): _StandIn for dtype in ("float32", "float16", "bfloat16", "float64", "int64")},
    **_NUMPY,
    **{("torch", storage): item_bytes for storage, item_bytes in _ITEM_BYTES.items()},
}


class _Inventory(pickle._Unpickler):  # the Python one: its memo is a dict, so a lying index costs nothing
    """Walks a state dict's pickle without building a tensor, and checks what each tensor claims to be."""

    def __init__(self, text: bytes, record_bytes: Mapping[str, int], name: str):
        super().__init__(io.BytesIO(text))
        self._text, self._record_bytes, self._name = text, record_bytes, name

    def check(self) -> None:
        """A WeightsError for code, or for a tensor that does not lie inside its record."""
        for opcode, _, _ in pickletools.genops(self._text):
            if opcode.name in _FORBIDDEN_OPCODES:
                raise WeightsError(f"{self._name} holds a pickle with code or odd opcodes ({opcode.name}); refused")
        self.load()

    def find_class(self, module: str, name: str) -> Any:
        rebuilds = {"_rebuild_tensor_v2": self._tensor, "_rebuild_parameter": lambda value, *rest: value}
        if module == "torch._utils" and name in rebuilds:
            return rebuilds[name]
        if (module, name) not in _ALLOWED:
            raise WeightsError(
                f"{self._name} names Python code ({module}.{name}) besides its weights; audiopatch never runs code "
                "from a weights file. Save the state dict alone: torch.save(model.state_dict(), ...)"
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> int:
        """The number of items in a storage, once its record is known to hold them."""
        kind, item_bytes, key, _, n_items = pid
        if kind != "storage" or n_items * item_bytes != self._record_bytes[key]:
            raise WeightsError(f"{self._name}: the record of a tensor is not as long as the tensor claims")
        return n_items

    def _tensor(self, n_stored: int, offset: int, shape: tuple, stride: tuple, *rest: Any) -> None:
        n_items = math.prod(shape)
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) if n_items else offset
        if min((offset, n_items, *shape, *stride)) < 0 or last >= max(n_stored, 1) or n_items > n_stored:
            raise WeightsError(f"{self._name}: a tensor of shape {shape} does not lie inside its record")


# Where frameworks keep the weights: PyTorch Lightning under "state_dict", MAE-style scripts under "model".
_CONTAINERS = ("state_dict", "model")
# Lightning modules of PaSST and MAEST: the averaged network is the one their authors evaluate.
_NETWORKS = ("net_swa.", "net.")
_FRONTENDS = ("mel.", "melspectrogram.")  # buffers of the mel, beside the networks
_DATA_PARALLEL = "module."
_BESIDE = ("_ema",)  # data2vec's teacher, among the tensors of its student


def unwrap(content: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """A checkpoint's content -> its plain state dict; a WeightsError where there is none."""
    for container in _CONTAINERS:
        if isinstance(content.get(container), Mapping):
            content = content[container]
    content = {key: value for key, value in content.items() if key not in _BESIDE}
    if not content or not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
        raise WeightsError(f"{name} is no plain state dict (a mapping from names to tensors)")
    if any(value.layout is not torch.strided or value.is_quantized for value in content.values()):
        raise WeightsError(f"{name} holds sparse or quantised tensors; save its weights in a floating-point type")
    return _network(dict(content), name)


def _network(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    if all(key.startswith(_DATA_PARALLEL) for key in state):
        state = {key.removeprefix(_DATA_PARALLEL): value for key, value in state.items()}
    for prefix in _NETWORKS:
        if any(key.startswith(prefix) for key in state):
            beside = [key for key in state if not key.startswith((*_NETWORKS, *_FRONTENDS))]
            if beside:
                raise WeightsError(f"{name}: unexpected '{beside[0]}' beside the network's weights")
            return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return state
