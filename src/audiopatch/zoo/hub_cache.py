"""Hub repositories, through huggingface_hub and its cache, which other programs share. No code is ever fetched."""

from __future__ import annotations

import os
from pathlib import Path

from audiopatch.cache import sha256_of
from audiopatch.errors import UsageError, WeightsError, first_line

CONFIG_FILE, PREPROCESSOR_FILE = "config.json", "preprocessor_config.json"
WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")  # the first that is there is read


def is_offline(offline: bool = False) -> bool:
    """Whether downloads are forbidden, by the caller or by ``HF_HUB_OFFLINE``."""
    return offline or os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on")


def hub_folder(repository: str, *, offline: bool = False) -> Path:
    """``owner/name[@revision]`` -> the folder of its config and weights in the hub's cache.

    What is cached is taken as it is, without asking the hub for news.
    """
    name, _, revision = repository.partition("@")
    config = _hub_file(name, CONFIG_FILE, revision or None, offline=True)
    if config is not None and _has_weights(config.parent):
        return config.parent
    if is_offline(offline):
        raise WeightsError(f"'{name}' is not cached, and downloads are off (offline)")
    config = _hub_file(name, CONFIG_FILE, revision or None)
    if config is None:
        raise WeightsError(f"'{name}' has no {CONFIG_FILE}: it is no model in the hub's usual layout")
    commit = config.parent.name  # so that all files are of one revision, even if the repository changes now
    _hub_file(name, PREPROCESSOR_FILE, commit)
    if not any(_hub_file(name, file, commit) for file in WEIGHTS_FILES):
        raise WeightsError(f"'{name}' has none of the weights audiopatch reads: {', '.join(WEIGHTS_FILES)}")
    return config.parent


def _hub_file(name: str, file: str, revision: str | None, *, offline: bool = False) -> Path | None:
    """One file of a hub repository in its cache; None where the repository (or, offline, the cache) lacks it."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    cache = os.environ.get("AUDIOPATCH_CACHE")
    place = {"cache_dir": Path(cache).expanduser() / "hub" if cache else None, "revision": revision}
    try:
        return Path(
            hf_hub_download(name, file, endpoint=os.environ.get("HF_ENDPOINT"), local_files_only=offline, **place)
        )
    except HFValidationError as error:
        raise UsageError(f"'{name}' is no hub repository; write hf://owner/name") from error
    except LocalEntryNotFoundError as error:
        if offline:
            return None
        raise WeightsError(f"'{name}' cannot be fetched: the hub cannot be reached") from error
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise WeightsError(f"'{name}' cannot be fetched from the hub: {first_line(error)}") from error


def _has_weights(folder: Path) -> bool:
    return any((folder / file).is_file() for file in WEIGHTS_FILES)


def verify_hub_folder(folder: Path) -> str:
    """The hub names each large file in its cache by its sha256."""
    for name in WEIGHTS_FILES:
        blob = (folder / name).resolve()
        if blob.is_file() and len(blob.name) == 64:
            return "ok" if sha256_of(blob) == blob.name else "corrupt"
    return "unpublished hash"
