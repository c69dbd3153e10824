"""What a run leaves behind: its configuration, environment, log, checkpoint and models, each written whole or not."""

from __future__ import annotations

import dataclasses
import json
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch

from audiopatch import __version__
from audiopatch.datasets.recipe import Dataset, LeftOut
from audiopatch.documents import plain
from audiopatch.errors import OutputMismatchError
from audiopatch.models.tagger import Tagger
from audiopatch.training.config import to_toml
from audiopatch.training.recipes import TrainRecipe
from audiopatch.zoo import native

_LEFT = (
    *("config.toml", "environment.json", "metrics.jsonl", "checkpoint.pt", "left_out.tsv", "recipe.json"),
    "split.json",
    *("teacher.parquet", "grid.csv", "map.csv", "map.png", "curves.png", "pieces", "kept"),
    *("model", "last", "swa", "tensorboard", "evaluation"),
)


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run. ``model`` is the result; ``last`` and ``swa`` are kept beside it where they differ."""

    path: Path

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def name(self) -> str:
        """What its model is called; the fold of a run says of which one."""
        is_fold = self.path.name.removeprefix("fold").isdecimal()
        return f"{self.path.parent.name}-{self.path.name}" if is_fold else self.path.name

    @property
    def kept(self) -> Path:
        """What is made on the way and of no use afterwards."""
        return self.path / "kept"

    @property
    def log(self) -> Path:
        return self.path / "metrics.jsonl"

    def check(self, config: Any, *, resume: bool = False, force: bool = False) -> None:
        """A folder that holds a run is an OutputMismatchError. A run that came to nothing counts as none.

        ``resume`` lets the same run go on, ``force`` begins anew.
        """
        written = self.path / "config.toml"
        if force or not (self.log.is_file() and written.is_file()):
            return
        if tomllib.loads(written.read_text(encoding="utf-8")) != tomllib.loads(to_toml(dataclasses.asdict(config))):
            raise OutputMismatchError(
                f"{self.path} holds a run with other settings (see its config.toml); choose another -o, or --force"
            )
        if not resume:
            go_on = "add --resume to go on, " if (self.path / "checkpoint.pt").is_file() else ""
            raise OutputMismatchError(
                f"{self.path} already holds this run; {go_on}--force to begin anew, or choose another -o"
            )

    def start(self, config: Any, *, resume: bool = False, force: bool = False) -> None:
        """``check``, then write config.toml and environment.json; with ``force`` nothing of an older run stays."""
        self.check(config, resume=resume, force=force)
        if force:
            self._clear()
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "config.toml").write_text(to_toml(dataclasses.asdict(config)), encoding="utf-8")
        (self.path / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n", encoding="utf-8")

    def _clear(self) -> None:
        """Take away what a run left here, and nothing else."""
        for name in _LEFT:
            path = self.path / name
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)

    def write(self, row: Mapping[str, Any]) -> None:
        """One more line of metrics.jsonl (see ``log_rows``)."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain(row)) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """The log so far."""
        return (
            [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
            if self.log.is_file()
            else []
        )

    def forget_after(self, step: int) -> None:
        """Drop log rows past ``step`` and those of the end: a resumed run writes them again."""
        if not self.log.is_file():
            return
        rows = [row for row in self.rows() if row["step"] <= step and row["kind"] != "swa"]
        self.log.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def save_recipe(self, recipe: TrainRecipe) -> None:
        """recipe.json: which experiment this is and what its paper found, for every later evaluation."""
        about = {"dataset": recipe.config.dataset} | {
            entry: getattr(recipe, entry) for entry in ("name", "title", "paper", "published", "source")
        }
        (self.path / "recipe.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    def published(self, dataset: str) -> dict[str, float]:
        """The paper's figures on ``dataset``, where this run follows a paper that has some."""
        path = self.path / "recipe.json"
        about = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return about["published"] if about.get("dataset") == dataset else {}

    def save_sides(self, dataset: Dataset) -> None:
        """split.json: on which side of the split each clip was."""
        text = json.dumps({"dataset": dataset.name, "sides": dataset.sides}, indent=2)
        (self.path / "split.json").write_text(text + "\n", encoding="utf-8")

    def sides(self, dataset: str) -> dict[str, str]:
        """What ``save_sides`` wrote of that dataset; nothing of another."""
        path = self.path / "split.json"
        about = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return about["sides"] if about.get("dataset") == dataset else {}

    def list_left_out(self, gaps: Iterable[LeftOut]) -> None:
        """left_out.tsv: every clip that took no part, with its split and the reason."""
        lines = [f"{gap.path}\t{gap.split}\t{gap.reason}" for gap in gaps]
        (self.path / "left_out.tsv").write_text("\n".join(["path\tsplit\treason", *lines]) + "\n", encoding="utf-8")

    def save_model(self, tagger: Tagger, name: str = "model") -> Path:
        """The Tagger as a native model folder."""
        native.save(tagger, self.path / name)
        return self.path / name

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """checkpoint.pt, replaced in one move."""
        unfinished = self.path / "checkpoint.pt.unfinished"
        torch.save(dict(state), unfinished)
        unfinished.replace(self.path / "checkpoint.pt")

    def load_checkpoint(self) -> dict[str, Any] | None:
        """What ``save_checkpoint`` wrote, on the CPU; None where nothing was."""
        path = self.path / "checkpoint.pt"
        return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None


class RunEnvironment(TypedDict):
    """Where a result was made: versions, machine, devices, and the source's commit ("" but for a checkout)."""

    audiopatch: str
    commit: str
    python: str
    torch: str
    platform: str
    processor: str
    devices: list[str]
    threads: int
    command: list[str]


def environment() -> RunEnvironment:
    """That of this process."""
    return {
        "audiopatch": __version__,
        "commit": _commit(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "devices": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] or ["cpu"],
        "threads": torch.get_num_threads(),
        "command": sys.argv,
    }


def _commit() -> str:
    here = Path(__file__).parents[3]
    if not (here / "pyproject.toml").is_file():
        return ""  # installed, not a checkout: a repository around it would be somebody else's
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True, timeout=5
        )
        return found.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
